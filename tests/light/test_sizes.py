from rfdetr_mm.apis.variants import VARIANTS
from rfdetr_mm.checkpoints import PUBLISHED_FILES, SHIPPED_FILES
from rfdetr_mm_light.sizes import SIZES


def test_short_names():
    names = [size.short_name for size in SIZES]
    assert len(set(names)) == len(SIZES) == len(VARIANTS)
    assert names[:2] == ['nano', 'small'] and 'seg-2xlarge' in names
    assert 'large-deprecated' in names


def test_weights_are_published():
    assert {size.weights for size in SIZES} <= {
        *PUBLISHED_FILES,
        *SHIPPED_FILES,
    }
