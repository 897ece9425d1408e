"""What is extracted is an ordinary detector with the same numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import HOOKS, MODELS
from mmengine.config import Config
from mmengine.runner import load_checkpoint

from rfdetr_mm.apis import RFDETRInferencer
from rfdetr_mm.errors import InputError
from rfdetr_mm.models import Subnet

ROOT = Path(__file__).parents[3]
NAMES = [
    '64x64-p8-w2-d2-q6',
    '32x48-p8-w2-d2-q6',
    '48x48-p6-w1-d1-q3',
    '36x48-p6-w2-d0-q6',
    '80x40-p20-w1-d1-q5',
]


@pytest.fixture(scope='module')
def extracted(supernet, tmp_path_factory):
    import extract

    out = tmp_path_factory.mktemp('extracted')
    return {
        name: extract.main(
            [*map(str, supernet), '--subnet', name, '--out', str(out)]
        )
        for name in NAMES
    }


@pytest.mark.parametrize('name', NAMES)
def test_round_trip(supernet, extracted, name):
    subnet = Subnet.parse(name)
    cfg = Config.fromfile(supernet[0])
    whole = MODELS.build(cfg.model).eval()
    load_checkpoint(whole, str(supernet[1]))
    whole.set_subnet(subnet)
    config, checkpoint = extracted[name]
    cfg = Config.fromfile(config)
    part = MODELS.build(cfg.model).eval()
    load_checkpoint(part, str(checkpoint))
    assert part.subnet is None
    x = torch.randn(2, 3, *subnet.resolution)
    with torch.no_grad():
        torch.testing.assert_close(part(x), whole(x), atol=1e-5, rtol=1e-5)
    # no larger than it has to be
    assert len(part.bbox_head.decoder.layers) == subnet.num_decoder_layers
    assert part.bbox_head.query_embedding.shape[1] == subnet.num_queries
    assert part.backbone.patch_embed.kernel_size[0] == subnet.patch_size
    if subnet.resolution[0] == subnet.resolution[1]:
        cells = subnet.resolution[0] // subnet.patch_size
        assert part.backbone.grid_size == cells


def test_masks_keep_their_size(supernet):
    import extraction

    cfg = Config.fromfile(supernet[0])
    cfg.model.bbox_head.update(type='RFDETRInsHead', mask_upsample_ratio=2.0)
    torch.manual_seed(1)
    whole = MODELS.build(cfg.model).eval()
    subnet = Subnet.parse('36x48-p12-w1-d1-q3')
    part = MODELS.build(extraction.extract_config(cfg, subnet).model).eval()
    part.load_state_dict(
        extraction.extract_weights(whole.state_dict(), subnet)
    )
    assert len(part.bbox_head.mask_branch.blocks) == 1
    whole.set_subnet(subnet)
    x = torch.randn(1, 3, 36, 48)
    with torch.no_grad():
        actual, expected = part(x), whole(x)
    assert actual[2].shape[-2:] == (9, 12)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('name', NAMES)
def test_config_has_no_trace_of_the_search(extracted, name):
    text = extracted[name][0].read_text()
    for word in ('subnet', 'Subnet', 'search_space'):
        assert word not in text
    cfg = Config.fromfile(extracted[name][0])
    subnet = Subnet.parse(name)
    for split in ('train', 'val', 'test'):
        (resize,) = [
            step
            for step in cfg[f'{split}_dataloader'].dataset.pipeline
            if step.type == 'RFDETRResize'
        ]
        assert tuple(resize.scale[::-1]) == subnet.resolution
    assert cfg.model.data_preprocessor.pad_size_divisor == subnet.block
    assert cfg.get('find_unused_parameters', False) == (
        subnet.num_decoder_layers == 0
    )
    for hook in cfg.custom_hooks:
        HOOKS.build(dict(hook))


@pytest.mark.parametrize('name', NAMES[1:4])
def test_checkpoint_alone_is_enough_for_the_python_api(extracted, name):
    checkpoint = extracted[name][1]
    inferencer = RFDETRInferencer(weights=str(checkpoint), device='cpu')
    image = np.random.default_rng(0).integers(
        0, 255, (50, 70, 3), dtype=np.uint8
    )
    (prediction,) = inferencer(image)['predictions']
    queries = Subnet.parse(name).num_queries
    assert len(prediction['scores']) == 2 * queries  # of two classes
    assert np.isfinite(prediction['bboxes']).all()


@pytest.mark.parametrize('name', ['nano', 'small', 'medium', 'large'])
def test_published_point_gives_the_published_model(name):
    import extraction

    supernet = Config.fromfile(
        ROOT / 'configs/rfdetr_nas/rfdetr-nas_small_coco.py'
    )
    published = Config.fromfile(ROOT / f'configs/rfdetr/rfdetr_{name}_coco.py')
    head = published.model.bbox_head
    side = published.image_size
    subnet = Subnet((side, side), 16, 2, head.decoder.num_layers, 300)
    cfg = extraction.extract_config(supernet, subnet)
    cfg.model.data_preprocessor.pop('batch_augments')
    assert cfg.model == published.model
    assert cfg.test_dataloader == published.test_dataloader
    assert cfg.custom_hooks == published.custom_hooks
    assert supernet.model.subnet  # the given one is not changed


@pytest.mark.parametrize(
    'name, words',
    [
        ('64x60-p8-w2-d2-q6', ['8 * 2 = 16 px', '3 * 16 + 12', '64 x 64']),
        ('64x64-p8-w2-d3-q6', ['2 decoder layers, 1 fewer than the 3']),
        ('64x64-p8-w2-d2-q7', ['6 queries, 1 fewer than the 7']),
        ('64-p8', ["'64-p8' names no sub-network"]),
    ],
)
def test_impossible_parts_end_with_one_line(supernet, tmp_path, name, words):
    import extract

    with pytest.raises(SystemExit) as error:
        extract.main(
            [*map(str, supernet), '--subnet', name, '--out', str(tmp_path)]
        )
    for word in words:
        assert word in str(error.value)
    assert not list(tmp_path.iterdir())


def test_existing_files_are_kept(supernet, extracted):
    import extract

    name, (config, _) = NAMES[0], extracted[NAMES[0]]
    options = [
        *map(str, supernet),
        *('--subnet', name),
        *('--out', str(config.parent)),
    ]
    before = config.stat().st_mtime_ns
    with pytest.raises(SystemExit, match='exists and is not overwritten'):
        extract.main(options)
    assert config.stat().st_mtime_ns == before
    extract.main([*options, '--force'])
    assert config.stat().st_mtime_ns > before


def test_pipeline_without_a_resizing_step_is_explained():
    import extraction

    cfg = Config(dict(test_pipeline=[dict(type='Resize', scale=(3, 4))]))
    with pytest.raises(InputError, match=r"RFDETRResize.*only \['Resize'\]"):
        extraction.set_image_size(cfg, (32, 48))
