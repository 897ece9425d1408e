"""Two processes are as good as one: gradients, training, evaluation."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.two_ranks import OBJECTS, write_configs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def report(tmp_path_factory):
    """Gradients, samplers and evaluation."""
    return run(tmp_path_factory.mktemp('quick'), 'quick')


@pytest.fixture(scope='module')
def training(tmp_path_factory):
    """Training with and without shards."""
    return run(tmp_path_factory.mktemp('training'), 'training')


def run(folder, part):
    """What tests/two_ranks.py has found."""
    done = subprocess.run(
        [sys.executable, 'tests/two_ranks.py', str(folder), part],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return torch.load(folder / 'report.pth', weights_only=False)


def environment(**more):
    return dict(
        os.environ,
        **dict(
            PYTHONPATH=f'{ROOT}{os.pathsep}{ROOT / "tests"}',
            CUDA_VISIBLE_DEVICES='',
            OMP_NUM_THREADS='1',
            **more,
        ),
    )


def difference(left, right):
    """Largest relative difference of a tensor.

    Tensors under a millionth of the whole are compared with the whole: the
    gradient of an attention key's bias is zero but for rounding.
    """
    whole = torch.stack([grad.norm() for grad in right.values()]).norm()
    return max(
        float((left[name] - grad).norm() / max(grad.norm(), 1e-6 * whole))
        for name, grad in right.items()
    )


@pytest.mark.parametrize('case', OBJECTS)
@pytest.mark.parametrize('task', ['', 'pose_'])
def test_gradients_equal_those_of_one_process(report, case, task):
    one = report[f'{task}one'][case]
    first, second = report[f'{task}two'][case]
    # Without find_unused_parameters, each has to have a gradient everywhere.
    for found in (one, first, second):
        assert [name for name, grad in found.items() if grad is None] == []
    assert all(torch.equal(first[name], second[name]) for name in first)
    if case == 'none at all':
        # The divisor, objects per process, is 1 at least, as upstream's.
        one = {name: grad / 2 for name, grad in one.items()}
    # All in float64 but the resizing of the position table, and mmdet adds
    # float32's epsilon to the divisor: the rest is 1e-12 and less.
    assert difference(first, one) < 1e-7


def test_gradients_differ_where_each_process_divides_by_its_own_objects(
    report,
):
    first, second = report['own_divisors']
    assert difference(first, report['one']['uneven']) > 1e-3
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize('sampler', ['DefaultSampler', 'SmallDataSampler'])
def test_processes_share_the_images(report, sampler):
    first, second = (part[sampler] for part in report['parts'])
    for draws in zip(first, second):
        images = [{index for index, _ in part} for part in draws]
        assert images[0] | images[1] == set(range(8))
        assert images[0] & images[1] == set()
        addresses = [address for part in draws for _, address in part]
        assert len(set(addresses)) == 8  # no two draw the same numbers
    assert first[0] != first[1]


with_shards = pytest.mark.needs_torch('2.6', 'ShardedRunner')


@with_shards
@pytest.mark.slow
def test_processes_stay_together_in_training(training):
    first, second = training['trained']
    assert first['wrapper'] == 'MMDistributedDataParallel'
    assert first['weights'] == second['weights']
    assert first['average'] == second['average'] != first['weights']
    assert first['sizes'] == second['sizes']
    assert len(set(first['sizes'])) > 1
    for epoch in (slice(0, 4), slice(4, 8)):
        seen = [*first['images'][epoch], *second['images'][epoch]]
        assert set(seen) == set(range(1, 8)) and len(seen) == 8


@with_shards
@pytest.mark.slow
def test_shards_are_parts_of_the_same_training(training):
    whole, shards = training['trained'], training['in_shards']
    for name, numbers in enumerate(('weights', 'averages', 'states')):
        held = [found['numbers'][name] for found in shards]
        assert sum(held) == whole[0]['numbers'][name], numbers
        assert max(held) < 0.51 * sum(held)
    for found in shards:  # the whole gradient's, in each process
        torch.testing.assert_close(
            torch.as_tensor(found['norms']),
            torch.as_tensor(whole[0]['norms']),
            rtol=1e-5,
            atol=0,
        )


@with_shards
@pytest.mark.slow
@pytest.mark.parametrize('name', ['state_dict', 'ema_state_dict'])
def test_checkpoints_of_shards_are_whole(training, name):
    whole, shards = (content[name] for content in training['checkpoints'])
    assert whole.keys() == shards.keys()
    # Two steps in float32, summed in another order.
    torch.testing.assert_close(dict(shards), dict(whole), rtol=1e-5, atol=1e-6)


@with_shards
@pytest.mark.slow
def test_optimizer_states_of_shards_are_whole(training):
    whole, shards = (
        content['optimizer'] for content in training['checkpoints']
    )
    assert whole['param_groups'] == shards['param_groups']
    torch.testing.assert_close(
        shards['state'], whole['state'], rtol=1e-4, atol=1e-7
    )


def test_evaluation_counts_each_image_once(report):
    one, two = (found[0] for found in report['tested'])  # of rank 0
    assert [i for i, _ in two['predictions']] == list(range(1, 8))
    for (_, left), (_, right) in zip(one['predictions'], two['predictions']):
        assert all(torch.equal(left[key], right[key]) for key in left)
    metrics = [
        {k: v for k, v in found['metrics'].items() if k.startswith('coco/')}
        for found in (one, two)
    ]
    assert metrics[0] == metrics[1]
    assert 0.1 < metrics[0]['coco/bbox_mAP'] < 0.9


@pytest.mark.slow
def test_the_scripts(tmp_path):
    tiny, oracle, weights = write_configs(tmp_path)
    output = script(tmp_path, 'dist_train.sh', tiny, 2)
    assert 'Epoch(train) [2][2/2]' in output
    assert (tmp_path / 'work_dirs/tiny/epoch_2.pth').is_file()
    output = script(
        tmp_path, 'dist_train.sh', tiny, 2, '--resume', '--cfg-options',
        'train_cfg.max_epochs=3',
    )  # fmt: skip
    assert 'resumed epoch: 2, iter: 4' in output
    output = script(tmp_path, 'dist_test.sh', oracle, weights, 2)
    assert output.count('coco/bbox_mAP:') == 1
    assert output.count('Average Precision  (AP) @[ IoU=0.50:0.95 | area') == 4


def script(folder, name, *arguments):
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    done = subprocess.run(
        [ROOT / 'tools' / name, *map(str, arguments)],
        cwd=folder,
        env=environment(PORT=str(port), PATH=path),
        capture_output=True,
        text=True,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-4000:]
    return output
