import pytest
import torch

from rfdetr_mm.checkpoints import read_checkpoint


def test_there_and_back(command, checkpoint, tmp_path):
    theirs, back = tmp_path / 'theirs.pth', tmp_path / 'back.pth'
    code, printed, _ = command('convert', checkpoint, theirs)
    assert code == 0 and f'wrote {theirs}, for rfdetr (MD5 ' in printed
    content = read_checkpoint(theirs)
    assert content['model_name'] == 'RFDETRNano'
    assert content['args']['resolution'] == 64
    code, printed, _ = command('convert', theirs, back)
    assert code == 0 and f'wrote {back}, for this package' in printed
    ours, again = read_checkpoint(checkpoint), read_checkpoint(back)
    assert again['meta']['dataset_meta']['classes'] == ('disc', 'square')
    assert again['meta']['converted_from']['file'] == 'theirs.pth'
    assert ours['state_dict'].keys() == again['state_dict'].keys()
    for key, value in ours['state_dict'].items():
        assert torch.equal(again['state_dict'][key], value), key


def test_a_config_or_a_size_may_be_named(
    command, checkpoint, tiny_nano, tmp_path
):
    config = tmp_path / 'mine.py'
    tiny_nano.model.cfg.dump(config)
    code, *_ = command(
        'convert', checkpoint, tmp_path / 'a.pth', '--config', config
    )
    assert code == 0
    line = ('convert', checkpoint, tmp_path / 'c.pth', '--config', config)
    queries = 'model.bbox_head.num_querys=9'
    code, _, errors = command(*line, '--cfg-options', queries)
    assert code == 1 and 'did you mean model.bbox_head.num_queries?' in errors
    queries = 'model.bbox_head.num_queries=9'
    code, _, errors = command(*line, '--cfg-options', queries)
    assert code == 1 and 'set num_queries to the file' in errors
    code, _, errors = command(*line[:3], '--cfg-options', queries)
    assert code == 2 and '--config' in errors
    # Nano as published has 13 groups of 300 queries, the file 2 of 8.
    code, _, errors = command(
        'convert', checkpoint, tmp_path / 'b.pth', '--model', 'nano'
    )
    assert code == 1 and 'does not fit' in errors
    assert not (tmp_path / 'b.pth').exists()


@pytest.mark.parametrize(
    'arguments, code, message',
    [
        (['W', 'W'], 1, 'exists and is not overwritten'),
        (['gone.pth', 'x.pth'], 1, 'no checkpoint file'),
        (['W', 'x.pth', '--model', 'huge'], 1, "no size 'huge'"),
        (['W', 'x.pth', '--model', 'nano', '--config', 'c.py'], 2, 'exclude'),
        (['W', 'x.pth', '--config', 'c.py'], 1, 'c.py'),
        (['W'], 2, 'required: dst'),
    ],
)
def test_errors(
    command, checkpoint, tmp_path, monkeypatch, arguments, code, message
):
    monkeypatch.chdir(tmp_path)
    names = [checkpoint if name == 'W' else name for name in arguments]
    found, _, errors = command('convert', *names)
    assert found == code and message in errors
    assert not (tmp_path / 'x.pth').exists()
