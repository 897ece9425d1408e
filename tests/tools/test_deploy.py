"""tools/deploy.py: mmdeploy's flags, one line for what is wrong."""

import importlib.util
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_export import build, config, save

from rfdetr_mm.sizes.config_facts import set_resolution

TOOLS = Path(__file__).parents[2] / 'tools'
DEPLOY = TOOLS.parent / 'configs' / 'deploy'
sys.path.insert(0, str(TOOLS))


@pytest.fixture(scope='module')
def deploy():
    """The tool as a module."""
    spec = importlib.util.spec_from_file_location(
        'deploy_tool', TOOLS / 'deploy.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def given(tmp_path_factory):
    """A folder with a config, weights and an image of 40 x 50 px."""
    folder = tmp_path_factory.mktemp('given')
    cfg = config()
    set_resolution(cfg, (64, 96))
    cfg.dump(folder / 'config.py')
    save(build(cfg), folder / 'weights.pth')
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(folder / 'image.png')
    return folder


def arguments(given, work_dir, config_file, **changes):
    values = dict(
        deploy_cfg=str(config_file),
        model_cfg=str(given / 'config.py'),
        checkpoint=str(given / 'weights.pth'),
        img=str(given / 'image.png'),
    )
    return [*{**values, **changes}.values(), '--work-dir', str(work_dir)]


@pytest.mark.parametrize(
    'device, message',
    [('cpu', '--device cuda:0 on such'), ('cuda:99', 'CUDA devices')],
)
def test_tensorrt_needs_a_gpu(deploy, given, tmp_path, device, message):
    pytest.importorskip('mmdeploy')
    path = DEPLOY / 'detection/detection_tensorrt-fp16_static.py'
    line = [*arguments(given, tmp_path / 'out', path), '--device', device]
    with pytest.raises(SystemExit, match=f'error: .*{message}') as stopped:
        deploy.main(line)
    assert '\n' not in str(stopped.value)
    assert not (tmp_path / 'out').exists()


def test_log_levels_need_no_python_3_11(deploy, monkeypatch):
    assert set(deploy.LOG_LEVELS) <= set(logging._nameToLevel)
    monkeypatch.delattr(logging, 'getLevelNamesMapping', raising=False)
    args = deploy.parse_args(['d.py', 'm.py', 'w.pth', 'i.png'])
    assert args.log_level == 'WARNING'


STATIC = DEPLOY / 'detection' / 'detection_onnxruntime_static.py'


@pytest.mark.parametrize(
    ('changes', 'more', 'message'),
    [
        (dict(img='no.png'), [], 'there is no file no.png'),
        (dict(checkpoint='no.pth'), [], 'no checkpoint file no.pth'),
        (
            dict(
                deploy_cfg=str(
                    DEPLOY
                    / 'instance-seg'
                    / 'instance-seg_onnxruntime_static.py'
                )
            ),
            [],
            'use a deploy config of configs/deploy/detection',
        ),
        (dict(), ['--quant-image-dir', 'none'], "'none', for calibration"),
        (dict(), ['--quant-image-dir', str(TOOLS)], 'has no image'),
        (dict(), ['--quant-image-dir', 'broken'], 'broken.png, for calibrat'),
        (dict(), ['--quant'], 'int8 is set by the deploy config'),
    ],
)
def test_one_line_for_bad_input(
    deploy, given, tmp_path, monkeypatch, changes, more, message
):
    deploy_cfg = STATIC
    monkeypatch.chdir(tmp_path)
    Path('broken').mkdir()
    Path('broken', 'broken.png').write_bytes(b'no image')
    if '--quant-image-dir' in more:
        deploy_cfg = DEPLOY / 'detection/detection_onnxruntime-int8_static.py'
    argv = arguments(given, tmp_path / 'out', deploy_cfg, **changes)
    with pytest.raises(SystemExit) as stopped:
        deploy.main([*argv, *more])
    assert message in str(stopped.value)
    assert '\n' not in str(stopped.value)
    assert not list(tmp_path.rglob('*.onnx'))


def test_missing_package_names_the_extra(deploy, given, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        'find_spec',
        lambda name, *args: None if name == 'mmdeploy' else find(name, *args),
    )
    with pytest.raises(SystemExit) as stopped:
        deploy.main(arguments(given, tmp_path, STATIC))
    assert 'needs mmdeploy' in str(stopped.value)
    assert "'rfdetr_mm[deploy]'" in str(stopped.value)


@pytest.mark.slow
def test_export_and_paint(deploy, given, tmp_path):
    (file,) = deploy.main(arguments(given, tmp_path, STATIC))
    assert file == tmp_path / 'end2end.onnx'
    painted = [
        np.asarray(Image.open(tmp_path / f'output_{name}.jpg'))
        for name in ('onnxruntime', 'pytorch')
    ]
    assert painted[0].shape == (40, 50, 3)
    np.testing.assert_array_equal(*painted)


@pytest.mark.slow
def test_static_int8_by_a_folder(deploy, given, tmp_path):
    deploy_cfg = DEPLOY / 'detection/detection_onnxruntime-int8_static.py'
    argv = arguments(given, tmp_path, deploy_cfg)
    (file,) = deploy.main([*argv, '--quant-image-dir', str(given)])
    assert file.name == 'end2end_int8.onnx'
    float_file = tmp_path / 'end2end.onnx'
    assert file.stat().st_size < 0.5 * float_file.stat().st_size
