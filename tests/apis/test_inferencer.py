import copy
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import CheckpointLoader
from PIL import Image

from rfdetr_mm.apis import RFDETRInferencer
from rfdetr_mm.errors import InputError
from tests.data_factory import CLASSES, write_coco
from tests.tiny_config import tiny_config

CONFIGS = Path(__file__).parents[2] / 'configs' / 'rfdetr'
SIZES = [(60, 90), (90, 60)]
TURNED = 6  # EXIF: a camera held upright
ADDRESS = 'rfdetr://tiny.pth'


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    """A PNG file of 60 x 90 pixels, and a photograph to be turned."""
    root = write_coco(tmp_path_factory.mktemp('data') / 'set', SIZES)
    with Image.open(root / 'images' / '2.png') as image:
        exif = image.getexif()
        exif[0x0112] = TURNED
        image.save(root / 'images' / '2.jpg', exif=exif)
    (root / 'images' / '2.png').unlink()
    annotations = root / 'annotations.json'
    annotations.write_text(annotations.read_text().replace('2.png', '2.jpg'))
    return root


@pytest.fixture(scope='module')
def tiny(data_root):
    """Config and weights that do not give the same score to everything."""
    torch.manual_seed(0)
    cfg = tiny_config(data_root)
    model = MODELS.build(cfg.model)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    return cfg, model.state_dict()


@pytest.fixture
def shelf(monkeypatch):
    """Address to checkpoint, instead of the published files."""
    content = {}
    monkeypatch.setitem(
        CheckpointLoader._schemes,
        'rfdetr://',
        lambda filename, map_location=None: content[filename],
    )
    return content


def checkpoint(weights, classes=CLASSES, **meta):
    if classes:
        meta['dataset_meta'] = dict(classes=classes, palette=[(1, 2, 3)] * 9)
    return dict(state_dict=weights, meta=meta)


def predict(inferencer, inputs, **options):
    found = inferencer(inputs, return_datasamples=True, **options)
    return [sample.pred_instances for sample in found['predictions']]


def assert_equal(actual, expected):
    assert len(expected) == 10
    for field in ('bboxes', 'scores', 'labels'):
        assert torch.equal(actual[field], expected[field]), field


@pytest.fixture
def inferencer(tiny, shelf):
    cfg, weights = tiny
    shelf[ADDRESS] = checkpoint(weights)
    return RFDETRInferencer(cfg, ADDRESS, 'cpu', show_progress=False)


@pytest.fixture
def as_tested(tiny):
    """What tools/test.py makes of the two images."""
    cfg, weights = tiny
    model = MODELS.build(cfg.model)
    model.load_state_dict(weights)
    model.eval()
    dataset = DATASETS.build(copy.deepcopy(cfg.test_dataloader.dataset))
    found = []
    for item in dataset:
        with torch.no_grad():
            found += model.test_step(pseudo_collate([item]))
    return [sample.pred_instances for sample in found]


def test_files_are_treated_as_by_the_test_tool(
    inferencer, as_tested, data_root
):
    files = [str(data_root / 'images' / name) for name in ('1.png', '2.jpg')]
    for found, expected in zip(predict(inferencer, files), as_tested):
        assert_equal(found, expected)
    for found, expected in zip(
        predict(inferencer, files, batch_size=2), as_tested
    ):
        torch.testing.assert_close(found.scores, expected.scores)


def test_arrays_are_bgr(inferencer, as_tested, data_root):
    rgb = np.asarray(Image.open(data_root / 'images' / '1.png'))
    assert rgb.shape == (60, 90, 3)
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    assert_equal(predict(inferencer, bgr)[0], as_tested[0])
    scores = predict(inferencer, rgb)[0].scores
    assert not torch.allclose(scores, as_tested[0].scores, atol=1e-4)


def test_every_kind_of_image(inferencer, as_tested, data_root):
    path = data_root / 'images' / '1.png'
    picture = Image.open(path)
    for image in (path, [path], picture, picture.convert('RGBA')):
        assert_equal(predict(inferencer, image)[0], as_tested[0])
    grey = picture.convert('L')
    expected = predict(inferencer, grey.convert('RGB'))[0]
    assert_equal(predict(inferencer, grey)[0], expected)
    assert_equal(predict(inferencer, np.asarray(grey))[0], expected)


@pytest.mark.parametrize(
    'image, message',
    [
        (np.zeros((40, 60, 3), np.float32), 'uint8, from 0 .*got float32 of'),
        (np.zeros((40, 60, 3), np.uint16), 'uint8, from 0 .*got uint16 of'),
        (np.zeros((40, 60, 4), np.uint8), r'\(H, W, 3\).*\(40, 60, 4\)'),
        (np.zeros((1, 40, 60, 3), np.uint8), r'got uint8 .*\(1, 40, 60, 3\)'),
        (torch.zeros(3, 40, 60), 'a path, .*, got Tensor'),
        ([None], 'a path, .*, got NoneType'),
    ],
)
def test_what_is_no_image(inferencer, image, message):
    with pytest.raises(InputError, match=message):
        inferencer(image)


def test_arrays_are_painted_in_their_colours(inferencer, data_root):
    path = data_root / 'images' / '1.png'
    paint = dict(return_vis=True, pred_score_thr=2)  # no boxes
    painted = [
        inferencer(image, **paint)['visualization'][0]
        for image in (str(path), Image.open(path))
    ]
    np.testing.assert_array_equal(*painted)
    assert_lower_half(painted[0], Image.open(path))


def assert_lower_half(painted, picture):
    """Equal below the heading, which says that nothing was found."""
    middle = picture.height // 2
    np.testing.assert_array_equal(
        painted[middle:], np.asarray(picture)[middle:]
    )


def test_a_turned_file_is_painted_as_the_model_saw_it(
    inferencer, data_root, tmp_path
):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.open(data_root / 'images' / '1.png')
    picture.save(tmp_path / 'turned.png', exif=exif)
    found = inferencer(
        str(tmp_path / 'turned.png'),
        return_vis=True,
        pred_score_thr=2,
        out_dir=str(tmp_path / 'out'),
    )
    (painted,) = found['visualization']
    assert_lower_half(painted, picture)
    assert (tmp_path / 'out/vis/turned.png').is_file()


def test_a_device_that_is_not_there(tiny):
    with pytest.raises(InputError, match="device='foo' is no"):
        RFDETRInferencer(tiny[0], device='foo')


def test_a_folder_gives_predictions_and_pictures(
    inferencer, data_root, tmp_path
):
    found = inferencer(
        str(data_root / 'images'), out_dir=str(tmp_path), no_save_pred=False
    )
    assert len(found['predictions']) == 2
    assert {path.name for path in (tmp_path / 'vis').iterdir()} == {
        '1.png',
        '2.jpg',
    }
    assert (tmp_path / 'preds' / '1.json').is_file()


def test_a_folder_is_listed_as_by_all_other_readers(
    inferencer, data_root, tmp_path
):
    shutil.copy(data_root / 'images/1.png', tmp_path / 'IMG_1.PNG')
    (tmp_path / '._a.jpg').write_bytes(b'what macOS writes')
    (tmp_path / 'x.jpg').mkdir()
    with pytest.warns(UserWarning, match='2 names of images are left out'):
        assert len(predict(inferencer, str(tmp_path))) == 1
    (tmp_path / 'IMG_1.PNG').unlink()
    with pytest.raises(InputError, match=r'has no images \(.*\.jpg'):
        inferencer(str(tmp_path))


def test_an_unreadable_image_is_named(inferencer, tmp_path):
    broken = tmp_path / 'broken.jpg'
    broken.write_bytes(b'no picture')
    for path in (broken, tmp_path / 'missing.jpg'):
        with pytest.raises(InputError, match=f'{path.name} cannot') as error:
            inferencer(str(path))
        assert 'annotation file' not in str(error.value)


def test_the_checking_loader_is_found_too(tiny, shelf, as_tested, data_root):
    cfg, weights = tiny
    cfg = copy.deepcopy(cfg)
    loader = cfg.test_dataloader.dataset.pipeline[0]
    loader.update(type='LoadCheckedImage', skip_unreadable=True)
    shelf[ADDRESS] = checkpoint(weights)
    inferencer = RFDETRInferencer(cfg, ADDRESS, 'cpu', show_progress=False)
    found = predict(inferencer, str(data_root / 'images' / '2.jpg'))
    assert_equal(found[0], as_tested[1])


@pytest.fixture
def nano(shelf):
    cfg = Config.fromfile(CONFIGS / 'rfdetr_nano_coco.py')
    with torch.device('meta'):
        weights = MODELS.build(cfg.model).state_dict()
    weights = {key: torch.full(v.shape, 0.25) for key, v in weights.items()}
    shelf['rfdetr://rf-detr-nano.pth'] = checkpoint(weights, ('x',) * 80)
    return cfg


@pytest.mark.parametrize(
    'build',
    [
        lambda: RFDETRInferencer('rfdetr_nano_coco', device='cpu'),
        lambda: RFDETRInferencer('RF-DETR-nano', device='cpu'),
        lambda: DetInferencer(
            'rfdetr_nano_coco', device='cpu', scope='rfdetr_mm'
        ),
    ],
    ids=['name', 'alias', 'mmdet'],
)
def test_names_bring_config_and_weights(nano, build):
    inferencer = build()
    assert inferencer.cfg.model == nano.model
    assert {p.flatten()[0].item() for p in inferencer.model.parameters()} == {
        0.25
    }
    assert inferencer.model.dataset_meta['classes'] == ('x',) * 80
    assert not inferencer.model.training


def test_licensed_weights_ask_for_acceptance(monkeypatch):
    monkeypatch.delenv('RF_HOME', raising=False)
    with pytest.raises(ValueError, match='PML-1.0.*accept_platform_model_'):
        RFDETRInferencer('rfdetr_xlarge_coco')


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="'nowhere.py' is.*rfdetr_nano_coco"):
        RFDETRInferencer('nowhere.py')


def test_a_checkpoint_of_a_training_is_enough(tiny, shelf, data_root):
    cfg, weights = tiny
    shelf[ADDRESS] = checkpoint(weights, cfg=cfg.pretty_text)
    inferencer = RFDETRInferencer(weights=ADDRESS, show_progress=False)
    assert inferencer.model.bbox_head.num_classes == 2
    assert inferencer.visualizer.dataset_meta['classes'] == CLASSES


@pytest.mark.parametrize(
    'meta, expected',
    [
        (dict(dataset_meta=dict(CLASSES=['a', 'b'])), ('a', 'b')),
        (dict(CLASSES=['a', 'b']), ('a', 'b')),
        (dict(dataset_meta=dict(classes=None)), CLASSES),
        ({}, CLASSES),
        (None, CLASSES),
    ],
)
def test_class_names(tiny, shelf, meta, expected):
    cfg, weights = tiny
    shelf[ADDRESS] = dict(state_dict=weights)
    if meta is not None:
        shelf[ADDRESS]['meta'] = meta
    inferencer = RFDETRInferencer(cfg, ADDRESS, 'cpu')
    assert inferencer.model.dataset_meta['classes'] == expected
    assert inferencer.visualizer.dataset_meta['classes'] == expected


def test_bare_weights_take_the_names_of_the_config(tiny, shelf):
    cfg, weights = tiny
    shelf[ADDRESS] = weights
    inferencer = RFDETRInferencer(cfg, ADDRESS, 'cpu')
    assert inferencer.model.dataset_meta['classes'] == CLASSES


@pytest.mark.parametrize('given', [True, False])
def test_weights_are_drawn_only_if_no_file_fills_them(
    tiny, shelf, monkeypatch, given
):
    cfg, weights = tiny
    shelf[ADDRESS] = checkpoint(weights)
    draw, drawn = torch.nn.init.trunc_normal_, []
    monkeypatch.setattr(
        torch.nn.init,
        'trunc_normal_',
        lambda *args, **kwargs: drawn.append(1) or draw(*args, **kwargs),
    )
    with nullcontext() if given else pytest.warns(UserWarning, match='random'):
        found = RFDETRInferencer(cfg, ADDRESS if given else None, 'cpu')
    assert bool(drawn) is not given
    if given:
        for name, value in found.model.state_dict().items():
            assert torch.equal(value, weights[name]), name


def test_no_weights_is_a_warning(tiny):
    cfg, _ = tiny
    with pytest.warns(UserWarning, match='random weights'):
        inferencer = RFDETRInferencer(cfg, device='cpu')
    assert inferencer.model.dataset_meta['classes'] == CLASSES


@pytest.mark.parametrize('inferencer_type', [RFDETRInferencer, DetInferencer])
def test_other_classes_are_an_error(tiny, shelf, inferencer_type):
    cfg, weights = tiny
    key = 'bbox_head.cls_branch.weight'
    rows = weights[key][:1].repeat(3, 1)
    shelf[ADDRESS] = checkpoint({**weights, key: rows}, ('a', 'b', 'c'))
    with pytest.raises(ValueError, match='has 3 classes .*num_classes=2'):
        inferencer_type(cfg, ADDRESS, 'cpu')


def test_more_names_than_classes_are_an_error(tiny, shelf):
    cfg, weights = tiny
    shelf[ADDRESS] = checkpoint(weights, ('a', 'b', 'c'))
    with pytest.raises(ValueError, match='num_classes=2.*3.*: a, b, c'):
        RFDETRInferencer(cfg, ADDRESS, 'cpu')


def test_resolution_and_configs_of_two_sizes(tmp_path):
    cfg = tiny_config(write_coco(tmp_path / 'set', [(40, 60)]))
    cfg.test_pipeline[1].scale = (128, 96)
    options = dict(device='cpu', show_progress=False)
    with pytest.raises(InputError, match='says 64 x 64, .*says 96 x 128'):
        RFDETRInferencer(cfg, **options)
    inferencer = RFDETRInferencer(cfg, resolution=(96, 128), **options)
    assert inferencer.pipeline.transforms[1].scale == (128, 96)
    with pytest.raises(InputError, match='resolution=65.*64 x 64 and 96 x 96'):
        RFDETRInferencer(cfg, resolution=65, **options)
