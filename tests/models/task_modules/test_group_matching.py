"""Assignments of all layers at once: SciPy, and the library for GPUs."""

import pytest
import torch

from rfdetr_mm.models.task_modules import group_matching
from rfdetr_mm.models.task_modules.group_matching import (
    Matches,
    solve_groups,
)

GROUPS, GROUP_SIZE = 3, 6


def random_costs(num_objects, num_layers=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (num_layers, len(num_objects), GROUPS * GROUP_SIZE)
    return torch.randn(*shape, max(num_objects), generator=generator)


def in_one_batch(costs, num_objects):
    """As on a GPU; the library solves on a CPU too."""
    pytest.importorskip('torch_linear_assignment')
    return group_matching._solve_in_one_batch(costs, num_objects, GROUPS)


def assert_same(found, expected):
    """Queries and objects of all layers."""
    for mine, other in zip(found, expected, strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize(
    'num_objects', [[4, 2], [6, 1, 3], [0, 5], [1], [3, 0, 3]]
)
@pytest.mark.parametrize('seed', range(3))
def test_one_batch_equals_one_by_one(num_objects, seed):
    costs = random_costs(num_objects, seed=seed)
    expected = solve_groups(costs, num_objects, GROUPS)
    assert_same(
        in_one_batch(costs, num_objects), (expected.queries, expected.objects)
    )


def test_columns_beyond_the_objects_do_not_matter():
    num_objects = [1, 4]
    costs = random_costs(num_objects)
    cheap = costs.clone()
    cheap[:, 0, :, 1:] = -1e6
    plain = solve_groups(costs, num_objects, GROUPS)
    expected = (plain.queries, plain.objects)
    found = solve_groups(cheap, num_objects, GROUPS)
    assert_same((found.queries, found.objects), expected)
    assert_same(in_one_batch(cheap, num_objects), expected)


@pytest.mark.parametrize(
    'num_objects', [[4, 2], [9, 1], [0, 7], [0, 0], [6, 6]]
)
def test_images_and_layers_are_solved_on_their_own(num_objects):
    """More objects (9) than a group has queries (6) are no exception."""
    costs = random_costs(num_objects)
    matches = solve_groups(costs, num_objects, GROUPS)
    assert matches.counts == [GROUPS * min(GROUP_SIZE, n) for n in num_objects]
    for layer in range(len(costs)):
        pairs = matches.per_image(layer)
        for image, (queries, objects) in enumerate(pairs):
            alone = solve_groups(
                costs[layer, image][None, None], [num_objects[image]], GROUPS
            )
            assert torch.equal(queries, alone.queries[0])
            assert torch.equal(objects, alone.objects[0])
            assert (queries.diff() > 0).all()


def test_rows_count_through_the_batch():
    matches = Matches(
        queries=torch.tensor([[1, 8, 11], [0, 9, 10]]),
        objects=torch.tensor([[0, 1, 3], [0, 3, 2]]),
        counts=[1, 0, 2],
        num_queries=4,
        num_objects=[1, 0, 3],
    )
    found = [(q.tolist(), o.tolist()) for q, o in matches.per_image(0)]
    assert found == [([1], [0]), ([], []), ([0, 3], [0, 2])]
    found = [(q.tolist(), o.tolist()) for q, o in matches.per_image(1)]
    assert found == [([0], [0]), ([], []), ([1, 2], [2, 1])]


def test_which_solver_is_taken(monkeypatch):
    """The library only on a GPU, where it is installed, and where it can."""
    taken = []

    class OnGpu(torch.Tensor):
        is_cuda = True

    def spy(name):
        solve = getattr(group_matching, name)

        def solve_and_tell(costs, *arguments):
            taken.append(name)
            return solve(costs.as_subclass(torch.Tensor), *arguments)

        monkeypatch.setattr(group_matching, name, solve_and_tell)

    pytest.importorskip('torch_linear_assignment')
    spy('_solve_by_scipy')
    spy('_solve_in_one_batch')
    few, many = random_costs([4, 2]), random_costs([7, 2])
    solve_groups(few, [4, 2], GROUPS)
    solve_groups(few.as_subclass(OnGpu), [4, 2], GROUPS)
    solve_groups(many.as_subclass(OnGpu), [7, 2], GROUPS)
    monkeypatch.setattr(group_matching, 'gpu_solver', lambda: None)
    solve_groups(few.as_subclass(OnGpu), [4, 2], GROUPS)
    assert (
        taken
        == ['_solve_by_scipy', '_solve_in_one_batch'] + ['_solve_by_scipy'] * 2
    )


def test_rows_that_do_not_divide_are_explained():
    with pytest.raises(ValueError, match='10 predictions / 3 groups leaves 1'):
        solve_groups(torch.zeros(1, 1, 10, 2), [2], GROUPS)
