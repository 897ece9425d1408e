"""mmdeploy's own scripts, unchanged, on our deploy configs.

Its wheel lacks them: RFDETR_MM_MMDEPLOY names a checkout of
https://github.com/open-mmlab/mmdeploy at v1.3.1.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_export import CLASSES, build, config, save

ROOT = Path(__file__).parents[2]
CHECKOUT = os.environ.get('RFDETR_MM_MMDEPLOY')

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHECKOUT is None,
        reason='RFDETR_MM_MMDEPLOY does not name a checkout of mmdeploy',
    ),
]


def run(script, *args):
    done = subprocess.run(
        [sys.executable, str(Path(CHECKOUT, 'tools', script)), *args],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def data_set(folder):
    """One image of 40 x 50 px with one object of each class."""
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(folder / 'image.png')
    boxes = [[2, 3, 20, 15], [10, 8, 12, 30], [25, 5, 20, 20]]
    content = dict(
        images=[dict(id=1, file_name='image.png', width=50, height=40)],
        annotations=[
            dict(
                id=i + 1,
                image_id=1,
                category_id=i,
                bbox=box,
                area=box[2] * box[3],
                iscrowd=0,
            )
            for i, box in enumerate(boxes)
        ],
        categories=[
            dict(id=i, name=name)
            for i, name in enumerate(('cat', 'dog', 'emu'))
        ],
    )
    (folder / 'test.json').write_text(json.dumps(content))


@pytest.mark.parametrize('precision', ['', '-int8'])
def test_deploy_and_test(tmp_path, precision):
    data_set(tmp_path)
    cfg = config()
    for step in cfg.test_pipeline:
        if step['type'] == 'RFDETRResize':
            step['scale'] = (96, 64)
    for split in ('val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.update(
            data_root=str(tmp_path),
            ann_file='test.json',
            data_prefix=dict(img=''),
            pipeline=cfg.test_pipeline,
            metainfo=dict(classes=CLASSES),
        )
        cfg[f'{split}_evaluator'].ann_file = str(tmp_path / 'test.json')
    cfg.dump(tmp_path / 'config.py')
    save(build(cfg), tmp_path / 'weights.pth')
    deploy_cfg = (
        f'configs/deploy/detection/detection_onnxruntime{precision}_static.py'
    )
    files = [str(tmp_path / 'config.py'), str(tmp_path / 'weights.pth')]
    image, out = str(tmp_path / 'image.png'), str(tmp_path / 'out')
    run('deploy.py', deploy_cfg, *files, image, '--work-dir', out)
    name = 'end2end_int8.onnx' if precision else 'end2end.onnx'
    exported = Path(out, name)
    assert exported.is_file()
    output = run(
        'test.py',
        deploy_cfg,
        files[0],
        '--model',
        str(exported),
        '--work-dir',
        str(tmp_path / 'test'),
    )
    assert 'coco/bbox_mAP' in output
