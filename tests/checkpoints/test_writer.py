import hashlib

import pytest
import torch
from checkpoint_factory import upstream_state_dict

from rfdetr_mm.checkpoints import (
    check_target,
    summarise,
    upstream_to_mmdet,
    weights_md5,
    write_checkpoint,
)
from rfdetr_mm.errors import InputError


def test_a_file_is_written_once_and_replaced_by_force_only(tmp_path):
    path = tmp_path / 'folder' / 'a.pth'
    md5 = write_checkpoint({'a': torch.ones(1)}, path)
    assert md5 == hashlib.md5(path.read_bytes()).hexdigest()
    with pytest.raises(InputError, match='--force'):
        write_checkpoint({'a': torch.zeros(1)}, path)
    assert torch.load(path)['a'] == 1
    write_checkpoint({'a': torch.zeros(1)}, path, force=True)
    assert torch.load(path)['a'] == 0


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / 'a.pth'
    write_checkpoint({'a': torch.ones(1)}, path)
    with pytest.raises(Exception, match="Can't (pickle|get local)"):
        write_checkpoint({'a': lambda: 0}, path, force=True)
    assert torch.load(path)['a'] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_no_target(tmp_path):
    with pytest.raises(InputError, match='is a folder'):
        check_target(tmp_path, force=True)


def test_the_summary_names_counts_drops_and_notes():
    upstream = upstream_state_dict(num_groups=3, num_queries=5)
    ours, report = upstream_to_mmdet(upstream)
    text = summarise(report)
    num_numbers = sum(tensor.numel() for tensor in ours.values())
    for part in (
        '36 <-> 12', '3 x 5', f'{num_numbers:,}', '_kp_active_mask',
        'empty keypoint buffer', '3 of 4 kept',
    ):  # fmt: skip
        assert part in text, part


def test_the_md5_of_weights_is_of_names_shapes_and_values():
    weights = {'a': torch.arange(6.0), 'b': torch.tensor(1)}
    known = weights_md5(weights)
    assert known == weights_md5(dict(reversed(weights.items())))
    others = [
        {'a': torch.arange(6.0)},
        {**weights, 'b': torch.tensor(2)},
        {**weights, 'b': torch.tensor(1, dtype=torch.int32)},
        {**weights, 'a': torch.arange(6.0).reshape(2, 3)},
        {'c': weights['a'], 'b': weights['b']},
    ]
    found = {weights_md5(other) for other in others}
    assert len(found) == len(others) and known not in found
    turned = torch.arange(6.0).reshape(2, 3).t()
    assert weights_md5({'a': turned}) == weights_md5({'a': turned.clone()})
