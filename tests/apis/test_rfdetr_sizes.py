"""All that is called after a size follows from its row and its config."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from rfdetr_mm import apis
from rfdetr_mm_light.sizes import SIZES

ROOT = Path(__file__).parents[2]
NEW_SIZE = """
import dataclasses, json, sys
from rfdetr_mm_light import shipped_files, sizes

sizes.SIZES['RFDETRPico'] = dataclasses.replace(
    sizes.SIZES['RFDETRNano'],
    task=sizes.Task(
        'pose-', 'rfdetr_pose/rfdetr-pose_', 'RFDETRHead', 'joints.'
    ),
    word='pico',
    class_name='RFDETRPico',
    title='RF-DETR Pico',
    image_px=64,
    positional_encoding_size=4,
    weights='rf-detr-pico.pth',
    remote='pico.pth',
    licence='PML-1.0',
)
shipped_files.ROOTS = (*shipped_files.ROOTS, shipped_files.Path(sys.argv[1]))

import torch
from rfdetr_mm import apis
from rfdetr_mm.apis.command_line.options import find_size
from rfdetr_mm.apis.saved_model import identify
from rfdetr_mm.checkpoints import check_licence, published_address
from rfdetr_mm.errors import InputError
from rfdetr_mm_light.command_line.info import about_sizes
from rfdetr_mm_light.published_files import BASE_URL

model = apis.RFDETRPico(device='cpu', pretrain_weights=None)
weights = model.model.model.state_dict()
weights['bbox_head.joints.bias'] = torch.zeros(1)
try:
    check_licence('rf-detr-pico.pth', False)
    licence = None
except InputError as error:
    licence = str(error)
print(json.dumps(dict(
    listed='RFDETRPico' in apis.__all__ and 'RFDETRPico' in dir(apis),
    doc=apis.RFDETRPico.__doc__,
    size=apis.RFDETRPico.size,
    resolution=model.model_config.resolution,
    weights=apis.RFDETRPico.get_model_config().pretrain_weights,
    found=find_size('pose-pico').class_name,
    row=about_sizes()[-1]['size'],
    address=published_address(BASE_URL + 'pico.pth'),
    licence=licence,
    by_weights=identify('a.pth', weights).variant.class_name,
    by_name=identify(
        'rf-detr-pose-pico.pth',
        dict(model={'backbone.0.encoder.encoder.x': 0}, args={}),
    ).variant.class_name,
)))
"""


def test_a_new_size_is_one_row_and_one_config(tmp_path):
    folder = tmp_path / 'configs' / 'rfdetr_pose'
    folder.mkdir(parents=True)
    nano = ROOT / 'configs/rfdetr/rfdetr_nano_custom.py'
    (folder / 'rfdetr-pose_pico_custom.py').write_text(
        f'_base_ = {str(nano)!r}\n'
        'model = dict(backbone=dict(img_size=64))\n'
        'resize = dict(type="RFDETRResize", scale=(64, 64))\n'
        'test_pipeline = [resize]\n'
        'test_dataloader = dict(dataset=dict(pipeline=[resize]))\n'
        'val_dataloader = dict(dataset=dict(pipeline=[resize]))\n'
        'train_dataloader = dict(dataset=dict(pipeline=[resize]))\n'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', NEW_SIZE, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert 'PML-1.0' in found.pop('licence')
    assert found == dict(
        listed=True,
        doc='RF-DETR Pico, 64 px. Weights under PML-1.0.',
        size='rfdetr-pose-pico',
        resolution=64,
        weights='rf-detr-pico.pth',
        found='RFDETRPico',
        row='pose-pico',
        address='rfdetr://rf-detr-pico.pth',
        by_weights='RFDETRPico',
        by_name='RFDETRPico',
    )


@pytest.mark.parametrize('name', SIZES)
def test_classes(name):
    model_class = getattr(apis, name)
    assert issubclass(model_class, apis.RFDETR)
    assert model_class.__name__ == name and name in apis.__all__
    assert model_class.variant is SIZES[name]
    assert f'{SIZES[name].image_px} px' in model_class.__doc__
    assert pickle.loads(pickle.dumps(model_class)) is model_class


def test_there_is_no_other_class():
    with pytest.raises(AttributeError, match='RFDETRHuge'):
        apis.RFDETRHuge  # noqa: B018
