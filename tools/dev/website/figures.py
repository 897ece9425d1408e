"""The figures of docs/how_it_works.md: one for each stage, drawn from a list.

A figure is a column of boxes with arrows between them. A box names what
happens and the file that does it; an arrow names what is handed on. A test
checks that the files are there.
"""

from dataclasses import dataclass
from pathlib import Path

M = 'rfdetr_mm/models'
MARK = '<!-- figure: {} -->'
PAGE = 'how_it_works.md'


@dataclass
class Box:
    """A step of a stage.

    Attributes:
        title: What it does, in a few words.
        file: The file that does it, a path in the repository.
        gives: What it hands to the next box, written at the arrow.
        more: A second line of the box.
    """

    title: str
    file: str
    gives: str = ''
    more: str = ''


FIGURES: dict[str, tuple[str, list[Box]]] = {
    'data': (
        'From an image file to a batch',
        [
            Box(
                'Read the file as 8-bit RGB',
                'rfdetr_runtime/image_file.py',
                'pixels (H, W, 3)',
                'one reader for training, validation, prediction and export',
            ),
            Box(
                'Augment (training only)',
                'rfdetr_mm/datasets/transforms/random_square_crop.py',
                'pixels and boxes',
                'half of the images are cropped, half are mirrored',
            ),
            Box(
                'Resize to the size of the model',
                'rfdetr_mm/datasets/transforms/resize.py',
                'pixels, e.g. (384, 384, 3)',
            ),
            Box(
                'Join the images of a batch and normalise them',
                f'{M}/data_preprocessors/stacking_det_data_preprocessor.py',
                'batch (B, 3, H, W), float32',
            ),
        ],
    ),
    'backbone': (
        'The backbone: image to four feature maps',
        [
            Box(
                'Cut into patches, add the position table',
                f'{M}/layers/position_table.py',
                'one vector for each patch, e.g. 24 x 24',
                'the table is resized for other image sizes',
            ),
            Box(
                'Cut the grid of patches into windows',
                f'{M}/layers/window_ops.py',
                '2 x 2 windows, each with a class token of its own',
            ),
            Box(
                '12 blocks: attention, then an MLP',
                f'{M}/layers/dinov2_block.py',
                'the vectors after blocks 3, 6, 9 and 12',
                'most attend in a window; blocks 4, 7, 10 over the image',
            ),
            Box(
                'Join the windows again',
                f'{M}/backbones/windowed_dinov2.py',
                'four maps (B, 384, H/16, W/16)',
            ),
        ],
    ),
    'projector': (
        'The projector: four maps to one',
        [
            Box(
                'Resample, where several scales are wanted',
                f'{M}/necks/multi_scale_projector.py',
                'four maps of one size',
                'Nano to Large have one scale, the first Large has two',
            ),
            Box(
                'Concatenate and fuse (C2f)',
                f'{M}/necks/multi_scale_projector.py',
                'one map',
            ),
            Box(
                'Normalise over the channels',
                f'{M}/layers/channel_layer_norm.py',
                'the memory (B, 256, H/16, W/16)',
            ),
        ],
    ),
    'queries': (
        'Query selection: where to look',
        [
            Box(
                'Every cell of the map proposes a box',
                f'{M}/layers/query_selector.py',
                'classes and a box for each cell',
            ),
            Box(
                'Keep the best 300',
                f'{M}/layers/query_selector.py',
                'reference boxes (B, 300, 4)',
                'by their best class score; 13 independent groups in training',
            ),
            Box(
                'Add the learned queries',
                f'{M}/dense_heads/rfdetr_head.py',
                'queries (B, 300, 256) and their reference boxes',
            ),
        ],
    ),
    'decoder': (
        'The decoder: two to six layers',
        [
            Box(
                'Queries look at each other',
                f'{M}/layers/decoder.py',
                'queries (B, 300, 256)',
                'self-attention within a group',
            ),
            Box(
                'Queries look at a few points around their box',
                f'{M}/layers/deformable_attention.py',
                'queries (B, 300, 256)',
                'deformable attention: the points are predicted',
            ),
            Box(
                'MLP; then the next layer',
                f'{M}/layers/decoder.py',
                'queries after each layer',
                'reference boxes stay the same in all layers',
            ),
            Box(
                'Class scores; boxes as offsets from the reference',
                f'{M}/layers/box_deltas.py',
                'logits (B, 300, classes), boxes (B, 300, 4)',
            ),
        ],
    ),
    'losses': (
        'Training: matching and losses',
        [
            Box(
                'Cost of every query with every object',
                f'{M}/task_modules/match_costs.py',
                'a matrix for each image, layer and group',
                'class, distance of the boxes, generalised IoU',
            ),
            Box(
                'One query for each object, within each group',
                f'{M}/task_modules/group_hungarian_assigner.py',
                'pairs of queries and objects',
                'the Hungarian algorithm; more groups, more positive examples',
            ),
            Box(
                'Losses of all layers and of the proposals',
                f'{M}/losses/ia_bce_loss.py',
                'a sum, whose gradient trains all parts',
                'IoU-aware cross-entropy for classes, L1 and GIoU for boxes',
            ),
            Box(
                'AdamW with a smaller rate for earlier blocks',
                'rfdetr_mm/engine/optim_wrapper_constructor.py',
                'weights',
            ),
            Box(
                'Averaged weights, which validation and results take',
                'rfdetr_mm/engine/hooks/optim_step_ema_hook.py',
                'checkpoint',
            ),
        ],
    ),
    'results': (
        'Prediction: the last layer to detections',
        [
            Box(
                'The best 300 pairs of query and class',
                f'{M}/dense_heads/detections.py',
                'scores, classes, boxes from 0 to 1',
                'no suppression of overlapping boxes is needed',
            ),
            Box(
                'Boxes in pixels of the original image',
                f'{M}/dense_heads/rfdetr_head.py',
                'DetDataSample',
            ),
            Box(
                'Results of the interface that was called',
                'rfdetr_mm/apis/predictor.py',
                'supervision.Detections above the threshold',
            ),
        ],
    ),
    'masks': (
        'Masks, in the segmentation sizes',
        [
            Box(
                'Enlarge the map to a quarter of the image',
                f'{M}/layers/mask_branch.py',
                'map (B, 256, H/4, W/4)',
            ),
            Box(
                'Product of the map with a vector of each query',
                f'{M}/layers/mask_branch.py',
                'mask logits (B, queries, H/4, W/4)',
            ),
            Box(
                'In training: compare at a few points',
                f'{M}/layers/mask_points.py',
                'cross-entropy and Dice loss',
                'most points lie where the mask is undecided',
            ),
            Box(
                'In prediction: resize to the image, cut at 0',
                f'{M}/layers/full_size_masks.py',
                'masks (detections, H, W)',
            ),
        ],
    ),
    'export': (
        'Export: a file that predicts by itself',
        [
            Box(
                'Choose the rewriters of the backend',
                'rfdetr_mm/deploy/rewriting.py',
                'the model in operators of the standard',
                'nothing in the model itself knows of exports',
            ),
            Box(
                'Write the file and its metadata',
                'rfdetr_mm/deploy/export.py',
                '.onnx, .xml, .tflite or .engine',
                'class names, image size, normalisation, hash of the weights',
            ),
            Box(
                'Compare it with PyTorch on the test set',
                'tools/analysis_tools/check_export.py',
                'differences of boxes, scores and AP',
            ),
            Box(
                'Predict without torch',
                'rfdetr_runtime/exported_model.py',
                'detections',
            ),
        ],
    ),
}
WIDTH, HEIGHT, GAP = 10.0, 1.0, 0.55


def draw(name: str, path: Path) -> None:
    """Draw a figure.

    Args:
        name: A key of ``FIGURES``.
        path: The SVG file to write.
    """
    import matplotlib

    matplotlib.use('svg')
    matplotlib.rcParams['svg.hashsalt'] = 'rfdetr_mm'
    from matplotlib import pyplot
    from matplotlib.patches import FancyBboxPatch

    boxes = FIGURES[name][1]
    tall = len(boxes) * (HEIGHT + GAP)
    figure = pyplot.figure(figsize=(7, 0.7 * tall), facecolor='white')
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(-tall, 0.1))
    axes.axis('off')
    for number, box in enumerate(boxes):
        top = -number * (HEIGHT + GAP)
        axes.add_patch(
            FancyBboxPatch(
                (0.1, top - HEIGHT + 0.1),
                WIDTH - 0.2,
                HEIGHT - 0.1,
                boxstyle='round,pad=0,rounding_size=0.12',
                facecolor='#f1effb',
                edgecolor='#5b4bc4',
            )
        )
        axes.text(0.3, top - 0.2, box.title, weight='bold', va='center')
        axes.text(0.3, top - 0.47, box.more, va='center', fontsize=9)
        axes.text(
            0.3, top - 0.73, box.file, va='center', fontsize=8,
            family='monospace', color='#55586b',
        )  # fmt: skip
        axes.annotate(
            '',
            (0.6, top - HEIGHT - GAP + 0.14),
            (0.6, top - HEIGHT + 0.06),
            arrowprops=dict(arrowstyle='->', color='#5b4bc4'),
        )
        axes.text(
            0.9, top - HEIGHT - GAP / 2 + 0.1, box.gives, va='center',
            fontsize=9, style='italic',
        )  # fmt: skip
    figure.savefig(path, metadata={'Date': None})
    pyplot.close(figure)


def fill(source: Path) -> None:
    """Draw all figures, and put them into the assembled page.

    Args:
        source: Folder of the assembled pages.
    """
    page = source / PAGE
    text = page.read_text(encoding='utf-8')
    folder = source / 'images' / 'how_it_works'
    folder.mkdir(parents=True, exist_ok=True)
    for name, (title, _) in FIGURES.items():
        mark = MARK.format(name)
        if text.count(mark) != 1:
            raise ValueError(f'{PAGE} must have one line {mark}')
        draw(name, folder / f'{name}.svg')
        image = f'![{title}](images/how_it_works/{name}.svg)'
        text = text.replace(mark, image)
    page.write_text(text, encoding='utf-8')
