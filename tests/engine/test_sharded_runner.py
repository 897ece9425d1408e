"""What ShardedRunner wants; tests/tools/test_distributed.py trains with it."""

import sys
import types

import pytest

from rfdetr_mm.engine import ShardedRunner
from rfdetr_mm.errors import InputError
from tests.small_run import Net


def test_one_process_is_not_enough(tmp_path):
    with pytest.raises(InputError, match='dist_train.sh, or leave'):
        ShardedRunner(
            model=Net(),
            work_dir=str(tmp_path),
            default_scope='mmdet',
            experiment_name='sharded',
            cfg={},
        )


def test_an_old_torch(monkeypatch):
    name = 'torch.distributed.fsdp'
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    with pytest.raises(InputError, match='torch 2.6'):
        ShardedRunner._shard(None)
