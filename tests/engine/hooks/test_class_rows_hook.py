import logging

import pytest
import torch
from mmdet.registry import HOOKS
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from rfdetr_mm.engine import ClassRowsHook

_EMBED, _GROUPS = 4, 2


class _Rows(nn.Module):
    """The parts of the head that hold class rows, under their real names."""

    def __init__(self, num_classes):
        super().__init__()
        self.cls_branch = nn.Linear(_EMBED, num_classes)
        self.query_selector = nn.Module()
        self.query_selector.cls_branch = nn.Module()
        branch = self.query_selector.cls_branch
        branch.weight = nn.Parameter(torch.randn(_GROUPS, num_classes, _EMBED))
        branch.bias = nn.Parameter(torch.randn(_GROUPS, num_classes))


class _Model(BaseModel):
    def __init__(self, num_classes):
        super().__init__()
        self.bbox_head = _Rows(num_classes)

    def forward(self, inputs, mode='tensor', **kwargs):
        if mode == 'predict':
            return [1 for _ in inputs]
        return {'loss': sum(p.sum() for p in self.parameters())}


class _Plain(_Model):
    def __init__(self):
        BaseModel.__init__(self)
        self.linear = nn.Linear(2, 2)


class _Dataset(BaseDataset):
    def load_data_list(self):
        return [{'inputs': i} for i in range(2)]


class _Metric(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return {'n': len(results)}


class _RecordingEMA(EMAHook):
    """Keeps what the averaged model holds before the first iteration."""

    def before_train(self, runner):
        super().before_train(runner)
        self.loaded = {
            key: tensor.clone()
            for key, tensor in self.ema_model.module.state_dict().items()
        }


class _Messages(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []

    def emit(self, record):
        if 'class' in record.getMessage().lower():
            self.texts.append(record.getMessage())


def _runner(folder, model, names, mode, load_from, resume=False, hooks=()):
    loader = dict(
        batch_size=1,
        dataset=_Dataset(metainfo=dict(classes=names)),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    loops = dict(
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=2 if resume else 1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
    )
    loops.update(test_dataloader=loader, test_cfg={}, test_evaluator=_Metric())
    runner = Runner(
        model,
        str(folder),
        load_from=str(load_from) if load_from else None,
        resume=resume,
        custom_hooks=[dict(type='mmdet.ClassRowsHook'), *hooks],
        experiment_name=f'{folder.name}_{mode}_{resume}_{len(names)}',
        **loops,
    )
    runner.messages = _Messages()
    runner.logger.addHandler(runner.messages)
    return runner


def _checkpoint(folder, num_classes, names=None, prefix=''):
    torch.manual_seed(num_classes)
    weights = {
        prefix + key: tensor
        for key, tensor in _Model(num_classes).state_dict().items()
    }
    meta = {'dataset_meta': {'classes': names}} if names else {}
    path = folder / f'source_{num_classes}.pth'
    torch.save({'state_dict': weights, 'meta': meta}, path)
    return path, weights


_OLD, _NEW = ('cat', 'dog'), ('red', 'green', 'blue', 'black', 'white')


def test_it_is_registered_and_comes_before_ema():
    assert HOOKS.get('ClassRowsHook') is ClassRowsHook
    assert ClassRowsHook.priority == 'VERY_HIGH'


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_training_repeats_the_rows_and_warns_once(tmp_path, prefix):
    path, old = _checkpoint(tmp_path, 2, _OLD, prefix)
    ema = _RecordingEMA()
    runner = _runner(tmp_path, _Model(5), _NEW, 'train', path, hooks=[ema])
    runner.train()
    rows = [0, 1, 0, 1, 0]
    loaded = [runner.model.state_dict()]
    if not prefix:  # EMAHook itself does not strip prefixes.
        loaded.append(ema.loaded)
    for new in loaded:
        for name, dim in (('', 0), ('query_selector.', 1)):
            for part in ('weight', 'bias'):
                key = f'bbox_head.{name}cls_branch.{part}'
                expected = old[prefix + key].index_select(
                    dim, torch.tensor(rows)
                )
                assert torch.equal(new[key], expected), key
    assert len(runner.messages.texts) == 1
    for part in (
        'has 2 class rows',
        'num_classes=5',
        'cat, dog',
        'red, green, blue, black, white',
        're-initialised',
    ):
        assert part in runner.messages.texts[0], part


def test_training_cuts_the_rows(tmp_path):
    path, old = _checkpoint(tmp_path, 5, _NEW)
    runner = _runner(tmp_path, _Model(2), _OLD, 'train', path)
    runner.train()
    key = 'bbox_head.query_selector.cls_branch.bias'
    assert torch.equal(runner.model.state_dict()[key], old[key][:, :2])


@pytest.mark.parametrize('names', [_OLD, None])
def test_testing_other_classes_is_an_error(tmp_path, names):
    path, _ = _checkpoint(tmp_path, 2, names)
    runner = _runner(tmp_path, _Model(5), _NEW, 'test', path)
    with pytest.raises(ValueError) as error:
        runner.test()
    shown = 'cat, dog' if names else 'no class names'
    for part in (
        'has 2 class rows',
        'num_classes=5',
        shown,
        'red, green',
        'Set num_classes',
    ):
        assert part in str(error.value), part


def test_resuming_with_other_classes_is_an_error(tmp_path):
    path, _ = _checkpoint(tmp_path, 2, _OLD)
    runner = _runner(tmp_path, _Model(5), _NEW, 'train', path, resume=True)
    with pytest.raises(ValueError, match='use load_from without resume'):
        runner.train()


@pytest.mark.parametrize('mode', ['train', 'test'])
def test_other_names_of_as_many_classes_are_a_warning(tmp_path, mode):
    path, old = _checkpoint(tmp_path, 2, _OLD)
    runner = _runner(tmp_path, _Model(2), ('a', 'b'), mode, path)
    getattr(runner, mode)()
    assert len(runner.messages.texts) == 1
    assert 'cat, dog' in runner.messages.texts[0]
    assert 'a, b' in runner.messages.texts[0]
    key = 'bbox_head.cls_branch.bias'
    assert torch.equal(runner.model.state_dict()[key], old[key])


@pytest.mark.parametrize('mode', ['train', 'test'])
@pytest.mark.parametrize('names', [_OLD, None])
def test_equal_classes_pass_without_a_word(tmp_path, mode, names):
    path, old = _checkpoint(tmp_path, 2, names)
    runner = _runner(tmp_path, _Model(2), _OLD, mode, path)
    getattr(runner, mode)()
    assert runner.messages.texts == []
    key = 'bbox_head.cls_branch.weight'
    assert torch.equal(runner.model.state_dict()[key], old[key])


def test_resuming_ones_own_file_passes(tmp_path):
    runner = _runner(tmp_path, _Model(2), _OLD, 'train', None)
    runner.train()
    path = tmp_path / 'epoch_1.pth'
    runner = _runner(tmp_path, _Model(2), _OLD, 'train', path, resume=True)
    runner.train()
    assert runner.messages.texts == [] and runner.epoch == 2


def test_other_models_and_files_are_left_alone(tmp_path):
    path, _ = _checkpoint(tmp_path, 2, _OLD)
    runner = _runner(tmp_path, _Plain(), _NEW, 'test', path)
    runner.test()
    torch.save({'conv.weight': torch.ones(1)}, tmp_path / 'backbone.pth')
    model = _Model(5)
    runner = _runner(tmp_path, model, _NEW, 'train', tmp_path / 'backbone.pth')
    runner.train()
    assert runner.messages.texts == []


def test_a_wrapped_model_and_bare_weights(tmp_path):
    from types import SimpleNamespace

    from mmengine.model import MMDistributedDataParallel

    wrapped = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
    nn.Module.__init__(wrapped)
    wrapped.module = _Model(5)
    runner = SimpleNamespace(
        model=wrapped, _train_loop={}, _val_loop=None, _test_loop=None,
        _resume=False,
    )  # fmt: skip
    with pytest.raises(ValueError, match='has 2 class rows'):
        ClassRowsHook().after_load_checkpoint(runner, _Model(2).state_dict())


def test_long_lists_of_names_are_cut(tmp_path):
    names = tuple(f'name{i}' for i in range(30))
    path, _ = _checkpoint(tmp_path, 30, names)
    runner = _runner(tmp_path, _Model(2), _OLD, 'test', path)
    with pytest.raises(ValueError, match=r'name9, … \(30\)') as error:
        runner.test()
    assert 'name10' not in str(error.value)
