"""Solving the assignments of all layers, images and groups of a step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from rfdetr_mm.errors import InputError


@dataclass
class Matches:
    """Matched queries and objects of every layer, image after image.

    Attributes:
        queries: Rows among the batch's bs * num_queries, ascending, shape
            (num_layers, num_matched).
        objects: Rows among all objects of the batch, same shape.
        counts: Matches of each image, in every layer.
        num_queries: Queries of an image.
        num_objects: Objects of each image.
    """

    queries: Tensor
    objects: Tensor
    counts: list[int]
    num_queries: int
    num_objects: list[int]

    def per_image(self, layer: int) -> list[tuple[Tensor, Tensor]]:
        """Queries and objects of each image, counted within the image."""
        pairs = zip(
            self.queries[layer].split(self.counts),
            self.objects[layer].split(self.counts),
        )
        starts = starts_of(self.num_objects)
        return [
            (queries - i * self.num_queries, objects - starts[i])
            for i, (queries, objects) in enumerate(pairs)
        ]


def solve_groups(
    costs: Tensor, num_objects: Sequence[int], num_groups: int
) -> Matches:
    """Match every group of queries one-to-one with the objects of its image.

    On a GPU all problems are solved there in one call if
    ``torch_linear_assignment`` is installed; elsewhere, and for images with
    more objects than a group has queries, by SciPy.

    Args:
        costs: Finite, shape (num_layers, bs, num_queries, max_objects);
            group 0 first. Columns beyond an image's objects are ignored.
        num_objects: The number of objects of each image.
        num_groups: Equal parts of the queries.

    Returns:
        Matches of all layers, on the device of the costs.

    Raises:
        InputError: If the queries do not divide into the groups.

    Source: Group DETR (arXiv 2207.13085); rfdetr 1.11.2, HungarianMatcher.
    """
    num_queries = costs.shape[2]
    if num_queries % num_groups:
        raise InputError(
            'All groups need the same number of predictions: '
            f'{num_queries} predictions / {num_groups} groups leaves '
            f'{num_queries % num_groups}. Pass the number of groups that the '
            'head ran.'
        )
    group_size = num_queries // num_groups
    counts = [num_groups * min(group_size, n) for n in num_objects]
    if sum(counts) == 0:
        queries = objects = costs.new_empty(len(costs), 0, dtype=torch.long)
    else:
        solve = _solve_by_scipy
        if costs.is_cuda and gpu_solver() and costs.shape[3] <= group_size:
            solve = _solve_in_one_batch
        queries, objects = solve(costs, num_objects, num_groups)
    return Matches(queries, objects, counts, num_queries, list(num_objects))


def gpu_solver() -> Callable[[Tensor], Tensor] | None:
    """``batch_linear_assignment`` of ``torch_linear_assignment``, if any."""
    try:
        from torch_linear_assignment import batch_linear_assignment
    except ImportError:
        return None
    return batch_linear_assignment


def _solve_by_scipy(
    costs: Tensor, num_objects: Sequence[int], num_groups: int
) -> tuple[Tensor, Tensor]:
    """Rows of queries and objects of each layer, one problem at a time."""
    num_layers, _, num_queries, _ = costs.shape
    group_size = num_queries // num_groups
    starts = starts_of(num_objects)
    rows, cols = [], []
    for layer in costs.cpu().unflatten(2, (num_groups, group_size)).numpy():
        for image, (groups, count) in enumerate(zip(layer, num_objects)):
            for group, problem in enumerate(groups[:, :, :count]):
                queries, objects = linear_sum_assignment(problem)
                first = image * num_queries + group * group_size
                rows.append(queries + first)
                cols.append(objects + starts[image])
    pair = torch.from_numpy(np.stack([*map(np.concatenate, (rows, cols))]))
    pair = pair.to(costs.device, non_blocking=True)
    return tuple(pair.view(2, num_layers, -1))


def _solve_in_one_batch(
    costs: Tensor, num_objects: Sequence[int], num_groups: int
) -> tuple[Tensor, Tensor]:
    """What :func:`_solve_by_scipy` gives, by one call of the library.

    Every image is filled up to the same number of objects. An object that
    costs nothing at any query takes one that is left over, so it does not
    change what is best for the others. No image may have more objects than
    a group has queries.
    """
    num_layers, bs, num_queries, max_objects = costs.shape
    group_size = num_queries // num_groups
    missing = torch.arange(max_objects) >= torch.tensor(num_objects)[:, None]
    (missing_here,) = _to_device(costs.device, missing)
    costs = costs.masked_fill(missing_here[:, None], 0.0)
    problems = costs.unflatten(2, (num_groups, group_size)).mT.flatten(0, 2)
    queries = gpu_solver()(problems.contiguous())  # of each object
    queries = queries.view(num_layers, bs, num_groups, max_objects)
    # Ascending, those that do not exist last.
    queries = queries.masked_fill(missing_here[:, None], group_size)
    queries, objects = queries.sort(dim=3)
    firsts = torch.arange(bs * num_groups).view(bs, num_groups, 1)
    exists = ~missing.unsqueeze(1).expand(-1, num_groups, -1)
    query_starts, object_starts, kept = _to_device(
        costs.device,
        firsts * group_size,
        torch.tensor(starts_of(num_objects)).view(bs, 1, 1),
        exists.flatten().nonzero().squeeze(1),
    )
    rows = (queries + query_starts).flatten(1).index_select(1, kept)
    cols = (objects + object_starts).flatten(1).index_select(1, kept)
    return rows, cols


def starts_of(counts: Sequence[int]) -> list[int]:
    """Where each part begins in the concatenation of all."""
    return [0, *accumulate(counts)][:-1]


def _to_device(device: torch.device, *tensors: Tensor) -> list[Tensor]:
    """Copy without waiting for the other work of the device."""
    return [x.to(device, non_blocking=True) for x in tensors]
