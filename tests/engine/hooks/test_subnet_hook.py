"""Which sub-network is trained when, and what it starts from."""

import copy
import uuid

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.runner import Runner, find_latest_checkpoint

from rfdetr_mm.engine import SubnetHook
from rfdetr_mm.errors import InputError
from rfdetr_mm.models import SearchSpace
from tests.small_detector import batch, build, small_config

SPACE = dict(
    resolutions=[(64, 96), (32, 64)],
    patch_sizes=[16, 12, 8],
    num_windows=[1, 2],
    num_decoder_layers=[0, 1, 2],
    num_queries=[2, 4],
)
VALIDATED = '64x96-p16-w2-d2-q4'
SUPERNET = {
    'data_preprocessor.pad_size_divisor': 1,
    'data_preprocessor.batch_augments': [dict(type='BatchSubnetResize')],
    'bbox_head.decoder.num_layers': 2,
    'bbox_head.num_queries': 4,
}


class Images(BaseDataset):
    METAINFO = {'classes': tuple('abc')}

    def load_data_list(self):
        return [{'number': i} for i in range(8)]


def load(results):
    count = results['number'] % 3  # some images have no objects
    # No point is larger.
    hw = SearchSpace.from_config(SPACE).largest_size()
    data = batch(results['number'], [count], hw)
    return {key: value[0] for key, value in data.items()}


class Record(Hook):
    """Which sub-network each iteration and each validation has seen."""

    priority = 'LOWEST'

    def __init__(self):
        self.trained, self.validated, self.sizes = [], [], []

    def before_train(self, runner):
        runner.model.backbone.register_forward_pre_hook(
            lambda module, args: self.sizes.append(args[0].shape[-2:])
        )

    def after_train_iter(self, runner, *args, **kwargs):
        self.trained.append(str(runner.model.subnet))

    def before_val(self, runner):
        self.validated.append(str(runner.model.subnet))


def make_runner(work_dir, epochs=2, window=1, resume=False, **options):
    config = small_config({**SUPERNET, 'subnet': VALIDATED})
    torch.manual_seed(0)
    record = Record()
    runner = Runner(
        model=config.model,
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=2,
            num_workers=0,
            dataset=dict(type=Images, pipeline=[load], serialize_data=False),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=dict(type='ResumableTrainLoop', max_epochs=epochs),
        optim_wrapper=dict(
            config.optim_wrapper,
            accumulative_counts=window,
        ),
        default_hooks=dict(
            checkpoint=dict(type='SafeCheckpointHook', interval=1),
            logger=None,
        ),
        custom_hooks=[
            dict(type='SubnetHook', search_space=SPACE),
            dict(type='OptimStepEMAHook', ema_type='WarmupEMA', tau=5),
            record,
        ],
        resume=resume,
        randomness=dict(seed=3),
        default_scope='mmdet',
        experiment_name=f'nas_{uuid.uuid4()}',
        log_level='ERROR',
        **options,
    )
    return runner, record


def expected(hook, steps):
    return [str(hook.subnet_at(step)) for step in steps]


def final_weights(work_dir):
    path = find_latest_checkpoint(str(work_dir))
    return torch.load(path, weights_only=False)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A training of three epochs of four batches."""
    work_dir = tmp_path_factory.mktemp('whole')
    runner, record = make_runner(work_dir, epochs=3)
    runner.train()
    return work_dir, runner, record


def test_each_step_trains_the_drawn_part_at_its_size(whole):
    _, runner, record = whole
    hook = SubnetHook(SPACE)
    assert record.trained == expected(hook, range(12))
    assert record.trained[0] == str(hook.space.largest())
    assert len(set(record.trained)) > 6
    assert record.sizes == [
        hook.subnet_at(step).resolution for step in range(12)
    ]
    assert str(runner.model.subnet) == VALIDATED  # as it was built


def test_resumed_training_is_that_of_an_uninterrupted_one(whole, tmp_path):
    make_runner(tmp_path, epochs=1)[0].train()
    runner, record = make_runner(tmp_path, epochs=3, resume=True)
    runner.train()
    assert record.trained == whole[2].trained[4:]
    resumed, uninterrupted = final_weights(tmp_path), final_weights(whole[0])
    for key in ('state_dict', 'ema_state_dict'):
        assert resumed[key].keys() == uninterrupted[key].keys()
        for name, value in uninterrupted[key].items():
            assert torch.equal(resumed[key][name], value), name


def test_accumulated_iterations_share_a_part(tmp_path):
    runner, record = make_runner(tmp_path, epochs=2, window=2)
    runner.train()
    hook = SubnetHook(SPACE)
    steps = [step for step in range(4) for _ in range(2)]
    assert record.trained == expected(hook, steps)


def test_mixed_precision(tmp_path):
    """Without AmpOptimWrapper, which mmengine refuses on a CPU."""
    runner, record = make_runner(tmp_path, epochs=1)
    before = copy.deepcopy(runner.model.state_dict())
    with torch.autocast('cpu', torch.bfloat16):
        runner.train()
    assert record.trained == expected(SubnetHook(SPACE), range(4))
    key = 'backbone.patch_embed.weight'
    after = runner.model.state_dict()
    assert after[key].dtype == torch.float32
    assert not torch.equal(after[key], before[key])
    assert all(v.isfinite().all() for v in after.values())


def test_draws_are_those_of_seed_and_step():
    hook, other = SubnetHook(SPACE), SubnetHook(SPACE, seed=1)
    draws = expected(hook, range(50))
    assert draws == expected(SubnetHook(SPACE), range(50))
    assert draws != expected(other, range(50))
    first = SubnetHook(SPACE, largest_first=False).subnet_at(0)
    assert str(first) != draws[0]


def test_space_that_is_not_in_the_model_is_refused(tmp_path):
    runner, _ = make_runner(tmp_path)
    hook = SubnetHook({**SPACE, 'num_decoder_layers': [5]})
    with pytest.raises(InputError, match='2 decoder layers, 3 fewer'):
        hook.before_train(runner)
    runner.model.subnet = None
    with pytest.raises(ValueError, match='set model.subnet'):
        hook.before_train(runner)


def test_training_starts_from_fewer_decoder_layers(tmp_path):
    shallow, _ = build(
        {'bbox_head.decoder.num_layers': 1, 'bbox_head.num_queries': 4}
    )
    path = tmp_path / 'shallow.pth'
    torch.save(dict(state_dict=shallow.state_dict(), meta={}), path)
    runner, _ = make_runner(tmp_path / 'run', load_from=str(path))
    assert runner.train_loop.max_epochs == 2  # built, as by train()
    runner.call_hook('before_run')
    runner.load_or_resume()
    loaded = runner.model.state_dict()
    for layer in (0, 1):
        key = f'bbox_head.decoder.layers.{layer}.ffn.layers.1.weight'
        source = 'bbox_head.decoder.layers.0.ffn.layers.1.weight'
        assert torch.equal(loaded[key], shallow.state_dict()[source])


def test_resuming_from_fewer_decoder_layers_is_refused(tmp_path):
    shallow, _ = build(
        {'bbox_head.decoder.num_layers': 1, 'bbox_head.num_queries': 4}
    )
    path = tmp_path / 'shallow.pth'
    torch.save(dict(state_dict=shallow.state_dict(), meta={}), path)
    runner, _ = make_runner(tmp_path / 'run')
    runner._resume = True
    runner.call_hook('before_run')
    with pytest.raises(ValueError, match='missing from the checkpoint'):
        runner.load_checkpoint(str(path))


def test_files_have_no_traces_of_the_part(whole):
    keys = final_weights(whole[0])['state_dict'].keys()
    plain = MODELS.build(small_config(SUPERNET).model)
    assert keys == plain.state_dict().keys()
