"""Keypoints of a checkpoint, of the model and of the data set."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.runner import BaseLoop
from torch import nn

from rfdetr_mm.engine import ClassRowsHook
from rfdetr_mm.errors import InputError

_PRECISION = 'bbox_head.keypoint_branch.layers.2.bias'


class _Loop(BaseLoop):
    def __init__(self, dataset):
        self.dataloader = SimpleNamespace(dataset=dataset)

    def run(self):
        raise NotImplementedError


def model_of(counts):
    torch.manual_seed(0)
    model = nn.Module()
    model.bbox_head = MODELS.build(
        dict(
            type='RFDETRPoseHead',
            num_classes=len(counts),
            num_keypoints=counts,
            embed_dims=16,
            num_queries=2,
            num_groups=2,
            decoder=dict(
                num_layers=1,
                self_attn_num_heads=2,
                cross_attn_num_heads=2,
                feedforward_channels=8,
            ),
        )
    )
    nn.init.normal_(model.bbox_head.keypoint_branch.layers[-1].bias)
    return model


def runner_of(model, names, training=True, resume=False, counts=None):
    dataset = SimpleNamespace(metainfo=dict(classes=names))
    if counts is not None:
        dataset.metainfo['num_keypoints'] = counts
    loop = _Loop(dataset)
    return SimpleNamespace(
        model=model,
        _train_loop=loop if training else None,
        _test_loop=loop,
        _val_loop=None,
        _resume=resume,
        train_dataloader=loop.dataloader,
        logger=logging.getLogger('test'),
    )


def load(runner, counts, names):
    """Fit a checkpoint of other keypoints, and load it strictly."""
    weights = model_of(counts).state_dict()
    before = {key: value.clone() for key, value in weights.items()}
    checkpoint = dict(
        state_dict=dict(weights), meta=dict(dataset_meta=dict(classes=names))
    )
    ClassRowsHook().after_load_checkpoint(runner, checkpoint)
    runner.model.load_state_dict(checkpoint['state_dict'])
    return before, runner.model.state_dict()


def test_training_on_other_keypoints_repeats_their_rows(caplog):
    runner = runner_of(model_of((5, 2)), ('a', 'b'))
    old, new = load(runner, (3, 0), ('a', 'b'))
    for name in (
        'keypoint_queries.queries',
        'proposal_keypoint_queries.queries',
        'decoder.keypoint_pos',
    ):
        rows = old[f'bbox_head.{name}'][[0, 1, 2, 0, 1, 2, 0]]
        assert torch.equal(new[f'bbox_head.{name}'], rows)
    assert new['bbox_head.active_keypoints'].sum(1).tolist() == [5, 2]
    (message,) = caplog.messages
    assert '[3, 0] keypoints' in message and '[5, 2]' in message


def test_training_on_other_classes_and_keypoints():
    runner = runner_of(model_of((2, 2, 1)), ('a', 'b', 'c'))
    _, new = load(runner, (4,), ('fish',))
    assert new['bbox_head.active_keypoints'].sum(1).tolist() == [2, 2, 1]


def test_keypoint_rows_follow_classes_in_another_order():
    runner = runner_of(model_of((2, 3)), ('b', 'a'))
    old, new = load(runner, (3, 2), ('a', 'b'))
    name = 'bbox_head.keypoint_queries.queries'
    assert torch.equal(new[name], old[name][[3, 4, 0, 1, 2]])


def test_a_training_resets_the_precision_and_testing_does_not():
    for training, resume in ((True, False), (True, True), (False, False)):
        runner = runner_of(model_of((3,)), ('a',), training, resume)
        old, new = load(runner, (3,), ('a',))
        is_reset = training and not resume
        assert torch.equal(new[_PRECISION], old[_PRECISION]) != is_reset
        assert (new[_PRECISION][4:7] == 0).all() == is_reset
        assert torch.equal(new[_PRECISION][:4], old[_PRECISION][:4])


@pytest.mark.parametrize(
    ('training', 'resume'), [(False, False), (True, True)]
)
def test_testing_and_resuming_other_keypoints_is_an_error(training, resume):
    runner = runner_of(model_of((5,)), ('a',), training, resume)
    with pytest.raises(InputError, match=r'\[3\] keypoints.*\[5\]'):
        load(runner, (3,), ('a',))


def test_a_data_set_of_other_keypoints_is_an_error():
    for counts, ok in (((3,), True), (None, True), ((4,), False)):
        runner = runner_of(model_of((3,)), ('a',), counts=counts)
        if ok:
            ClassRowsHook().before_train(runner)
        else:
            with pytest.raises(InputError, match=r'\[4\].*\[3\]'):
                ClassRowsHook().before_train(runner)
