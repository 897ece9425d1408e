"""The sizes of RF-DETR: classes, configs and weights by name."""

from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

PACKAGE = Path(__file__).resolve().parents[1]
MODEL_NAME = 'model_name'  # entry of a config: its class of rfdetr


@dataclass(frozen=True)
class Variant:
    """One size.

    Args:
        class_name: Of its class in :mod:`rfdetr_mm.apis`.
        size: Upstream's name, ``RFDETR….size``.
        config: Its config for a data set of the user's, below ``configs``.
        weights: Its published file; Tiny's comes with this package.
    """

    class_name: str
    size: str
    config: str
    weights: str

    def read_config(self) -> Config:
        """Read the config, see :func:`read_shipped`, and name the class."""
        cfg = read_shipped(self.config)
        cfg[MODEL_NAME] = self.class_name
        return cfg


def read_shipped(name: str) -> Config:
    """Read a config of an installed package or of a clone.

    Args:
        name: Its path below ``configs``.

    Returns:
        The config.

    Raises:
        FileNotFoundError: If the package was copied without its configs.
    """
    for root in (PACKAGE / '.mim', PACKAGE.parent):
        path = root / 'configs' / name
        if path.is_file():
            return Config.fromfile(path)
    raise FileNotFoundError(
        f'configs/{name} is neither in {PACKAGE / ".mim"} nor in '
        f'{PACKAGE.parent}. Install rfdetr_mm by pip, or in a clone run '
        'python setup.py link_mim.'
    )


def _detection(class_name: str, size: str, weights: str) -> Variant:
    config = f'rfdetr/rfdetr_{size}_custom.py'
    return Variant(class_name, f'rfdetr-{size}', config, weights)


def _segmentation(class_name: str, size: str, weights: str) -> Variant:
    config = f'rfdetr_seg/rfdetr-seg_{size}_custom.py'
    return Variant(class_name, f'rfdetr-seg-{size}', config, weights)


_ALL = (
    _detection('RFDETRNano', 'nano', 'rf-detr-nano.pth'),
    _detection('RFDETRSmall', 'small', 'rf-detr-small.pth'),
    _detection('RFDETRMedium', 'medium', 'rf-detr-medium.pth'),
    _detection('RFDETRLarge', 'large', 'rf-detr-large-2026.pth'),
    _detection('RFDETRBase', 'base', 'rf-detr-base.pth'),
    Variant(
        'RFDETRLargeDeprecated',
        'rfdetr-large',
        'rfdetr/rfdetr_large-deprecated_custom.py',
        'rf-detr-large.pth',
    ),
    _detection('RFDETRXLarge', 'xlarge', 'rf-detr-xlarge.pth'),
    _detection('RFDETR2XLarge', '2xlarge', 'rf-detr-xxlarge.pth'),
    _segmentation('RFDETRSegPreview', 'preview', 'rf-detr-seg-preview.pt'),
    _segmentation('RFDETRSegNano', 'nano', 'rf-detr-seg-nano.pt'),
    _segmentation('RFDETRSegSmall', 'small', 'rf-detr-seg-small.pt'),
    _segmentation('RFDETRSegMedium', 'medium', 'rf-detr-seg-medium.pt'),
    _segmentation('RFDETRSegLarge', 'large', 'rf-detr-seg-large.pt'),
    _segmentation('RFDETRSegXLarge', 'xlarge', 'rf-detr-seg-xlarge.pt'),
    _segmentation('RFDETRSeg2XLarge', '2xlarge', 'rf-detr-seg-xxlarge.pt'),
    # Upstream has no such size. Its weights know drawn shapes, not photos.
    _detection('RFDETRTiny', 'tiny', 'rf-detr-tiny-shapes.pth'),
)

VARIANTS: dict[str, Variant] = {v.class_name: v for v in _ALL}
"""Class name to size."""
