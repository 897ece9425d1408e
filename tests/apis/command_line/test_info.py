import json

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope

from rfdetr_mm import apis
from rfdetr_mm.version import __version__
from rfdetr_mm_light.sizes import SIZES


def test_sizes_and_versions(command, monkeypatch, tmp_path):
    monkeypatch.setenv('RF_HOME', str(tmp_path))
    (tmp_path / 'rf-detr-small.pth').write_bytes(b'')
    code, printed, _ = command('info', '--json')
    assert code == 0
    content = json.loads(printed)
    rows = {row['size']: row for row in content['sizes']}
    assert len(rows) == len(SIZES)
    assert rows['nano']['parameters_m'] == 30.43
    assert rows['2xlarge']['licence'] == 'PML-1.0'
    assert all(
        row['image_px'] and row['parameters_m'] for row in rows.values()
    )
    here = [n for n, row in rows.items() if row['downloaded']]
    assert here == ['small', 'tiny']  # which comes with the package
    assert content['versions']['rfdetr_mm'] == __version__
    assert content['cache'] == str(tmp_path)

    _, printed, _ = command('info')
    lines = printed.splitlines()
    assert any(line.startswith('nano ') and '30.43M' in line for line in lines)
    assert any('*rf-detr-small.pth' in line for line in lines)
    assert any('*rf-detr-tiny-shapes.pth' in line for line in lines)
    assert max(map(len, lines[:16])) <= 79


def test_numbers_of_the_size_that_is_not_in_the_index(command):
    _, printed, _ = command('info', '--json')
    row = json.loads(printed)['sizes'][-1]
    assert row['name'] == 'RFDETRTiny' and row['licence'] == 'Apache-2.0'
    config = apis.RFDETRTiny.get_model_config()
    assert row['image_px'] == config.resolution
    network = apis.RFDETRTiny(device='cpu').model.model
    count = sum(p.numel() for p in network.parameters())
    assert row['parameters_m'] == round(count / 1e6, 2)


def test_a_checkpoint(command, checkpoint):
    code, printed, _ = command('info', checkpoint, '--json')
    content = json.loads(printed)
    assert code == 0
    assert content['size'] == 'nano' and content['written_by'] == 'rfdetr_mm'
    assert content['classes'] == ['disc', 'square']
    assert content['saved']['resolution'] == 64
    _, printed, _ = command('info', checkpoint)
    assert 'RFDETRNano' in printed


@pytest.fixture
def of_no_size(tiny_nano, tmp_path):
    """A checkpoint of three decoder layers of another width."""
    cfg = tiny_nano.model.cfg.copy()
    cfg.model.bbox_head.embed_dims = cfg.model.neck.out_channels = 64
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    path = tmp_path / 'mine.pth'
    meta = dict(dataset_meta=dict(classes=('disc', 'square')))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return path, sum(v.numel() for v in model.state_dict().values())


def test_a_checkpoint_of_no_size(command, of_no_size):
    path, count = of_no_size
    code, printed, _ = command('info', path, '--json')
    content = json.loads(printed)
    assert code == 0
    assert content['size'] is None and content['name'] is None
    assert content['numbers'] == count
    assert content['classes'] == ['disc', 'square']
    assert content['saved']['dec_layers'] == 2
    assert content['saved']['hidden_dim'] == 64
    assert content['saved']['num_queries'] == 8
    _, printed, _ = command('info', path)
    assert 'size         -\n' in printed


def test_rfdetr_head_over_another_backbone(command, tmp_path):
    path = tmp_path / 'mixed.pth'
    weights = {'bbox_head.query_embedding': torch.zeros(1, 8, 4)}
    torch.save(dict(state_dict=weights), path)
    code, printed, _ = command('info', path, '--json')
    content = json.loads(printed)
    assert code == 0 and content['size'] is None
    assert content['numbers'] == 32 and content['saved'] == {}


def test_other_weights_than_a_detector_are_an_error(command, tmp_path):
    path = tmp_path / 'other.pth'
    torch.save(dict(state_dict=dict(weight=torch.zeros(2))), path)
    code, _, errors = command('info', path)
    assert code == 1 and 'other.pth' in errors


def test_no_checkpoint(command, tmp_path):
    path = tmp_path / 'notes.pth'
    path.write_text('text')
    code, _, errors = command('info', path)
    assert code == 1 and 'notes.pth' in errors
    code, _, errors = command('info', tmp_path / 'gone.pth')
    assert code == 1 and 'gone.pth' in errors
