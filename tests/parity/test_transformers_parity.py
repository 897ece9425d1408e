"""Weights and outputs against RF-DETR in transformers, both directions."""

import pytest
import torch

transformers = pytest.importorskip(
    'transformers', reason='transformers is not installed'
)
pytest.importorskip(
    'transformers.models.rf_detr', reason='transformers has no RF-DETR'
)

from mmdet.registry import MODELS  # noqa: E402
from small_detector import small_config  # noqa: E402

from rfdetr_mm.apis.conversion import from_rfdetr  # noqa: E402
from rfdetr_mm.apis.transformers_config import (  # noqa: E402
    transformers_config,
)
from rfdetr_mm.apis.transformers_folder import (  # noqa: E402
    write_transformers,
)
from rfdetr_mm.checkpoints import read_checkpoint  # noqa: E402
from rfdetr_mm.models import WindowedDINOv2  # noqa: E402

pytestmark = pytest.mark.parity
NAMES = ('cell', 'ring', 'Kernkörper')
CLOSE = dict(atol=2e-4, rtol=2e-4)
ONE_WINDOW = {
    'backbone.num_windows': 1,
    'data_preprocessor.pad_size_divisor': 16,
}
MASKS = {'bbox_head.type': 'RFDETRInsHead'}
CASES = {
    'boxes': {},
    'one window': ONE_WINDOW,
    'masks': MASKS,
    'masks, one window': {**MASKS, **ONE_WINDOW},
    'two layers': {'bbox_head.decoder.num_layers': 2},
}


@pytest.fixture(autouse=True)
def narrow_backbone(monkeypatch):
    """An eighth of the width: the converter does not know it."""
    narrow = dict(embed_dims=24, num_heads=2)
    monkeypatch.setitem(WindowedDINOv2.arch_settings, 'tiny', narrow)


def config_of(case):
    return small_config({'neck.in_channels': [24] * 2, **CASES[case]})


def their_class(config):
    name = transformers_config(config)['architectures'][0]
    return getattr(transformers, name)


def their_model(config, seed=0):
    """transformers' own random model, perturbed."""
    torch.manual_seed(seed)
    described = transformers_config(config, NAMES)
    described.pop('model_type')
    model = their_class(config)(transformers.RfDetrConfig(**described))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def our_model(config, weights):
    model = MODELS.build(config.model)
    model.load_state_dict(weights, strict=True)
    return model.eval()


def load_theirs(cls, folder):
    """from_pretrained, strict."""
    model, info = cls.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    return model.eval()


def images(hw, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, *hw, generator=generator)


@torch.no_grad()
def compare(ours, theirs, batch):
    """Logits, boxes and masks of the last layer."""
    found, expected = ours(batch, mode='tensor'), theirs(batch)
    torch.testing.assert_close(found[0][-1], expected.logits, **CLOSE)
    torch.testing.assert_close(found[1][-1], expected.pred_boxes, **CLOSE)
    if len(found) > 2:
        scale = float(expected.pred_masks.abs().max())  # sums of products
        torch.testing.assert_close(
            found[2][-1] / scale, expected.pred_masks / scale, **CLOSE
        )


@pytest.mark.parametrize('original', [True, False], ids=['rfdetr', 'own'])
@pytest.mark.parametrize('case', CASES)
def test_there(tmp_path, case, original):
    """Both of transformers' kinds of names, every value, the outputs."""
    config = config_of(case)
    theirs = their_model(config)
    theirs.save_pretrained(tmp_path, save_original_format=original)
    converted, report = from_rfdetr(read_checkpoint(tmp_path), config)
    assert report.class_names == NAMES
    ours = our_model(config, converted['state_dict'])
    ours_in_all = sum(p.numel() for p in ours.parameters())
    assert ours_in_all == sum(p.numel() for p in theirs.parameters())
    compare(ours, theirs, images((64, 64)))
    with torch.no_grad():  # the control
        ours.bbox_head.cls_branch.weight.mul_(1.01)
    with pytest.raises(AssertionError):
        compare(ours, theirs, images((64, 64)))


@pytest.mark.parametrize('case', CASES)
def test_and_back(tmp_path, case):
    """transformers loads what is written; then it comes back bit by bit."""
    config = config_of(case)
    torch.manual_seed(3)
    ours = MODELS.build(config.model).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    weights = ours.state_dict()
    content = dict(
        state_dict=weights, meta=dict(dataset_meta=dict(classes=NAMES))
    )
    folder = tmp_path / 'new'
    write_transformers(content, config, folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['new']
    theirs = load_theirs(their_class(config), folder)
    assert theirs.config.id2label == dict(enumerate(NAMES))
    compare(ours, theirs, images((64, 64)))
    # And what transformers writes of it comes back.
    theirs.save_pretrained(tmp_path / 'theirs')
    for saved in (folder, tmp_path / 'theirs'):
        again, _ = from_rfdetr(read_checkpoint(saved), config)
        assert again['state_dict'].keys() == weights.keys()
        for key, value in weights.items():
            assert torch.equal(again['state_dict'][key], value), key


@pytest.mark.parametrize('hw', [(64, 96), (96, 64)], ids=str)
@pytest.mark.parametrize('case', CASES)
def test_rectangles(tmp_path, case, hw):
    """Equal with one window.

    With several, transformers cuts rectangles along the wrong sides:
    findings/transformers_rf_detr_windows_of_rectangles.sh. rfdetr does not.
    """
    config = config_of(case)
    theirs = their_model(config)
    theirs.save_pretrained(tmp_path)
    converted, _ = from_rfdetr(read_checkpoint(tmp_path), config)
    ours = our_model(config, converted['state_dict'])
    if config.model.backbone.num_windows == 1:
        compare(ours, theirs, images(hw))
    else:
        with pytest.raises(AssertionError):
            compare(ours, theirs, images(hw))
