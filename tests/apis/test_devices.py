import pytest
import torch

from rfdetr_mm.apis.devices import find_device
from rfdetr_mm.errors import InputError


@pytest.mark.parametrize('device', ['cpu', torch.device('cpu')])
def test_devices_that_are_there(device):
    assert find_device(device) == torch.device('cpu')


@pytest.mark.parametrize(
    'device, message',
    [
        ('foo', "'foo' is not a device; .*'cuda:1' or 'mps'"),
        ('cuda:x', "'cuda:x' is not a device"),
        (None, 'None is not a device'),
        (['cpu'], r"\['cpu'\] is not a device"),
        ('cuda:99', r'torch sees \d CUDA devices'),
        ('cuda', 'torch sees 0 CUDA devices'),
        ('mps', 'torch sees no such GPU'),
    ],
)
def test_devices_that_are_not(monkeypatch, device, message):
    if device != 'cuda:99':
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: False)
    with pytest.raises(InputError, match=message):
        find_device(device)
