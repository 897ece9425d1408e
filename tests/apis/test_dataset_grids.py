"""A grid that cannot be drawn is no reason not to train."""

import pytest

from rfdetr_mm.apis import dataset_grids
from rfdetr_mm.errors import InputError


@pytest.mark.parametrize(
    'name, error',
    [
        ('register_all_modules', RuntimeError('no modules')),
        ('draw_samples', InputError('no image')),
        ('draw_samples', KeyError('RFDETRResize')),
        ('write_grid', OSError('disk full')),
    ],
)
def test_what_fails_is_a_warning(monkeypatch, tmp_path, name, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(dataset_grids, 'draw_samples', lambda *a, **k: [])
    monkeypatch.setattr(dataset_grids, name, fail)
    with pytest.warns(UserWarning) as caught:
        dataset_grids.save_grids(None, tmp_path)
    texts = [str(warning.message) for warning in caught]
    for split in ('train', 'val'):
        assert any(f'grid of the {split} images' in text for text in texts)
