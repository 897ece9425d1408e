"""A class for each size."""

from .rfdetr import RFDETR
from .variants import VARIANTS


class RFDETRTiny(RFDETR):
    """RF-DETR Tiny, 112 px, for trying things out without a network.

    Not a size of upstream's. Its weights come with this package and find the
    36 kinds of drawn shapes that ``demo/pretraining_shapes.py`` draws, such
    as a yellow star; they know nothing of photographs or COCO's classes.
    """

    variant = VARIANTS['RFDETRTiny']


class RFDETRNano(RFDETR):
    """RF-DETR Nano, 384 px."""

    variant = VARIANTS['RFDETRNano']


class RFDETRSmall(RFDETR):
    """RF-DETR Small, 512 px."""

    variant = VARIANTS['RFDETRSmall']


class RFDETRMedium(RFDETR):
    """RF-DETR Medium, 576 px."""

    variant = VARIANTS['RFDETRMedium']


class RFDETRLarge(RFDETR):
    """RF-DETR Large of 2026, 704 px."""

    variant = VARIANTS['RFDETRLarge']


class RFDETRBase(RFDETR):
    """RF-DETR Base, the first release, 560 px."""

    variant = VARIANTS['RFDETRBase']


class RFDETRLargeDeprecated(RFDETR):
    """RF-DETR Large of the first release, 560 px."""

    variant = VARIANTS['RFDETRLargeDeprecated']


class RFDETRXLarge(RFDETR):
    """RF-DETR XLarge, 700 px; weights under PML-1.0."""

    variant = VARIANTS['RFDETRXLarge']


class RFDETR2XLarge(RFDETR):
    """RF-DETR 2XLarge, 880 px; weights under PML-1.0."""

    variant = VARIANTS['RFDETR2XLarge']


class RFDETRSegPreview(RFDETR):
    """RF-DETR Preview with masks, 432 px."""

    variant = VARIANTS['RFDETRSegPreview']


class RFDETRSegNano(RFDETR):
    """RF-DETR Nano with masks, 312 px."""

    variant = VARIANTS['RFDETRSegNano']


class RFDETRSegSmall(RFDETR):
    """RF-DETR Small with masks, 384 px."""

    variant = VARIANTS['RFDETRSegSmall']


class RFDETRSegMedium(RFDETR):
    """RF-DETR Medium with masks, 432 px."""

    variant = VARIANTS['RFDETRSegMedium']


class RFDETRSegLarge(RFDETR):
    """RF-DETR Large with masks, 504 px."""

    variant = VARIANTS['RFDETRSegLarge']


class RFDETRSegXLarge(RFDETR):
    """RF-DETR XLarge with masks, 624 px."""

    variant = VARIANTS['RFDETRSegXLarge']


class RFDETRSeg2XLarge(RFDETR):
    """RF-DETR 2XLarge with masks, 768 px."""

    variant = VARIANTS['RFDETRSeg2XLarge']
