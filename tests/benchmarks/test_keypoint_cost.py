"""The detector beside the keypoint model is the same but for keypoints."""

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config


@pytest.fixture
def cost():
    import keypoint_cost

    return keypoint_cost


def test_the_twin_lacks_nothing_but_keypoints(cost):
    models = [
        MODELS.build(cfg.model)
        for cfg in (Config.fromfile(cost.CONFIG), cost.detector_config())
    ]
    pose, twin = (
        {name: value.shape for name, value in model.state_dict().items()}
        for model in models
    )
    assert all(pose[name] == shape for name, shape in twin.items())
    others = set(pose) - set(twin)
    assert others and all(
        name.startswith('neck.second.') or 'keypoint' in name
        for name in others
    )
    assert len(models[1].bbox_head.assigner.match_costs) == 3


def test_a_table_of_both(cost, monkeypatch, capsys):
    class Side:
        def __init__(self, variant, cfg):
            self.model = self
            self.task = cfg.model.bbox_head.type

        def train(self, mode):
            pass

        def forward(self, batch_size):
            return lambda: None

        train_step = forward

    monkeypatch.setattr(cost, 'Ours', Side)
    found = cost.main(['--rounds', '2', '--batch-size', '3'])
    assert list(found) == ['forward, batch 1', 'training step, batch 3']
    assert all(len(s) == 2 for row in found.values() for s in row.values())
    printed = capsys.readouterr().out
    assert '| training step, batch 3 (ms) |' in printed


def test_bad_rounds(cost, capsys):
    with pytest.raises(SystemExit):
        cost.main(['--rounds', '0'])
    assert 'must be positive, got 0' in capsys.readouterr().err
