from collections import Counter
from pathlib import Path

import pytest
from mmdet.registry import DATA_SAMPLERS
from mmengine.config import Config

from rfdetr_mm.datasets.samplers import SmallDataSampler, small_data_sampler

ROOT = Path(__file__).parents[3]


def epoch(sampler: SmallDataSampler, number: int = 0) -> list[int]:
    sampler.set_epoch(number)
    return list(sampler)


@pytest.mark.parametrize(
    'images, batch, counts, expected',
    [  # expected: samples of an epoch
        (1, 4, 1, 20),
        (19, 4, 1, 20),
        (20, 4, 1, 20),
        (21, 4, 1, 24),
        (103, 4, 1, 104),
        (104, 4, 1, 104),
        (30, 2, 4, 40),
        (41, 2, 4, 48),
        (3, 1, 1, 5),
    ],
)
def test_an_epoch_has_whole_steps_and_five_at_least(
    images, batch, counts, expected
):
    sampler = SmallDataSampler(range(images), batch, counts, seed=1)
    indices = epoch(sampler)
    assert len(indices) == len(sampler) == expected
    assert set(indices) <= set(range(images))
    if images >= 5 * batch * counts:
        assert sorted(indices[:images]) == list(range(images))


def test_replacement_is_uniform():
    sampler = SmallDataSampler(range(10), 4, seed=1)
    draws = [epoch(sampler, number) for number in range(500)]
    counts = Counter(index for indices in draws for index in indices)
    assert all(850 < counts[i] < 1150 for i in range(10))
    # Each of 20 draws may repeat another: some image is missing in most.
    assert sum(len(set(indices)) < 10 for indices in draws) > 300


def test_filling_is_drawn_anew():
    sampler = SmallDataSampler(range(22), 4, seed=1)
    filling = {tuple(epoch(sampler, number)[22:]) for number in range(20)}
    assert len(filling) > 10


def test_seed_and_epoch_decide():
    first, second = (SmallDataSampler(range(50), 4, seed=7) for _ in range(2))
    assert epoch(first, 3) == epoch(second, 3) != epoch(second, 4)
    assert epoch(SmallDataSampler(range(50), 4, seed=8), 3) != epoch(first, 3)


@pytest.mark.parametrize('images', [7, 61])
def test_processes_share_an_epoch(images, monkeypatch):
    alone = epoch(SmallDataSampler(range(images), 12, seed=3))
    parts = []
    for rank in range(3):
        monkeypatch.setattr(
            'mmengine.dataset.sampler.get_dist_info',
            lambda rank=rank: (rank, 3),
        )
        sampler = SmallDataSampler(range(images), 2, 2, seed=3)
        parts.append(epoch(sampler))
        assert len(sampler) == len(parts[-1]) == len(alone) // 3
    # Three processes with 2 * 2 images make one step of 12.
    assert [index for trio in zip(*parts) for index in trio] == alone


@pytest.mark.parametrize(
    'images, options, words',
    [
        (0, dict(batch_size=2), 'no images.*filter_cfg'),
        (5, dict(batch_size=0), 'batch_size=0'),
        (5, dict(batch_size=2, min_steps=-1), 'min_steps=-1'),
    ],
)
def test_bad_arguments_are_explained(images, options, words):
    with pytest.raises(ValueError, match=words):
        SmallDataSampler(range(images), **options)


def test_is_built_by_name():
    sampler = DATA_SAMPLERS.build(
        dict(type='SmallDataSampler', batch_size=2),
        default_args=dict(dataset=range(3), seed=0),
    )
    assert isinstance(sampler, small_data_sampler.SmallDataSampler)


def test_two_options_switch_it_on():
    """What the config says of the default sampler stays."""
    cfg = Config.fromfile(ROOT / 'configs/rfdetr/rfdetr_nano_custom.py')
    cfg.merge_from_dict(
        {
            'train_dataloader.sampler.type': 'SmallDataSampler',
            'train_dataloader.sampler.batch_size': 4,
        }
    )
    sampler = DATA_SAMPLERS.build(
        cfg.train_dataloader.sampler, default_args=dict(dataset=range(3))
    )
    assert len(epoch(sampler)) == 20
    with pytest.raises(ValueError, match='DefaultSampler'):
        SmallDataSampler(range(3), 4, shuffle=False)
