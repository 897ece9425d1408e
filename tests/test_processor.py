import pytest
import torch

from rfdetr_mm import processor
from rfdetr_mm.processor import has_bf16_units, usable_dtype


@pytest.fixture
def facts(tmp_path, monkeypatch):
    """Write what Linux says of a processor."""
    monkeypatch.setattr(processor, 'CPU_FACTS', tmp_path / 'cpuinfo')
    return (tmp_path / 'cpuinfo').write_text


@pytest.mark.parametrize(
    'written, has_units',
    [
        ('flags\t\t: fpu avx512f avx512_bf16 sse\n', True),
        ('flags\t\t: fpu amx_bf16 amx_tile\n', True),
        ('Features\t: fp asimd i8mm bf16\n', True),
        ('flags\t\t: fpu avx512f avx512_vnni\n', False),
    ],
)
def test_units_for_bfloat16(facts, written, has_units):
    assert has_bf16_units() is None  # not Linux: no file
    facts(written)
    assert has_bf16_units() is has_units


def test_bfloat16_is_not_imitated(facts, recwarn):
    cpu, bf16 = torch.device('cpu'), torch.bfloat16
    assert usable_dtype(bf16, cpu) == bf16  # not known
    facts('flags : avx2')
    assert usable_dtype(bf16, torch.device('cuda')) == bf16
    assert usable_dtype(torch.float16, cpu) == torch.float16
    assert not recwarn.list
    assert usable_dtype(bf16, cpu) == torch.float32
    assert 'no units for bfloat16' in str(recwarn.pop().message)
