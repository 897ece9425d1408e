"""The command line starts without torch, and says the same as before."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rfdetr_mm_light.command_line.main import (
    build_parser,
    command_names,
    main,
)

ROOT = Path(__file__).parents[3]
NAMES = [
    'predict',
    'train',
    'val',
    'export',
    'convert',
    'benchmark',
    'info',
    'check',
    'split',
    'pack',
    'demo-data',
    'setup-operators',
]
HEAVY = {
    'cv2',
    'mmcv',
    'mmdet',
    'mmengine',
    'numpy',
    'rfdetr_mm',
    'scipy',
    'torch',
    'torchvision',
}


def loaded_by(*arguments):
    """Top-level packages that are loaded when the command has ended."""
    code = (
        'import sys, runpy\n'
        f"sys.argv = ['rfdetr-mm', *{list(arguments)!r}]\n"
        'try:\n'
        "    runpy.run_module('rfdetr_mm_light', run_name='__main__')\n"
        'except SystemExit as ended:\n'
        '    assert not ended.code, ended.code\n'
        "print(*{name.partition('.')[0] for name in sys.modules},"
        ' file=sys.stderr)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split()), done.stdout


@pytest.mark.parametrize(
    'arguments',
    [['--help'], ['--version'], ['info'], ['info', '--json']]
    + [[name, '--help'] for name in NAMES],
    ids=' '.join,
)
def test_nothing_heavy_is_loaded(arguments):
    loaded, printed = loaded_by(*arguments)
    assert loaded & HEAVY == set()
    assert printed


def test_the_commands():
    assert command_names() == NAMES


# What is given, and every option with its value.
DEFAULTS = [
    (
        'predict a.jpg',
        dict(
            to_coco=False,
            inputs=['a.jpg'],
            threshold=0.5,
            classes=None,
            batch_size=1,
            out_dir=None,
            save=None,
            json=False,
        ),
    ),
    (
        'train D',
        dict(
            dataset_dir='D',
            epochs=None,
            batch_size=None,
            grad_accum_steps=None,
            lr=None,
            lr_encoder=None,
            output_dir=None,
            resume=None,
            early_stopping=False,
            no_weights=False,
            num_workers=None,
            seed=None,
            settings=[],
            cfg_options=[],
        ),
    ),
    (
        'val D',
        dict(
            dataset_dir='D',
            split='val',
            cfg_options=[],
            batch_size=None,
            num_workers=None,
            output_dir=None,
            json=None,
            report=None,
            against=None,
        ),
    ),
    (
        'export',
        dict(
            format='onnx',
            output_dir='output',
            shape=None,
            batch_size=None,
            dynamic_batch=False,
            backbone_only=False,
            opset_version=None,
            layout=None,
            inference_precision=None,
            notes=None,
            output_name=None,
            quantization=None,
            calibration_data=None,
            max_images=None,
        ),
    ),
    (
        'benchmark',
        dict(
            batch_size=1,
            image_size=(480, 640),
            runs=30,
            warm_up=3,
            optimize=None,
            dtype='float32',
            json=False,
        ),
    ),
    (
        'convert A B',
        dict(
            src='A',
            dst='B',
            model=None,
            config=None,
            cfg_options=[],
            ema=False,
            force=False,
            accept_platform_model_license=False,
        ),
    ),
    (
        'check D',
        dict(
            dataset='D',
            images=None,
            layout='auto',
            masks=False,
            crowd_as_object=False,
            decode=False,
            strict=False,
            out_dir=None,
            json=False,
        ),
    ),
    (
        'split A --out D',
        dict(
            annotations='A',
            out='D',
            parts=[0.8, 0.1, 0.1],
            seed=0,
            group_by=None,
            images=None,
            copy=False,
        ),
    ),
    ('setup-operators', dict(remove=False)),
    ('info', dict(checkpoint=None, json=False, torch=False)),
]
MODEL = dict(
    model=None,
    weights=None,
    device=None,
    resolution=None,
    accept_platform_model_license=False,
    verbose=False,
)


@pytest.mark.parametrize('line, expected', DEFAULTS)
def test_options_and_defaults(line, expected):
    found = vars(build_parser().parse_args(line.split()))
    general = dict(command=line.split()[0], traceback=False)
    if found['command'] in ('predict', 'train', 'val', 'export', 'benchmark'):
        general |= MODEL
    if found['command'] in ('predict', 'val', 'benchmark'):
        general |= dict(precision=None)
    if found['command'] in ('predict', 'val'):
        general |= dict(engine='process', address=None, num_models=None)
    ours = {k: v for k, v in found.items() if k not in ('module', 'parser')}
    assert ours == {**general, **expected}


def without_site_packages(*arguments, path):
    """Run Python that finds the standard library and ``path`` only."""
    return subprocess.run(
        [sys.executable, '-S', *arguments],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    'installed, missing',
    [
        ([], 'torch, torchvision, scipy, mmengine, mmcv, mmdet'),
        (['torch', 'torchvision', 'scipy'], 'mmengine, mmcv, mmdet'),
        (['torch', 'torchvision', 'scipy', 'mmengine', 'mmcv'], 'mmdet'),
    ],
)
def test_a_missing_stack_is_one_line(tmp_path, installed, missing):
    for name in installed:
        (tmp_path / f'{name}.py').touch()
    path = (ROOT, tmp_path)
    done = without_site_packages('-c', 'import rfdetr_mm', path=path)
    line = (
        f'rfdetr_mm needs {missing}, which this Python does not have. Install '
        "a stack: pip install 'rfdetr_mm[onedl]', or 'rfdetr_mm[openmmlab]' "
        "for OpenMMLab's own packages."
    )
    assert done.stderr.splitlines()[-1] == f'ImportError: {line}'
    assert 'During handling' not in done.stderr

    command = ('-m', 'rfdetr_mm_light', 'export', '--model', 'nano')
    done = without_site_packages(*command, path=path)
    assert done.returncode == 1 and done.stdout == ''
    assert done.stderr == f'rfdetr-mm export: error: {line}\n'


def test_info_without_a_stack(tmp_path):
    command = ('-m', 'rfdetr_mm_light', 'info', '--json')
    done = without_site_packages(*command, path=(ROOT,))
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content['versions']['torch'] == 'not installed'
    assert content['cuda'] is None
    assert [row['size'] for row in content['sizes']][:2] == ['nano', 'small']


# The line of a command: exit code and what it says, without torch at hand.
BEFORE_TORCH = [
    ('predict A --save coco --model nano', 2, '--save needs --out-dir'),
    ('predict A --batch-size 0 --model nano', 2, '--batch-size is 1 at'),
    ('predict A --threshold 50 --model nano', 2, '50 is not a score'),
    ('predict A --model nanoo', 1, 'Did you mean nano?'),
    ('predict A', 2, 'choose a model: --model SIZE'),
    ('predict gone.jpg --model nano', 1, 'no image or folder gone.jpg'),
    ('predict A --weights no/x.pth', 1, 'no checkpoint file no/x.pth'),
    ('train D', 2, 'choose a model: --model SIZE'),
    ('train gone --model nano', 1, 'and gone is not there'),
    ('train A --model nano', 1, 'and A is a file'),
    ('train D --weights no/x.pth', 1, 'no checkpoint file no/x.pth'),
    ('train D --no-weights', 2, '--no-weights needs --model SIZE'),
    ('train D --no-weights --weights A --model nano', 2, 'exclude each oth'),
    ('val gone --model nano', 1, 'and gone is not there'),
    ('val D', 2, 'choose a model: --model SIZE'),
    ('export', 2, 'choose a model: --model SIZE'),
    ('benchmark --model nano --runs 0', 2, '--runs and --image-size'),
    ('benchmark --model nano --dtype float16', 2, 'needs --optimize'),
    ('convert A B --model nano --config c.py', 2, 'exclude each other'),
]


@pytest.mark.parametrize('line, code, message', BEFORE_TORCH)
def test_what_is_wrong_without_torch(
    line, code, message, tmp_path, monkeypatch, capsys
):
    def no_torch(module):
        raise AssertionError('the heavy part was imported')

    module = sys.modules['rfdetr_mm_light.command_line.main']
    monkeypatch.setattr(module, '_find_run', no_torch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'A').touch()
    (tmp_path / 'D').mkdir()
    try:
        found = main(line.split())
    except SystemExit as stopped:
        found = stopped.code
    assert found == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments, place',
    [
        (['check', ''], 'check'),
        (['pack', 'set', '--out', ''], '--out'),
        (['train', 'set', '--model', 'tiny', '--output-dir='], '--output-dir'),
        (['predict', 'a.png', '--model', 'tiny', '--out-dir', ''], '--out-d'),
        ([''], 'rfdetr-mm'),
    ],
)
def test_an_empty_text_is_not_the_current_folder(
    capsys, tmp_path, monkeypatch, arguments, place
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    errors = capsys.readouterr().err
    assert ended.value.code == 2
    assert f'an empty text is given to {place}' in errors
    assert not list(tmp_path.iterdir())
