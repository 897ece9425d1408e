"""A web page that detects: ``python demo/web_demo.py rfdetr_nano_coco``.

Upload an image, move the threshold, choose classes, download the painted image
and the detections as JSON. The model looks at each image once; threshold and
classes only choose among what it has found. The page needs no network.

Needs Gradio: pip install 'rfdetr_mm[web]'

Examples:
    python demo/web_demo.py rfdetr_nano_coco
    python demo/web_demo.py work_dirs/mine/mine.py --weights best.pth --port 8080
"""  # noqa: E501

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_options import (
    add_model_options,
    build_inferencer,
    errors_in_one_line,
)

# Before Gradio is imported: it would send figures of use and look for updates.
os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
os.environ.setdefault('HF_HUB_OFFLINE', '1')

import gradio  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from PIL import Image  # noqa: E402

from rfdetr_mm.apis import RFDETRInferencer  # noqa: E402
from rfdetr_mm.apis.video import paint_frame  # noqa: E402
from rfdetr_runtime.detection_files import write_json  # noqa: E402

MIN_SCORE = 0.05  # what the slider can reach
FONTS = ['system-ui', 'Segoe UI', 'Roboto', 'Helvetica', 'sans-serif']
MONO_FONTS = ['ui-monospace', 'Consolas', 'monospace']
CSS = '.gradio-container {max-width: 1200px !important; margin: auto}'
HEADERS = ['class', 'score', 'left', 'top', 'right', 'bottom']


@dataclass
class Seen:
    """An image and all that the model has found in it.

    Attributes:
        image: (H, W, 3), RGB, 8 bits.
        sample: Detections in pixels of the image, on the CPU.
    """

    image: np.ndarray
    sample: DetDataSample


class Page:
    """What the controls of the page do.

    Args:
        inferencer: The model.
    """

    def __init__(self, inferencer: RFDETRInferencer) -> None:
        self.inferencer = inferencer
        names = inferencer.model.dataset_meta['classes']
        self.class_names = list(names)

    def look(self, image: np.ndarray | None) -> Seen | None:
        """Detect in an image, RGB; None if there is none."""
        if image is None:
            return None
        bgr = np.ascontiguousarray(image[..., ::-1])
        found = self.inferencer(bgr, return_datasamples=True)
        (sample,) = found['predictions']
        sample = sample.cpu()
        instances = sample.pred_instances
        sample.pred_instances = instances[instances.scores > MIN_SCORE]
        return Seen(image, sample)

    def show(
        self, seen: Seen | None, threshold: float, classes: Sequence[str]
    ) -> tuple:
        """Paint what threshold and classes leave.

        Args:
            seen: What the model has found, None without an image.
            threshold: Detections with a higher score are shown.
            classes: Their names; all if empty.

        Returns:
            Painted image, summary, rows of the table, the two files.
        """
        if seen is None:
            return None, 'No image yet.', [], None, None
        found = seen.sample.pred_instances
        kept = found.scores > threshold
        if classes:
            labels = [self.class_names.index(name) for name in classes]
            kept &= torch.isin(found.labels, torch.tensor(labels))
        found = found[kept]
        painted = self._paint(seen.image, found)
        rows = [
            [self.class_names[label], round(score, 3), *map(round, box)]
            for label, score, box in zip(
                found.labels.tolist(),
                found.scores.tolist(),
                found.bboxes.tolist(),
            )
        ]
        picture, data = _files(painted, seen.image.shape[:2], found, rows)
        return painted, _summary(rows), rows, picture, data

    def _paint(self, image: np.ndarray, found: Any) -> np.ndarray:
        chosen = DetDataSample(pred_instances=found)
        bgr = paint_frame(self.inferencer, image[..., ::-1], chosen, 0)
        return bgr[..., ::-1]


def _summary(rows: Sequence[Sequence]) -> str:
    counts = Counter(row[0] for row in rows).most_common()
    parts = ', '.join(f'{count} × {name}' for name, count in counts)
    objects = '1 object' if len(rows) == 1 else f'{len(rows)} objects'
    return f'**{objects}**' + (f': {parts}' if parts else '')


def _files(
    painted: np.ndarray,
    image_hw: tuple[int, int],
    found: Any,
    rows: Sequence[Sequence],
) -> tuple[str, str]:
    """Write the painted image and the detections; their paths."""
    folder = Path(tempfile.mkdtemp(prefix='rfdetr_mm_'))
    picture, data = folder / 'detections.png', folder / 'detections.json'
    Image.fromarray(painted).save(picture)
    detections = [
        dict(
            class_name=row[0],
            class_id=label,
            score=round(score, 6),
            bbox_xyxy_px=[round(v, 3) for v in box],
        )
        for row, label, score, box in zip(
            rows,
            found.labels.tolist(),
            found.scores.tolist(),
            found.bboxes.tolist(),
        )
    ]
    if 'keypoints' in found:
        for detection, places, scores in zip(
            detections,
            found.keypoints.tolist(),
            found.keypoint_scores.tolist(),
        ):
            detection['keypoints_xy_px_score'] = [
                [round(x, 3), round(y, 3), round(score, 6)]
                for (x, y), score in zip(places, scores)
                if score > 0
            ]
    height, width = image_hw
    write_json(dict(height=height, width=width, detections=detections), data)
    return str(picture), str(data)


def build_page(page: Page, title: str, threshold: float) -> gradio.Blocks:
    """Lay out the page.

    Args:
        page: What it does.
        title: Name of the model.
        threshold: The slider's first value.
    """
    with gradio.Blocks(title=f'RF-DETR: {title}') as blocks:
        count = len(page.class_names)
        gradio.Markdown(
            f'# RF-DETR\n{title} · {count} classes · '
            'an image that you upload stays on this machine'
        )
        seen = gradio.State()
        with gradio.Row(equal_height=False):
            with gradio.Column(scale=2, min_width=280):
                image = gradio.Image(
                    label='Image',
                    sources=['upload', 'clipboard'],
                    height=260,
                    elem_id='upload',
                )
                slider = gradio.Slider(
                    MIN_SCORE,
                    1.0,
                    threshold,
                    step=0.01,
                    label='Threshold',
                    info='Only detections with a higher score',
                    elem_id='threshold',
                )
                classes = gradio.Dropdown(
                    page.class_names,
                    multiselect=True,
                    label='Classes',
                    info='All if none is chosen',
                    elem_id='classes',
                )
                with gradio.Row():
                    picture = gradio.DownloadButton(
                        'Save image',
                        elem_id='download-image',
                        variant='primary',
                        size='md',
                        min_width=120,
                    )
                    data = gradio.DownloadButton(
                        'Save JSON',
                        elem_id='download-json',
                        size='md',
                        min_width=120,
                    )
            with gradio.Column(scale=5, min_width=400):
                painted = gradio.Image(
                    label='Detections',
                    interactive=False,
                    format='png',
                    elem_id='painted',
                    buttons=['fullscreen'],
                )
                summary = gradio.Markdown('No image yet.', elem_id='summary')
                table = gradio.Dataframe(
                    headers=HEADERS,
                    interactive=False,
                    max_height=260,
                    elem_id='table',
                    label='In pixels',
                )
        outputs = [painted, summary, table, picture, data]
        controls = [seen, slider, classes]
        # One at a time: they share the model and its visualizer.
        turn = dict(concurrency_id='model', concurrency_limit=1)
        image.change(page.look, image, seen, **turn).then(
            page.show, controls, outputs, **turn
        )
        for control in (slider.change, classes.change):
            control(
                page.show,
                controls,
                outputs,
                trigger_mode='always_last',
                **turn,
            )
    return blocks


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_options(parser)
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='0.0.0.0 serves other machines too (default: 127.0.0.1)',
    )
    parser.add_argument(
        '--port',
        type=int,
        help='default: the first free one from 7860',
    )
    return parser.parse_args(argv)


def serve(args: argparse.Namespace, block: bool = True) -> gradio.Blocks:
    """Serve the page.

    Args:
        args: The parsed command line.
        block: Whether to stay until the program is stopped.
    """
    with errors_in_one_line():
        inferencer = build_inferencer(args, show_progress=False)
        page = Page(inferencer)
        title = Path(args.model).stem
        blocks = build_page(page, title, args.pred_score_thr)
        blocks.launch(
            server_name=args.host,
            server_port=args.port,
            share=False,
            prevent_thread_lock=not block,
            theme=gradio.themes.Soft(
                primary_hue='indigo', font=FONTS, font_mono=MONO_FONTS
            ),
            css=CSS,
            footer_links=[],
        )
    return blocks


if __name__ == '__main__':
    serve(parse_args())
