import pytest
import torch

from rfdetr_mm.apis import devices
from rfdetr_mm.apis.devices import find_device, has_bf16_units, usable_dtype
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


@pytest.fixture
def processor(tmp_path, monkeypatch):
    """Write what Linux says of a processor."""
    monkeypatch.setattr(devices, 'CPU_FACTS', tmp_path / 'cpuinfo')
    return (tmp_path / 'cpuinfo').write_text


@pytest.mark.parametrize(
    'facts, has_units',
    [
        ('flags\t\t: fpu avx512f avx512_bf16 sse\n', True),
        ('flags\t\t: fpu amx_bf16 amx_tile\n', True),
        ('Features\t: fp asimd i8mm bf16\n', True),
        ('flags\t\t: fpu avx512f avx512_vnni\n', False),
    ],
)
def test_units_for_bfloat16(processor, facts, has_units):
    assert has_bf16_units() is None  # not Linux: no file
    processor(facts)
    assert has_bf16_units() is has_units


def test_bfloat16_is_not_imitated(processor, recwarn):
    cpu, bf16 = torch.device('cpu'), torch.bfloat16
    assert usable_dtype(bf16, cpu) == bf16  # not known
    processor('flags : avx2')
    assert usable_dtype(bf16, torch.device('cuda')) == bf16
    assert usable_dtype(torch.float16, cpu) == torch.float16
    assert not recwarn.list
    assert usable_dtype(bf16, cpu) == torch.float32
    assert 'no units for bfloat16' in str(recwarn.pop().message)
