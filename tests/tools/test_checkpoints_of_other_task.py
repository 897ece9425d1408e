"""Weights with masks in a model without, and the other way round."""

import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from tests.tools.test_train_test import load_tool

ROOT = Path(__file__).parents[2]
CONFIGS = {
    'a detection': 'rfdetr/rfdetr_tiny_shapes-scratch.py',
    'an instance segmentation': 'rfdetr_seg/rfdetr-seg_tiny_masks.py',
}
CLASSES = ('red', 'green', 'blue')


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A checkpoint of each task, with the same classes."""
    folder = tmp_path_factory.mktemp('weights')
    paths = {}
    for task, name in CONFIGS.items():
        model = Config.fromfile(ROOT / 'configs' / name).model
        model.bbox_head.num_classes = len(CLASSES)
        paths[task] = folder / f'{len(paths)}.pth'
        torch.save(
            dict(
                state_dict=MODELS.build(model).state_dict(),
                meta=dict(dataset_meta=dict(classes=CLASSES)),
            ),
            paths[task],
        )
    return paths


@pytest.fixture(scope='module')
def options(tmp_path_factory):
    """Options that put three classes and two images into both configs."""
    sys.path.insert(0, str(ROOT / 'demo'))
    try:
        from tiny_masks import write_tiny_masks
    finally:
        sys.path.pop(0)
    root = tmp_path_factory.mktemp('data')
    write_tiny_masks(root, {'train': 2, 'val': 2, 'test': 2})
    options = ['model.bbox_head.num_classes=3']
    for split in ('train', 'val', 'test'):
        dataset = f'{split}_dataloader.dataset'
        options += [
            f'{dataset}.data_root={root}/',
            f'{dataset}.metainfo.classes=[{",".join(CLASSES)}]',
        ]
    for split in ('val', 'test'):
        options.append(f'{split}_evaluator.ann_file={root}/{split}.json')
    return options


@pytest.mark.parametrize(
    'tool, its_task, task',
    [
        ('test', 'a detection', 'an instance segmentation'),
        ('test', 'an instance segmentation', 'a detection'),
        ('train', 'a detection', 'an instance segmentation'),
    ],
)
def test_weights_of_the_other_task_are_refused_in_one_line(
    weights, options, tmp_path, tool, its_task, task
):
    config = str(ROOT / 'configs' / CONFIGS[task])
    arguments = [config, '--work-dir', str(tmp_path), '--cfg-options']
    arguments += options
    path = str(weights[its_task])
    if tool == 'test':
        arguments.insert(1, path)
    else:
        arguments.append(f'load_from={path}')
    if its_task == 'a detection':
        message = 'this file is rfdetr-tiny .*the model is none .*with masks'
    else:  # of a size that is not in the table
        message = f'checkpoint is of {its_task} model .* this is {task} model'
    with pytest.raises(SystemExit, match=message) as stopped:
        load_tool(tool).main(arguments)
    assert '\n' not in str(stopped.value)
    with pytest.raises(SystemExit, match=message) as stopped:
        load_tool(tool).main([*arguments[:1], '-v', *arguments[1:]])
    assert f'the checkpoint is of {its_task} model' in str(stopped.value)
