"""The pipeline that ``tools/deploy.py --dump-info`` writes."""

import pytest

pytest.importorskip('mmdeploy')

from mmdeploy.apis import build_task_processor
from small_export import HW, config

from rfdetr_mm.deploy.export import deploy_config

# Of mmdeploy_runtime 1.3.1, as far as they are used.
KNOWN = {
    'LoadImageFromFile',
    'Resize',
    'Normalize',
    'Pad',
    'DefaultFormatBundle',
    'Collect',
}


def test_it_has_transforms_of_the_sdk_only():
    deploy_cfg = deploy_config('detection', 'onnxruntime', input_size=HW)
    task = build_task_processor(config(), deploy_cfg, 'cpu')
    steps = task.get_preprocess()
    assert {step['type'] for step in steps} <= KNOWN
    (resize,) = [step for step in steps if step['type'] == 'Resize']
    assert resize == dict(
        type='Resize',
        size=[HW[1], HW[0]],
        keep_ratio=False,
        interpolation='bilinear',
    )
