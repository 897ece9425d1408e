"""What a resumed training takes from its config and what from its file."""

import pytest

from rfdetr_mm.errors import InputError
from tests.small_detector import build, small_config


def optim_wrapper(**options):
    """Of a small detector; options are those of the optimizer wrapper."""
    config = small_config()
    config.merge_from_dict(
        {f'optim_wrapper.{k}': v for k, v in options.items()}
    )
    return build(optim=config.optim_wrapper)[1]


def test_resuming_takes_the_settings_of_the_config(log_lines):
    first = optim_wrapper()
    options = {'optimizer.weight_decay': 0.02, 'optimizer.betas': (0.8, 0.9)}
    second = optim_wrapper(**options)
    expected = [
        group['weight_decay'] for group in second.optimizer.param_groups
    ]
    assert set(expected) == {0.0, 0.02}
    log_lines.clear()
    second.load_state_dict(first.state_dict())
    assert [
        g['weight_decay'] for g in second.optimizer.param_groups
    ] == expected
    assert {tuple(g['betas']) for g in second.optimizer.param_groups} == {
        (0.8, 0.9)
    }
    assert len(log_lines) == 2
    (line,) = [text for text in log_lines if 'weight_decay' in text]
    assert '=0.0001;' in line and '=0.02 ' in line


def test_resuming_with_the_same_settings_says_nothing(log_lines):
    first, second = optim_wrapper(), optim_wrapper()
    log_lines.clear()
    second.load_state_dict(first.state_dict())
    assert not log_lines


def test_resuming_with_other_groups_is_an_error():
    first = optim_wrapper()
    second = optim_wrapper(**{'paramwise_cfg.layer_decay_rate': 1.0})
    with pytest.raises(InputError, match='groups of parameters.*load_from'):
        second.load_state_dict(first.state_dict())
