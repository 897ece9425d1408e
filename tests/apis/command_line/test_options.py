import argparse

import pytest

from rfdetr_mm.apis.command_line.options import checkpoint_loader, given
from rfdetr_mm.apis.scale import CheckpointLoader
from rfdetr_mm_light.command_line.main import build_parser
from rfdetr_mm_light.command_line.options import batch_size, score, setting


@pytest.mark.parametrize(
    'text, expected',
    [
        ('lr=1e-3', ('lr', 1e-3)),
        ('seed=7', ('seed', 7)),
        ('name=a=b', ('name', 'a=b')),
        ('wandb=true', ('wandb', True)),
        ('wandb=False', ('wandb', False)),
        ('amp_dtype=none', ('amp_dtype', None)),
        ('class_names=["a","b"]', ('class_names', ['a', 'b'])),
        ('notes=', ('notes', '')),
    ],
)
def test_settings(text, expected):
    assert setting(text) == expected


@pytest.mark.parametrize('text', ['lr', '=3', 'a b=3', '1x=3'])
def test_no_settings(text):
    with pytest.raises(argparse.ArgumentTypeError, match='not KEY=VALUE'):
        setting(text)


def test_what_is_not_given():
    args = argparse.Namespace(
        lr=0.0, seed=0, epochs=None, wandb=False, resume='', ema=True
    )
    assert given(args, ('lr', 'seed', 'epochs', 'wandb', 'resume', 'ema')) == {
        'lr': 0.0,
        'seed': 0,
        'resume': '',
        'ema': True,
    }


def test_batch_size():
    assert batch_size('auto') == 'auto' and batch_size('8') == 8
    with pytest.raises(ValueError):
        batch_size('many')


@pytest.mark.parametrize('text, value', [('0', 0), ('0.25', 0.25), ('1', 1)])
def test_scores(text, value):
    assert score(text) == value


@pytest.mark.parametrize('text', ['-0.1', '1.01', '50', 'nan', 'inf'])
def test_no_scores(text):
    with pytest.raises(
        argparse.ArgumentTypeError, match=f'{text} is not a score'
    ):
        score(text)


PLAIN = dict(
    size='nano',
    device=None,
    resolution=None,
    accept_platform_model_license=False,
)


@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        (('--model', 'nano'), dict(PLAIN, weights='rf-detr-nano.pth')),
        (
            ('--model', 'nano', '--weights', 'a.pth', '--device', 'cpu'),
            dict(PLAIN, weights='{here}/a.pth', device='cpu'),
        ),
        (
            ('--weights', 'a.pth', '--resolution', '128'),
            dict(PLAIN, weights='{here}/a.pth', size=None, resolution=128),
        ),
        # A name, which each machine looks for.
        (('--weights', 'b.pth'), dict(PLAIN, weights='b.pth', size=None)),
    ],
)
def test_what_workers_load(words, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.pth').write_bytes(b'')
    args = build_parser().parse_args(['predict', 'x.jpg', *words])
    expected['weights'] = expected['weights'].format(here=tmp_path)
    assert checkpoint_loader(args) == CheckpointLoader(**expected)
