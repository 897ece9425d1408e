"""From a file to the tensor that enters the backbone, against rfdetr."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from PIL import Image

import rfdetr_mm  # noqa: F401

pytest.importorskip('rfdetr')

CONFIG = Path(__file__).parents[2] / 'configs/rfdetr/rfdetr_nano_coco.py'
RESOLUTION = 96  # px; upstream's transforms take any multiple of 32
ORIENTATION = 0x0112  # EXIF tag
SIZES = [(75, 130), (130, 75), (60, 50)]  # (h, w), shrinking and growing


@pytest.fixture(autouse=True, scope='module')
def mmdet_scope():
    """Look names up in mmdet's registries, as a Runner does."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(params=[1, 6], ids=['upright', 'exif_rotated'])
def image_files(request, tmp_path) -> list[str]:
    rng = np.random.default_rng(request.param)
    files = []
    for h, w in SIZES:
        coarse = Image.fromarray(
            rng.integers(0, 256, (h // 5, w // 5, 3), dtype=np.uint8)
        )
        exif = Image.Exif()
        exif[ORIENTATION] = request.param
        file = str(tmp_path / f'{h}x{w}.jpg')
        coarse.resize((w, h)).save(file, quality=90, exif=exif)
        files.append(file)
    return files


def ours(file: str, **changes) -> tuple[torch.Tensor, torch.Tensor]:
    """Run our test pipeline: pixels (h, w, 3) RGB, input (3, h, w).

    ``changes`` go into its resizing step.
    """
    cfg = Config.fromfile(CONFIG)
    load, resize, _, pack = cfg.test_dataloader.dataset.pipeline
    resize.update(scale=(RESOLUTION, RESOLUTION), **changes)
    packed = Compose([load, resize, pack])(dict(img_path=file, img_id=0))
    batch = MODELS.build(cfg.model.data_preprocessor)(
        dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']])
    )
    pixels = packed['inputs'].permute(1, 2, 0).flip(2)  # BGR to RGB
    return pixels, batch['inputs'][0]


def upstream_validation(file: str) -> tuple[torch.Tensor, torch.Tensor]:
    from rfdetr.datasets.coco import make_coco_transforms_square_div_64
    from rfdetr.datasets.io_utils import decode_pil_image

    image, _ = decode_pil_image(Path(file))
    transforms = make_coco_transforms_square_div_64('val', RESOLUTION)
    resized, _ = transforms.transforms[0](image, {})
    normalised, _ = transforms(image, {})
    return torch.from_numpy(np.array(resized)), normalised


@pytest.fixture(scope='module')
def upstream_predict():
    """Return a function: the tensor that upstream's predict() computes."""
    from rfdetr import RFDETRNano

    detector = RFDETRNano(pretrain_weights=None, device='cpu')
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            seen.append(batch)
            logits = torch.zeros(1, 2, 91)
            return dict(pred_logits=logits, pred_boxes=torch.rand(1, 2, 4))

    detector.model.model = Spy()

    def preprocess(file: str) -> torch.Tensor:
        detector.predict(file, shape=(RESOLUTION, RESOLUTION))
        return seen.pop()[0]

    return preprocess


def test_validation_pixels_and_input_are_equal(image_files):
    for file in image_files:
        pixels, inputs = ours(file)
        expected_pixels, expected_inputs = upstream_validation(file)
        torch.testing.assert_close(pixels, expected_pixels, atol=0, rtol=0)
        torch.testing.assert_close(inputs, expected_inputs, atol=1e-6, rtol=0)


def test_predict_input_is_equal(image_files, upstream_predict):
    for file in image_files:
        _, inputs = ours(file, kernel='predict')
        # 2e-6: we interpolate grey levels, upstream 255ths of them.
        torch.testing.assert_close(
            inputs, upstream_predict(file), atol=2e-6, rtol=0
        )


def test_another_kernel_or_backend_differs(image_files, upstream_predict):
    file = image_files[0]
    expected_pixels, expected = upstream_validation(file)
    assert not torch.allclose(ours(file)[1], upstream_predict(file), atol=0.01)
    _, by_predict = ours(file, kernel='predict')
    assert not torch.allclose(by_predict, expected, atol=0.01)
    load, *_, pack = Config.fromfile(CONFIG).test_pipeline
    resize = dict(type='Resize', scale=(RESOLUTION, RESOLUTION))
    packed = Compose([load, resize, pack])(dict(img_path=file, img_id=0))
    by_cv2 = packed['inputs'].permute(1, 2, 0).flip(2)
    assert (by_cv2.int() - expected_pixels.int()).abs().max() > 1


def test_rotating_by_exif_differs(tmp_path):
    file = str(tmp_path / 'rotated.jpg')
    exif = Image.Exif()
    exif[ORIENTATION] = 3  # half a turn
    ramp = np.tile(np.arange(120, dtype=np.uint8)[None, :, None], (80, 1, 3))
    Image.fromarray(ramp).save(file, exif=exif)
    load = Config.fromfile(CONFIG).test_dataloader.dataset.pipeline[0]
    turned = Compose([{**load, 'color_type': 'color'}])(dict(img_path=file))
    kept = Compose([load])(dict(img_path=file))
    assert kept['img'][0, 0, 0] < 10 < 110 < turned['img'][0, 0, 0]
