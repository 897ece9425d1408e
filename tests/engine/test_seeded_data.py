"""Draws: the same whoever loads them, others wherever they stand."""

import pickle

import pytest
import torch
from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import DataLoader, Dataset

from rfdetr_mm.engine import SeededBatchSampler, SeededDataset


class Numbers(Dataset):
    metainfo = dict(classes=('a',))

    def __init__(self, length=7):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return torch.tensor([index, torch.rand(()).item()])


def batches(length=7, num_workers=0, epoch=0, skip=0, **options):
    data = SeededDataset(Numbers(length))
    sampler = DefaultSampler(data, shuffle=True, seed=3)
    options = dict(dict(batch_size=2), **options)
    batch_sampler = SeededBatchSampler(sampler, **options)
    batch_sampler.start(epoch, skip)
    loader = DataLoader(
        data, batch_sampler=batch_sampler, num_workers=num_workers
    )
    return [batch.tolist() for batch in loader]


def test_workers_do_not_matter():
    alone = batches()
    assert batches() == alone
    torch.manual_seed(77)
    assert batches(num_workers=2) == alone
    assert batches(epoch=1) != alone
    assert batches(seed=1) != alone


def test_every_draw_is_another_one():
    values = [
        value
        for epoch in range(3)
        for batch in batches(length=3, window=3, epoch=epoch)
        for _, value in batch
    ]
    assert len(set(values)) == len(values) == 3 * 6


@pytest.mark.parametrize('num_workers', [0, 2])
@pytest.mark.parametrize('skip', [0, 1, 3, 4])
def test_skipped_batches(num_workers, skip):
    assert batches(skip=skip, num_workers=num_workers) == batches()[skip:]


def test_the_random_numbers_of_the_training_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    data = SeededDataset(Numbers())
    data[2, (1, 2)]
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ('length', 'window', 'drop_last', 'expected'),
    [
        (7, 1, False, 4),
        (7, 1, True, 3),
        (8, 1, False, 4),
        (7, 2, False, 4),
        (7, 3, False, 6),  # 12 places for 7 images
        (7, 3, True, 3),
        (1, 4, False, 4),  # one image, eight times
        (3, 2, True, 0),
        (0, 2, False, 0),
    ],
)
def test_whole_windows(length, window, drop_last, expected):
    sampler = SeededBatchSampler(
        range(length), 2, window=window, drop_last=drop_last
    )
    found = list(sampler)
    assert len(sampler) == len(found) == expected
    indices = [index for batch in found for index, _ in batch]
    assert len(indices) == 2 * expected
    first = indices[:length]
    assert first == list(range(length))[: len(indices)]
    assert indices[length:] == [
        i % length for i in range(length, 2 * expected)
    ]


def test_an_endless_sampler_gives_epochs():
    sampler = SeededBatchSampler(InfiniteSampler(Numbers(5), seed=1), 2)
    assert len(list(sampler)) == len(sampler) == 3


def test_epochs_are_shuffled_anew():
    orders = {
        tuple(index for batch in batches(epoch=epoch) for index, _ in batch)
        for epoch in range(4)
    }
    assert len(orders) == 4


class Pairs:
    def __init__(self, sampler, batch_size):
        self.sampler = sampler

    def __iter__(self):
        return iter([[0, 1], [5]])

    def __len__(self):
        return 2


def test_another_batch_sampler_decides():
    DATA_SAMPLERS.register_module(module=Pairs, force=True)
    sampler = SeededBatchSampler(
        range(7), 2, window=4, seed=9, batch_sampler=dict(type='Pairs')
    )
    sampler.start(3, num_skipped=1)
    assert len(sampler) == 2
    assert list(sampler) == [[(5, (9, 0, 3, 1, 0))]]


def test_the_inner_data_set_shows_through():
    inner = Numbers()
    data = SeededDataset(inner)
    assert (len(data), data.metainfo) == (7, inner.metainfo)
    data.length = 9
    assert inner.length == len(data) == 9
    copy = pickle.loads(pickle.dumps(data))
    assert len(copy) == 9
    assert torch.equal(copy[4, (0,)], data[4, (0,)])
    with pytest.raises(AttributeError, match='nothing'):
        data.nothing  # noqa: B018
