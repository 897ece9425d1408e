import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from rfdetr_mm.checkpoints import (
    COCO_CLASSES,
    merge_adapters,
    mmdet_to_upstream,
    read_checkpoint,
)
from rfdetr_mm.models import WindowedDINOv2

_ROOT = Path(__file__).parents[2]
_TOOLS = _ROOT / 'tools' / 'model_converters'
_NAMES = ('cat', 'dog', 'cow')


def _tool(name):
    spec = importlib.util.spec_from_file_location(name, _TOOLS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(_TOOLS)  # as for a script
        spec.loader.exec_module(module)
    return module


def _run(name, *args):
    """Run a tool's main in this process, as if from the command line."""
    tool = _tool(name)
    argv, sys.argv = sys.argv, [name, *map(str, args)]
    try:
        return tool.main()
    finally:
        sys.argv = argv


@pytest.fixture(scope='module', autouse=True)
def narrow_backbone():
    """A backbone of 1 % of the numbers: the tools do not know its width."""
    with pytest.MonkeyPatch.context() as patch:
        narrow = dict(embed_dims=24, num_heads=2)
        patch.setitem(WindowedDINOv2.arch_settings, 'small', narrow)
        yield


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('converters')


def _write_config(
    path, num_classes=3, img_size=64, num_queries=6, groups=3, adapters=None
):
    config = Config.fromfile(_ROOT / 'configs/rfdetr/rfdetr_nano_coco.py')
    config.model.adapters = adapters
    return _shrink(config, path, num_classes, img_size, num_queries, groups)


def _shrink(config, path, num_classes, img_size, num_queries, groups):
    config.model.backbone.img_size = img_size
    config.model.neck.in_channels = [24] * 4
    head = config.model.bbox_head
    head.num_classes, head.num_queries = num_classes, num_queries
    head.num_groups = groups
    head.decoder.feedforward_channels = 32
    head.decoder.num_layers = 1
    config.model.test_cfg.max_per_img = num_queries
    config.custom_imports = None
    config.dump(path)
    return path


def _weights(config_path):
    init_default_scope('mmdet')
    model = MODELS.build(Config.fromfile(config_path).model)
    torch.manual_seed(1)
    return {
        key: tensor + 0.1 * torch.randn_like(tensor)
        if tensor.is_floating_point()
        else tensor
        for key, tensor in model.state_dict().items()
    }


@pytest.fixture(scope='module')
def config(folder):
    return _write_config(folder / 'config.py')


@pytest.fixture(scope='module')
def weights(config):
    return _weights(config)


@pytest.fixture(scope='module')
def upstream_file(folder, weights):
    model, _ = mmdet_to_upstream(weights, _NAMES)
    path = folder / 'upstream.pth'
    torch.save({'model': model, 'args': {'class_names': list(_NAMES)}}, path)
    return path


@pytest.fixture(scope='module')
def converted(folder, upstream_file, config):
    path = folder / 'ours.pth'
    assert (
        _run('rfdetr_to_mmdet', upstream_file, path, '--config', config) == 0
    )
    return path


def test_there_converts_every_number(converted, weights):
    read = torch.load(converted, weights_only=True)
    assert read['meta']['dataset_meta'] == {'classes': _NAMES}
    assert read['meta']['converted_from']['file'] == 'upstream.pth'
    assert read['state_dict'].keys() == weights.keys()
    for key, tensor in weights.items():
        assert torch.equal(read['state_dict'][key], tensor), key


def test_back_converts_every_number(
    folder, converted, upstream_file, config, capsys
):
    path = folder / 'back.pth'
    assert _run('mmdet_to_rfdetr', converted, path, '--config', config) == 0
    out = capsys.readouterr().out
    for part in ('keys renamed', '3 x 6', 'wrote', 'MD5'):
        assert part in out
    read = torch.load(path, weights_only=True)
    expected = read_checkpoint(upstream_file)['model']
    assert read['model'].keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(read['model'][key], tensor), key
    assert read['args'] == {
        'class_names': list(_NAMES),
        'num_classes': 3,
        'num_queries': 6,
        'group_detr': 3,
        'segmentation_head': False,
        'pretrain_weights': None,
        'encoder': 'dinov2_windowed_small',
        'patch_size': 16,
        'num_windows': 2,
        'positional_encoding_size': 4,
        'resolution': 384,
        'out_feature_indexes': [3, 6, 9, 12],
        'projector_scale': ['P4'],
        'hidden_dim': 256,
        'dec_layers': 1,
        'sa_nheads': 8,
        'ca_nheads': 16,
        'dec_n_points': 2,
        'num_select': 6,
    }
    assert 'model_name' not in read  # No class of upstream has one layer.


def test_sizes_are_fitted_to_the_config(folder, upstream_file, capsys):
    config = _write_config(
        folder / 'other.py', img_size=96, num_queries=4, groups=2
    )
    path = folder / 'fitted.pth'
    assert (
        _run('rfdetr_to_mmdet', upstream_file, path, '--config', config) == 0
    )
    out = capsys.readouterr().out
    assert 'backbone.pos_embed: [1, 17, 24] became [1, 37, 24]' in out
    assert 'query_embedding: [3, 6, 256] became [2, 4, 256]' in out
    model = MODELS.build(Config.fromfile(config).model)
    fitted = torch.load(path)['state_dict']
    assert {k: v.shape for k, v in fitted.items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }
    for tensor in fitted.values():
        assert tensor.untyped_storage().nbytes() == tensor.nbytes


@pytest.mark.parametrize(
    'changed, message',
    [
        (dict(groups=4), 'other shape: bbox_head.query'),
        (dict(num_queries=7), 'A converter adds no queries'),
    ],
)
def test_missing_rows_are_an_error(
    folder, upstream_file, changed, message, capsys
):
    config = _write_config(folder / 'more.py', **changed)
    path = folder / 'never.pth'
    args = (upstream_file, path, '--config', config)
    assert _run('rfdetr_to_mmdet', *args) == 1
    assert message in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.parametrize(
    'tool, source', [('rfdetr_to_mmdet', 'up'), ('mmdet_to_rfdetr', 'ours')]
)
def test_other_class_rows_are_an_error(
    folder, upstream_file, converted, tool, source, capsys
):
    config = _write_config(folder / 'seven.py', num_classes=7)
    src = upstream_file if source == 'up' else converted
    path = folder / 'never.pth'
    assert _run(tool, src, path, '--config', config) == 1
    assert 'has 3 classes' in capsys.readouterr().err
    assert not path.exists()


@pytest.fixture(scope='module')
def mask_config(folder):
    config = Config.fromfile(
        _ROOT / 'configs/rfdetr_seg/rfdetr-seg_nano_coco.py'
    )
    return _shrink(config, folder / 'masks.py', 3, 48, 6, 3)


@pytest.fixture(scope='module')
def mask_files(folder, mask_config):
    """Our weights with masks in both layouts, ours first."""
    weights = _weights(mask_config)
    model, _ = mmdet_to_upstream(weights, _NAMES)
    ours, theirs = folder / 'our_masks.pth', folder / 'upstream_masks.pth'
    torch.save({'state_dict': weights, 'meta': {}}, ours)
    torch.save({'model': model, 'args': {'class_names': list(_NAMES)}}, theirs)
    return ours, theirs


def test_masks_survive_both_ways(folder, mask_files, mask_config):
    ours, theirs = mask_files
    there, back = folder / 'there.pth', folder / 'and_back.pth'
    args = ('--config', mask_config)
    assert _run('rfdetr_to_mmdet', theirs, there, *args) == 0
    assert _run('mmdet_to_rfdetr', there, back, *args) == 0
    for written, key, expected in (
        (there, 'state_dict', read_checkpoint(ours)['state_dict']),
        (back, 'model', read_checkpoint(theirs)['model']),
    ):
        found = read_checkpoint(written)[key]
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[k], v) for k, v in expected.items())
    assert read_checkpoint(back)['args']['segmentation_head'] is True


def test_detection_and_segmentation_files_refuse_each_other(
    folder, converted, upstream_file, config, mask_files, mask_config, capsys
):
    path = folder / 'never.pth'
    for tool, boxes, masks in (
        ('rfdetr_to_mmdet', upstream_file, mask_files[1]),
        ('mmdet_to_rfdetr', converted, mask_files[0]),
    ):
        for src, its_task, cfg, task in (
            (masks, 'an instance segmentation', config, 'a detection'),
            (boxes, 'a detection', mask_config, 'an instance segmentation'),
        ):
            assert _run(tool, src, path, '--config', cfg) == 1
            error = capsys.readouterr().err
            assert f'the checkpoint is of {its_task} model' in error
            assert f'this is {task} model' in error
            assert not path.exists()


@pytest.mark.parametrize('tool', ['rfdetr_to_mmdet', 'mmdet_to_rfdetr'])
def test_an_existing_file_needs_force(
    folder, upstream_file, converted, config, tool, capsys
):
    src = upstream_file if tool == 'rfdetr_to_mmdet' else converted
    path = folder / f'{tool}.pth'
    path.write_bytes(b'precious')
    assert _run(tool, src, path, '--config', config) == 1
    assert '--force' in capsys.readouterr().err
    assert path.read_bytes() == b'precious'
    assert _run(tool, src, path, '--config', config, '--force') == 0
    assert torch.load(path)


def test_each_tool_refuses_the_others_input(
    folder, upstream_file, converted, config, capsys
):
    path = folder / 'never.pth'
    for tool, src, message in (
        ('rfdetr_to_mmdet', converted, 'is not an rfdetr file'),
        ('mmdet_to_rfdetr', upstream_file, 'is an rfdetr file already'),
        ('rfdetr_to_mmdet', folder / 'missing.pth', 'no checkpoint file'),
        ('rfdetr_to_mmdet', 'rfdetr://rf-detr-nan.pth', 'Did you mean'),
        ('mmdet_to_rfdetr', config, 'not a readable checkpoint'),
    ):
        assert _run(tool, src, path, '--config', config) == 1
        assert message in capsys.readouterr().err
        assert not path.exists()


def test_averaged_weights_on_demand(folder, weights, config):
    model, _ = mmdet_to_upstream(weights, _NAMES)
    average = {key: tensor + 1 for key, tensor in model.items()}
    average['_kp_active_mask'] = model['_kp_active_mask']
    torch.save({'model': model, 'ema_model': average}, folder / 'ema.pth')
    for flags, step in (((), 0), (('--ema',), 1)):
        path = folder / f'ema{step}.pth'
        args = (folder / 'ema.pth', path, '--config', config, *flags)
        assert _run('rfdetr_to_mmdet', *args) == 0
        read = torch.load(path)['state_dict']['backbone.norm.weight']
        assert torch.equal(read, weights['backbone.norm.weight'] + step)


def test_unnamed_classes_get_the_configs_names(folder, weights, config):
    model, _ = mmdet_to_upstream(weights, _NAMES)
    torch.save({'model': model}, folder / 'unnamed.pth')
    named = Config.fromfile(config)
    named.train_dataloader.dataset.metainfo = dict(classes=_NAMES)
    named.dump(folder / 'named.py')
    for name, expected in (
        ('named.py', _NAMES),
        ('config.py', ('class_0', 'class_1', 'class_2')),
    ):
        path = folder / f'{name}.pth'
        args = (folder / 'unnamed.pth', path, '--config', folder / name)
        assert _run('rfdetr_to_mmdet', *args) == 0
        read = torch.load(path)['meta']['dataset_meta']['classes']
        assert read == expected


def test_a_coco_model_gets_91_rows(folder):
    config = _write_config(folder / 'coco.py', num_classes=80)
    torch.save({'state_dict': _weights(config)}, folder / 'coco.pth')
    path = folder / 'coco_upstream.pth'
    args = (folder / 'coco.pth', path, '--config', config)
    assert _run('mmdet_to_rfdetr', *args) == 0
    read = torch.load(path)
    assert len(read['model']['class_embed.bias']) == 91
    assert read['args']['num_classes'] == 90
    assert read['args']['class_names'] == list(COCO_CLASSES)


@pytest.mark.parametrize('name', ['rfdetr_to_mmdet', 'mmdet_to_rfdetr'])
def test_a_missing_file_is_named(tmp_path, monkeypatch, capsys, name):
    """That the scripts start anywhere is tested in test_every_script.py."""
    monkeypatch.chdir(tmp_path)
    config = _ROOT / 'configs/rfdetr/rfdetr_nano_coco.py'
    assert _run(name, 'a.pth', 'b.pth', '--config', config) == 1
    assert 'There is no checkpoint file a.pth' in capsys.readouterr().err


def test_adapters_are_merged(folder):
    pytest.importorskip('peft', reason='the extra lora is not installed')
    config = _write_config(
        folder / 'adapted.py', adapters=dict(type='dora', rank=4)
    )
    weights = _weights(config)
    torch.save({'state_dict': weights}, folder / 'adapted.pth')
    path = folder / 'merged.pth'
    done = _run(
        'mmdet_to_rfdetr', folder / 'adapted.pth', path, '--config', config
    )
    assert done == 0
    expected, _ = mmdet_to_upstream(merge_adapters(weights))
    found = torch.load(path, weights_only=True)['model']
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    query = 'encoder.layer.0.attention.attention.query.weight'
    base = weights['backbone.blocks.0.attn.query.base_layer.weight']
    assert not torch.equal(found[f'backbone.0.encoder.encoder.{query}'], base)
