"""The sizes of RF-DETR, as a table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
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

    @property
    def short_name(self) -> str:
        """The name on the command line: ``nano``, ``seg-nano``."""
        stem = self.config.rpartition('/')[2].removesuffix('_custom.py')
        return stem.removeprefix('rfdetr').strip('-_').replace('_', '-')


def _detection(class_name: str, size: str, weights: str) -> Size:
    config = f'rfdetr/rfdetr_{size}_custom.py'
    return Size(class_name, f'rfdetr-{size}', config, weights)


def _segmentation(class_name: str, size: str, weights: str) -> Size:
    config = f'rfdetr_seg/rfdetr-seg_{size}_custom.py'
    return Size(class_name, f'rfdetr-seg-{size}', config, weights)


SIZES = (
    _detection('RFDETRNano', 'nano', 'rf-detr-nano.pth'),
    _detection('RFDETRSmall', 'small', 'rf-detr-small.pth'),
    _detection('RFDETRMedium', 'medium', 'rf-detr-medium.pth'),
    _detection('RFDETRLarge', 'large', 'rf-detr-large-2026.pth'),
    _detection('RFDETRBase', 'base', 'rf-detr-base.pth'),
    Size(
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
"""All of them, in the order in which they are shown."""
