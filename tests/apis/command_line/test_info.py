import json

from rfdetr_mm.apis.variants import VARIANTS
from rfdetr_mm.version import __version__


def test_sizes_and_versions(command, monkeypatch, tmp_path):
    monkeypatch.setenv('RF_HOME', str(tmp_path))
    (tmp_path / 'rf-detr-small.pth').write_bytes(b'')
    code, printed, _ = command('info', '--json')
    assert code == 0
    content = json.loads(printed)
    rows = {row['size']: row for row in content['sizes']}
    assert len(rows) == len(VARIANTS)
    assert rows['nano']['parameters_m'] == 30.43
    assert rows['2xlarge']['licence'] == 'PML-1.0'
    assert all(
        row['image_px'] and row['parameters_m'] for row in rows.values()
    )
    assert [n for n, row in rows.items() if row['downloaded']] == ['small']
    assert content['versions']['rfdetr_mm'] == __version__
    assert content['cache'] == str(tmp_path)

    _, printed, _ = command('info')
    lines = printed.splitlines()
    assert any(line.startswith('nano ') and '30.43M' in line for line in lines)
    assert any('*rf-detr-small.pth' in line for line in lines)
    assert max(map(len, lines[:16])) <= 79


def test_a_checkpoint(command, checkpoint):
    code, printed, _ = command('info', checkpoint, '--json')
    content = json.loads(printed)
    assert code == 0
    assert content['size'] == 'nano' and content['written_by'] == 'rfdetr_mm'
    assert content['classes'] == ['disc', 'square']
    assert content['saved']['resolution'] == 64
    _, printed, _ = command('info', checkpoint)
    assert 'RFDETRNano' in printed


def test_no_checkpoint(command, tmp_path):
    path = tmp_path / 'notes.pth'
    path.write_text('text')
    code, _, errors = command('info', path)
    assert code == 1 and 'notes.pth' in errors
    code, _, errors = command('info', tmp_path / 'gone.pth')
    assert code == 1 and 'gone.pth' in errors
