import functools
import hashlib
import io
import logging

import pytest
import torch
from checkpoint_factory import upstream_state_dict
from file_server import file_server
from mmdet.models import DetTTAModel
from mmdet.registry import HOOKS
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from rfdetr_mm.checkpoints import (
    COCO_CATEGORY_IDS,
    COCO_CLASSES,
    PUBLISHED_FILES,
    PublishedFile,
    resolve_weights,
)
from rfdetr_mm.checkpoints.published import LICENCE_QUERY
from rfdetr_mm.engine import ClassRowsHook, checkpoint_loaders
from rfdetr_mm.errors import InputError

_EMBED, _GROUPS = 12, 3  # as in the factory's upstream files


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


@pytest.fixture(autouse=True)
def no_description_of_the_machine(monkeypatch):
    """It takes a Runner longer than the rest, with compilers to ask."""
    monkeypatch.setattr(Runner, '_log_env', lambda *args: None)


def _runner(
    folder,
    model,
    names,
    mode,
    load_from,
    resume=False,
    hooks=(),
    has_rule=True,
):
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
        custom_hooks=[
            *([dict(type='mmdet.ClassRowsHook')] if has_rule else []),
            *hooks,
        ],
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
    with pytest.raises(InputError) as error:
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
    with pytest.raises(InputError, match='use load_from without resume'):
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


_CELLS = ('RBC', 'WBC', 'Platelets')
_MIXED = ('WBC', 'Platelets', 'RBC')


def _best_names(weights, names):
    """Class names that the heads give to some queries."""
    queries = torch.randn(
        50, _EMBED, generator=torch.Generator().manual_seed(1)
    )
    logits = [
        queries @ weights['bbox_head.cls_branch.weight'].T
        + weights['bbox_head.cls_branch.bias']
    ]
    branch = 'bbox_head.query_selector.cls_branch'
    for weight, bias in zip(
        weights[f'{branch}.weight'], weights[f'{branch}.bias']
    ):
        logits.append(queries @ weight.T + bias)
    labels = torch.stack(logits).argmax(-1)
    return [[names[i] for i in row] for row in labels.tolist()]


def test_training_puts_rows_in_the_data_sets_order(tmp_path):
    path, old = _checkpoint(tmp_path, 3, _CELLS)
    ema = _RecordingEMA()
    runner = _runner(tmp_path, _Model(3), _MIXED, 'train', path, hooks=[ema])
    runner.train()
    expected = _best_names(old, _CELLS)
    assert {name for row in expected for name in row} == set(_CELLS)
    assert _best_names(runner.model.state_dict(), _MIXED) == expected
    assert _best_names(ema.loaded, _MIXED) == expected
    (text,) = runner.messages.texts
    for part in (
        'same 3 classes in different orders (label 0 is RBC, WBC)',
        'RBC, WBC, Platelets',
        'WBC, Platelets, RBC',
        "in the data set's order",
    ):
        assert part in text, part


def test_without_the_rule_names_are_wrong(tmp_path):
    path, old = _checkpoint(tmp_path, 3, _CELLS)
    runner = _runner(
        tmp_path, _Model(3), _MIXED, 'train', path, has_rule=False
    )
    runner.train()
    found = _best_names(runner.model.state_dict(), _MIXED)
    assert found != _best_names(old, _CELLS)


@pytest.mark.parametrize('mode, resume', [('test', False), ('train', True)])
def test_another_order_is_an_error_elsewhere(tmp_path, mode, resume):
    path, _ = _checkpoint(tmp_path, 3, _CELLS)
    runner = _runner(tmp_path, _Model(3), _MIXED, mode, path, resume=resume)
    before = _best_names(runner.model.state_dict(), _MIXED)
    with pytest.raises(InputError, match='in different orders') as error:
        getattr(runner, mode)()
    for part in ('RBC, WBC, Platelets', 'WBC, Platelets, RBC', 'work dir'):
        assert part in str(error.value), part
    assert _best_names(runner.model.state_dict(), _MIXED) == before


@pytest.mark.parametrize(
    'old, new',
    [
        (('a', 'a', 'b'), ('a', 'b', 'a')),  # a name of two rows
        (('a', 'b', 'c'), ('a', 'b', 'd')),
        (('a', 'b', 'c'), ('b', 'a')),  # names that fit no rows
        (('a', 'b'), ('b', 'a')),
    ],
)
def test_names_that_decide_nothing_move_nothing(tmp_path, old, new):
    path, weights = _checkpoint(tmp_path, 3, old)
    runner = _runner(tmp_path, _Model(3), new, 'train', path)
    runner.train()
    (text,) = runner.messages.texts
    assert 'differently' in text and 'labels are wrong' in text
    key = 'bbox_head.cls_branch.weight'
    assert torch.equal(runner.model.state_dict()[key], weights[key])


@pytest.mark.parametrize('old, said', [(('cell',), 0), ('cell', 0), ('x', 1)])
def test_a_single_class_with_and_without_a_list(tmp_path, old, said):
    path, weights = _checkpoint(tmp_path, 1, old)
    runner = _runner(tmp_path, _Model(1), ['cell'], 'test', path)
    runner.test()
    assert len(runner.messages.texts) == said
    key = 'bbox_head.cls_branch.weight'
    assert torch.equal(runner.model.state_dict()[key], weights[key])


def test_a_single_row_is_repeated(tmp_path):
    path, weights = _checkpoint(tmp_path, 1, 'cell')
    runner = _runner(tmp_path, _Model(3), _CELLS, 'train', path)
    runner.train()
    key = 'bbox_head.cls_branch.weight'
    expected = weights[key].expand(3, -1)
    assert torch.equal(runner.model.state_dict()[key], expected)
    assert 'has 1 class rows' in runner.messages.texts[0]


def test_long_lists_name_the_first_difference(tmp_path):
    names = [f'name{i}' for i in range(30)]
    path, _ = _checkpoint(tmp_path, 30, tuple(names))
    names[17], names[20] = names[20], names[17]
    runner = _runner(tmp_path, _Model(30), names, 'test', path)
    with pytest.raises(InputError, match=r'label 17 is name17, name20\)'):
        runner.test()


def test_a_model_of_several_views_is_checked(tmp_path):
    """tools/test.py --tta puts the model into another one."""
    path, _ = _checkpoint(tmp_path, 2, _OLD)
    model = DetTTAModel(module=_Model(5))
    runner = _runner(tmp_path, model, _NEW, 'test', path)
    with pytest.raises(InputError, match='has 2 class rows'):
        runner.test()


@pytest.fixture
def published(tmp_path, monkeypatch):
    """``rfdetr://coco.pth``, a small file like those of COCO, on a server."""
    weights = upstream_state_dict(num_rows=91, num_groups=_GROUPS)
    buffer = io.BytesIO()
    torch.save({'model': weights}, buffer)
    content = buffer.getvalue()
    md5 = hashlib.md5(content).hexdigest()
    for name, licence in (('coco.pth', 'Apache-2.0'), ('xl.pth', 'PML-1.0')):
        file = PublishedFile(name, name, md5, licence)
        monkeypatch.setitem(PUBLISHED_FILES, name, file)
    monkeypatch.setenv('RF_HOME', str(tmp_path / 'cache'))
    with file_server() as server:
        server.files = {'/coco.pth': content, '/xl.pth': content}
        resolve = functools.partial(resolve_weights, base_url=f'{server.url}/')
        monkeypatch.setattr(checkpoint_loaders, 'resolve_weights', resolve)
        yield weights


def _assert_upstream_rows(model, upstream, rows):
    ours = model.state_dict()
    for part in ('weight', 'bias'):
        expected = upstream[f'class_embed.{part}'][rows]
        assert torch.equal(ours[f'bbox_head.cls_branch.{part}'], expected)
        stacked = ours[f'bbox_head.query_selector.cls_branch.{part}']
        for group in range(_GROUPS):
            key = f'transformer.enc_out_class_embed.{group}.{part}'
            assert torch.equal(stacked[group], upstream[key][rows]), key


@pytest.mark.parametrize('num_classes', [1, 3, 83])
def test_published_weights_start_a_training_on_other_classes(
    tmp_path, published, num_classes
):
    names = tuple(f'thing{i}' for i in range(num_classes))
    model = _Model(num_classes)
    runner = _runner(tmp_path, model, names, 'train', 'rfdetr://coco.pth')
    runner.train()
    rows = [COCO_CATEGORY_IDS[i % 80] for i in range(num_classes)]
    _assert_upstream_rows(model, published, rows)
    (text,) = runner.messages.texts
    for part in (
        'has 80 class rows',
        f'num_classes={num_classes}. ',
        'person, bicycle, car',
        '(80). Data set: thing0',
    ):
        assert part in text, part


@pytest.mark.parametrize('mode', ['train', 'test'])
def test_published_weights_for_coco_keep_their_rows(tmp_path, published, mode):
    model = _Model(80)
    runner = _runner(tmp_path, model, COCO_CLASSES, mode, 'rfdetr://coco.pth')
    getattr(runner, mode)()
    assert runner.messages.texts == []
    _assert_upstream_rows(model, published, list(COCO_CATEGORY_IDS))


@pytest.mark.parametrize('mode, resume', [('test', False), ('train', True)])
def test_published_weights_for_other_classes_are_an_error_elsewhere(
    tmp_path, published, mode, resume
):
    runner = _runner(
        tmp_path, _Model(3), _CELLS, mode, 'rfdetr://coco.pth', resume=resume
    )
    with pytest.raises(InputError) as error:
        getattr(runner, mode)()
    for part in ('has 80 class rows', 'num_classes=3', 'person', 'Platelets'):
        assert part in str(error.value), part


def test_licensed_weights_load_in_a_runner_with_a_yes(tmp_path, published):
    address = 'rfdetr://xl.pth?accept_platform_model_license=1'
    runner = _runner(tmp_path, _Model(80), COCO_CLASSES, 'test', address[:15])
    with pytest.raises(InputError, match='PML-1.0') as error:
        runner.test()
    assert address in str(error.value)
    assert f'{LICENCE_QUERY}=True' in str(error.value)
    model = _Model(80)
    runner = _runner(tmp_path, model, COCO_CLASSES, 'test', address)
    runner.test()
    _assert_upstream_rows(model, published, list(COCO_CATEGORY_IDS))


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
    with pytest.raises(InputError, match='has 2 class rows'):
        ClassRowsHook().after_load_checkpoint(runner, _Model(2).state_dict())


def test_long_lists_of_names_are_cut(tmp_path):
    names = tuple(f'name{i}' for i in range(30))
    path, _ = _checkpoint(tmp_path, 30, names)
    runner = _runner(tmp_path, _Model(2), _OLD, 'test', path)
    with pytest.raises(InputError, match=r'name9, … \(30\)') as error:
        runner.test()
    assert 'name10' not in str(error.value)
