"""Files for rfdetr 1.11.2 and from it, and models that rfdetr builds."""

import copy
import os
from pathlib import Path

os.environ['HF_HUB_OFFLINE'] = '1'

import pytest
import torch
from mmengine.config import Config

rfdetr = pytest.importorskip('rfdetr')

from rfdetr.assets import coco_classes, model_weights
from rfdetr.config import (
    RFDETRBaseConfig,
    RFDETRKeypointPreviewConfig,
    RFDETRLargeDeprecatedConfig,
    RFDETRNanoConfig,
    RFDETRSeg2XLargeConfig,
    RFDETRSegLargeConfig,
    RFDETRSegMediumConfig,
    RFDETRSegNanoConfig,
    RFDETRSegPreviewConfig,
    RFDETRSegSmallConfig,
    RFDETRSegXLargeConfig,
)
from rfdetr.models import build_model_from_config
from rfdetr.models.weights import (
    interpolate_position_embeddings,
)

from rfdetr_mm.apis.conversion import to_rfdetr
from rfdetr_mm.checkpoints import (
    COCO_CATEGORY_IDS,
    COCO_CLASSES,
    PUBLISHED_FILES,
    mmdet_to_upstream,
    read_checkpoint,
    reset_precision,
    resize_class_rows,
    resize_keypoint_rows,
    to_mmdet_checkpoint,
    upstream_to_mmdet,
)
from rfdetr_mm.models.layers.position_table import resize_position_table

pytestmark = pytest.mark.parity

_ROOT = Path(__file__).parents[2]

# The count of a model's numbers at 80 classes (design, "counts"), queries.
_MODELS = {
    'nano': (RFDETRNanoConfig, None, 30_427_720, 300),
    'base': (RFDETRBaseConfig, '/nonexistent/x.pth', 32_134_952, 300),
    'large-deprecated': (
        RFDETRLargeDeprecatedConfig, '/nonexistent/x.pth', 135_578_184, 300
    ),
    'seg-nano': (RFDETRSegNanoConfig, None, 33_537_897, 100),
    'seg-small': (RFDETRSegSmallConfig, None, 33_671_529, 100),
    'seg-medium': (RFDETRSegMediumConfig, None, 35_654_681, 200),
    'seg-large': (RFDETRSegLargeConfig, None, 35_834_393, 200),
    'seg-xlarge': (RFDETRSegXLargeConfig, None, 38_074_057, 300),
    'seg-2xlarge': (RFDETRSeg2XLargeConfig, None, 38_608_585, 300),
    'seg-preview': (RFDETRSegPreviewConfig, None, 34_113_977, 200),
}  # fmt: skip
_CHEAP = ('nano', 'base', 'large-deprecated', 'seg-nano')


def _build(config_class, pretrain_weights=None, **kwargs):
    config = config_class(
        pretrain_weights=pretrain_weights, device='cpu', **kwargs
    )
    torch.manual_seed(0)
    model = build_model_from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=[] if name in _CHEAP else pytest.mark.slow)
        for name in _MODELS
    ],
)
def test_round_trips_of_coco_models_are_exact(name):
    config_class, switch, count, num_queries = _MODELS[name]
    upstream = _build(config_class, switch).state_dict()
    ours, report = upstream_to_mmdet(upstream)
    assert report.num_parameters == count
    assert (report.num_groups, report.num_queries) == (13, num_queries)
    back, _ = mmdet_to_upstream(ours, report.class_names)
    assert back.keys() == upstream.keys()
    spare = sorted(set(range(91)) - set(COCO_CATEGORY_IDS))
    for key, tensor in upstream.items():
        if 'class_embed' not in key:
            assert torch.equal(back[key], tensor), key
            continue
        kept = list(COCO_CATEGORY_IDS)
        assert torch.equal(back[key][kept], tensor[kept]), key
        fill = -20.0 if key.endswith('bias') else 0.0
        assert (back[key][spare] == fill).all(), key
    again, _ = upstream_to_mmdet(back, report.class_names)
    assert again.keys() == ours.keys()
    assert all(torch.equal(again[key], ours[key]) for key in ours)
    # Negative control: one changed number is seen.
    back['transformer.enc_output.7.weight'][3, 2] += 1e-6
    changed, _ = upstream_to_mmdet(back)
    key = 'bbox_head.query_selector.proj.weight'
    differs = (changed[key] != ours[key]).nonzero().tolist()
    assert differs == [[7, 3, 2]]


@pytest.fixture(scope='module')
def small_nano():
    """A Nano of 90 classes and few queries, as rfdetr builds it."""
    return _build(RFDETRNanoConfig, num_classes=90, num_queries=2)


@pytest.fixture(scope='module')
def small_seg_nano():
    """The same with masks."""
    return _build(RFDETRSegNanoConfig, num_classes=90, num_queries=2)


def _convert_back(folder, upstream, config_name):
    """Fine-tuned weights, converted by our tool for our config."""
    names = [f'{i}th' for i in range(90)]
    ours, _ = to_mmdet_checkpoint(
        {'model': upstream.state_dict(), 'args': {'class_names': names}}
    )
    torch.save(ours, folder / 'ours.pth')
    config = Config.fromfile(_ROOT / 'configs' / config_name)
    config.model.bbox_head.num_classes = 90
    config.model.bbox_head.num_queries = 2
    config.model.test_cfg.max_per_img = 2
    content, _ = to_rfdetr(read_checkpoint(folder / 'ours.pth'), config)
    torch.save(content, folder / 'fine-tuned.pth')
    return folder / 'fine-tuned.pth'


@pytest.fixture(scope='module')
def nano_file(tmp_path_factory, small_nano):
    return _convert_back(
        tmp_path_factory.mktemp('rfdetr'),
        small_nano,
        'rfdetr/rfdetr_nano_coco.py',
    )


@pytest.fixture(scope='module')
def seg_nano_file(tmp_path_factory, small_seg_nano):
    return _convert_back(
        tmp_path_factory.mktemp('rfdetr_seg'),
        small_seg_nano,
        'rfdetr_seg/rfdetr-seg_nano_coco.py',
    )


def _check_loaded(facade, path):
    assert facade.class_names == [f'{i}th' for i in range(90)]
    loaded = facade.model.model.state_dict()
    stored = read_checkpoint(path)['model']
    assert loaded.keys() == stored.keys()
    for key, tensor in stored.items():
        assert torch.equal(loaded[key].cpu(), tensor), key


@pytest.mark.parametrize(
    'file, name',
    [('nano_file', 'RFDETRNano'), ('seg_nano_file', 'RFDETRSegNano')],
)
def test_rfdetr_loads_what_we_write(file, name, request):
    path = request.getfixturevalue(file)
    facade = getattr(rfdetr, name)(
        pretrain_weights=str(path),
        num_classes=90,
        num_queries=2,
        num_select=2,
        device='cpu',
    )
    _check_loaded(facade, path)
    facade = rfdetr.RFDETR.from_checkpoint(str(path), device='cpu')
    assert type(facade) is getattr(rfdetr, name)
    _check_loaded(facade, path)


def test_rfdetr_tells_our_two_kinds_of_files_apart(nano_file, seg_nano_file):
    for name, path in (
        ('RFDETRSegNano', nano_file),
        ('RFDETRNano', seg_nano_file),
    ):
        with pytest.raises(ValueError, match='segmentation head'):
            getattr(rfdetr, name)(
                pretrain_weights=str(path),
                num_queries=2,
                num_select=2,
                patch_size=read_checkpoint(path)['args']['patch_size'],
                device='cpu',
            )


@pytest.fixture(scope='module')
def keypoint_model():
    """A keypoint preview with 90 unused classes, as rfdetr builds it."""
    return _build(RFDETRKeypointPreviewConfig)


def test_round_trips_of_the_keypoint_model_are_exact(keypoint_model):
    """Of 91 class rows, one is a class with 17 keypoints."""
    upstream = keypoint_model.state_dict()
    ours, report = upstream_to_mmdet(upstream)
    assert report.class_names == ('person',)
    count = sum(p.numel() for p in keypoint_model.parameters())
    assert count == 41_044_470
    assert report.num_parameters == count - 90 * (256 + 1) * 14
    back, _ = mmdet_to_upstream(ours, report.class_names)
    assert back.keys() == upstream.keys()
    for key, tensor in upstream.items():
        if 'class_embed' in key:
            assert len(back[key]) == 2
            assert torch.equal(back[key][:1], tensor[:1]), key
        else:
            assert torch.equal(back[key], tensor), key
    again, _ = upstream_to_mmdet(back, report.class_names)
    assert again.keys() == ours.keys()
    assert all(torch.equal(again[key], ours[key]) for key in ours)


@pytest.mark.parametrize('schema', [(4,), (9, 0, 5)])
def test_keypoint_rows_are_resized_as_upstream_does(schema, keypoint_model):
    model = copy.deepcopy(keypoint_model)
    ours, _ = upstream_to_mmdet(model.state_dict())
    model.reinitialize_keypoint_head(list(schema))
    model.reset_keypoint_gaussian_parameters()
    theirs, _ = upstream_to_mmdet(
        model.state_dict(), [f'{i}th' for i in range(len(schema))]
    )
    resized = reset_precision(
        resize_keypoint_rows(ours, theirs['bbox_head.active_keypoints'])
    )
    for key, tensor in theirs.items():
        if 'cls_branch' not in key:
            assert torch.equal(resized[key], tensor), key


def test_rfdetr_loads_keypoint_files_that_we_write(tmp_path, keypoint_model):
    names = ['dot', 'person']
    model = copy.deepcopy(keypoint_model)
    model.reinitialize_detection_head(3)
    model.reinitialize_keypoint_head([2, 17])
    ours, _ = to_mmdet_checkpoint(
        {'model': model.state_dict(), 'args': {'class_names': names}}
    )
    config = Config.fromfile(
        _ROOT / 'configs/rfdetr_pose/rfdetr-pose_preview_coco.py'
    )
    config.model.bbox_head.update(num_classes=2, num_keypoints=(2, 17))
    content, _ = to_rfdetr(ours, config)
    torch.save(content, tmp_path / 'file.pth')
    facade = rfdetr.RFDETR.from_checkpoint(
        str(tmp_path / 'file.pth'), device='cpu'
    )
    assert type(facade) is rfdetr.RFDETRKeypointPreview
    assert facade.class_names == names
    loaded = facade.model.model.state_dict()
    assert loaded.keys() == content['model'].keys()
    for key, tensor in content['model'].items():
        assert torch.equal(loaded[key].cpu(), tensor), key


@pytest.mark.parametrize('grid_size', [12, 24, 37])
def test_the_position_table_is_resized_as_upstream_does(grid_size):
    table = torch.randn(1, 1 + 24**2, 16)
    theirs = {'backbone.0.encoder.embeddings.position_embeddings': table}
    interpolate_position_embeddings(theirs, grid_size)
    (expected,) = theirs.values()
    resized = resize_position_table(table, grid_size, grid_size)
    assert torch.equal(resized, expected)


@pytest.mark.parametrize('num_classes', [2, 90, 91, 200])
def test_class_rows_are_resized_as_upstream_does(num_classes, small_nano):
    model = copy.deepcopy(small_nano)
    names = [f'thing {i}' for i in range(91)]  # No spare row: 91 of 91.
    ours, _ = upstream_to_mmdet(model.state_dict(), names)
    model.reinitialize_detection_head(num_classes)
    expected, _ = upstream_to_mmdet(
        model.state_dict(), [f'thing {i}' for i in range(num_classes)]
    )
    resized = resize_class_rows(ours, num_classes)
    assert resized.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(resized[key], tensor), key


def test_our_copies_of_upstreams_tables():
    assert tuple(coco_classes.COCO_CLASSES) == COCO_CATEGORY_IDS
    assert tuple(coco_classes.COCO_CLASSES.values()) == COCO_CLASSES
    assert tuple(coco_classes.COCO_CLASS_NAMES) == COCO_CLASSES
    apache = {n: f for n, f in PUBLISHED_FILES.items() if f.licence[0] == 'A'}
    assets = {asset.filename: asset for asset in model_weights.ModelWeights}
    assert apache.keys() == assets.keys()
    for name, asset in assets.items():
        assert asset.md5_hash == apache[name].md5, name
        assert asset.url.endswith('/rfdetr/' + apache[name].remote), name
