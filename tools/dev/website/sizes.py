"""Tables and the chart of the sizes, from the files that have the facts.

Sizes, parameters and licences stand in ``rfdetr_mm_light/sizes.csv``, what
upstream published in the metafiles, latency and memory in the measured table
of ``docs/benchmark.md``.
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import yaml
from pages import ROOT

CONFIGS = {
    'detection': 'rfdetr/rfdetr',
    'segmentation': 'rfdetr_seg/rfdetr-seg',
    'keypoint': 'rfdetr_pose/rfdetr-pose',
}
TASKS = {
    'detection': 'Boxes',
    'segmentation': 'Boxes and masks',
    'keypoint': 'Boxes and keypoints',
}
# First releases, which upstream's newer sizes replaced.
OLD = {('detection', 'base'), ('detection', 'large-deprecated')}
# A row such as | RF-DETR-Nano | 384 x 384 | 30.4 | 31.7 | 160 (158 to 163) |
# 60 % | 1241 |
MEASURED = re.compile(
    r'^\| RF-DETR-(?P<word>\w+) \| (?P<px>\d+) x \d+ \| [\d.]+ \| [\d.]+ '
    r'\| (?P<ms>[\d.]+) \([^)]*\) \| \d+ % \| (?P<mib>\d+) \|$',
    re.M,
)


@dataclass
class Size:
    """The facts of a size.

    Attributes:
        task: 'detection', 'segmentation' or 'keypoint'.
        word: Its word on the command line, such as 'nano'.
        title: Its name.
        image_px: Side of the square image in pixels.
        parameters_m: Parameters in millions, at COCO's classes.
        licence: Licence of the published weights.
        weights: Name of the published file.
        average_precision: AP that upstream published, in points, or None.
        latency_ms: Measured time of an image, or None.
        memory_mib: Measured peak memory of the process, or None.
    """

    task: str
    word: str
    title: str
    image_px: int
    parameters_m: float
    licence: str
    weights: str
    average_precision: float | None
    latency_ms: float | None
    memory_mib: int | None

    @property
    def name(self) -> str:
        """What ``--model`` takes."""
        prefix = {'segmentation': 'seg-', 'keypoint': 'keypoint-'}
        return prefix.get(self.task, '') + self.word

    @property
    def config(self) -> str:
        """Path of its config below ``configs``."""
        return f'{CONFIGS[self.task]}_{self.word}_coco.py'


def _published() -> dict[str, float]:
    """AP of each config that a metafile names, by the config's path."""
    found = {}
    for path in sorted((ROOT / 'configs').glob('*/metafile.yml')):
        for model in yaml.safe_load(path.read_text())['Models']:
            metrics = {
                name: value
                for result in model.get('Results', ())
                for name, value in result['Metrics'].items()
            }
            if metrics:
                # The last one is that of the task: boxes, then masks.
                found[model['Config']] = list(metrics.values())[-1]
    return found


def _measured() -> dict[tuple[str, int], tuple[float, int]]:
    text = (ROOT / 'docs' / 'benchmark.md').read_text()
    found = {
        (match['word'].lower(), int(match['px'])): (
            float(match['ms']),
            int(match['mib']),
        )
        for match in MEASURED.finditer(text)
    }
    if not found:
        raise ValueError(
            'docs/benchmark.md must have a table of measured times with rows '
            'such as "| RF-DETR-Nano | 384 x 384 | 30.4 | ...", found none'
        )
    return found


def read() -> list[Size]:
    """All sizes with published weights, in the order of the table."""
    published, measured = _published(), _measured()
    found = []
    with open(ROOT / 'rfdetr_mm_light' / 'sizes.csv', newline='') as file:
        for row in csv.DictReader(file):
            if not row['remote']:
                continue
            size = Size(
                task=row['task'],
                word=row['word'],
                title=row['title'],
                image_px=int(row['image_px']),
                parameters_m=float(row['parameters_m']),
                licence=row['licence'],
                weights=row['weights'],
                average_precision=None,
                latency_ms=None,
                memory_mib=None,
            )
            size.average_precision = published.get(f'configs/{size.config}')
            if size.task == 'detection':
                size.latency_ms, size.memory_mib = measured.get(
                    (size.word, size.image_px), (None, None)
                )
            found.append(size)
    return found


def _cell(value: float | None, form: str = '{}') -> str:
    return '–' if value is None else form.format(value)


def choice(sizes: list[Size]) -> str:
    """Chart and table of docs/choose_a_size.md, in Markdown."""
    lines = [
        f'![AP over milliseconds]({CHART})',
        '',
        '| `--model` | Finds | Image, px | Parameters, M | AP | ms | MiB '
        '| Licence |',
        '|---|---|---:|---:|---:|---:|---:|---|',
    ]
    for size in sizes:
        if (size.task, size.word) in OLD:
            continue
        lines.append(
            f'| `{size.name}` | {TASKS[size.task]} | {size.image_px} '
            f'| {size.parameters_m:.1f} | {_cell(size.average_precision)} '
            f'| {_cell(size.latency_ms, "{:.0f}")} '
            f'| {_cell(size.memory_mib)} | {size.licence} |'
        )
    return '\n'.join(lines)


def zoo(sizes: list[Size]) -> str:
    """The tables of docs/model_zoo.md, in Markdown."""
    parts = []
    for task, what in TASKS.items():
        lines = [
            f'## {what}',
            '',
            '| Config | Image, px | Parameters, M | AP | Weights | Licence |',
            '|---|---:|---:|---:|---|---|',
        ]
        for size in sizes:
            if size.task == task:
                lines.append(
                    f'| `configs/{size.config}` | {size.image_px} '
                    f'| {size.parameters_m:.2f} '
                    f'| {_cell(size.average_precision)} '
                    f'| `rfdetr://{size.weights}` | {size.licence} |'
                )
        parts.append('\n'.join(lines))
    return '\n\n'.join(parts)


def draw(sizes: list[Size], path: Path) -> None:
    """The chart: AP over the measured time of an image.

    Args:
        sizes: All sizes; those with both numbers are drawn.
        path: The SVG file to write.
    """
    import matplotlib

    matplotlib.use('svg')
    matplotlib.rcParams['svg.hashsalt'] = 'rfdetr_mm'
    from matplotlib import pyplot

    drawn = [s for s in sizes if s.latency_ms and s.average_precision]
    figure, axes = pyplot.subplots(figsize=(7, 4), layout='constrained')
    axes.plot(
        [s.latency_ms for s in drawn],
        [s.average_precision for s in drawn],
        color='#8a8fa3',
        linewidth=1,
        zorder=1,
    )
    axes.scatter(
        [s.latency_ms for s in drawn],
        [s.average_precision for s in drawn],
        s=[4 * s.parameters_m for s in drawn],
        color='#5b4bc4',
        zorder=2,
    )
    for size in drawn:
        axes.annotate(
            f'{size.word} ({size.image_px} px)',
            (size.latency_ms, size.average_precision),
            textcoords='offset points',
            xytext=(10, -14),
        )
    axes.set_xlabel('milliseconds per image, two CPU cores (measured here)')
    axes.set_ylabel('AP on COCO val2017 (published by upstream)')
    axes.set_xlim(0, 1.25 * max(s.latency_ms for s in drawn))
    axes.margins(y=0.2)
    axes.grid(alpha=0.3)
    figure.savefig(path, metadata={'Date': None})
    pyplot.close(figure)


CHART = 'images/sizes.svg'
MARKS = {
    'choose_a_size.md': ('<!-- site: table of sizes -->', choice),
    'model_zoo.md': ('<!-- site: model zoo -->', zoo),
}


def fill(source: Path) -> None:
    """Put tables and chart into the assembled pages.

    Args:
        source: Folder of the assembled pages.
    """
    sizes = read()
    for name, (mark, table) in MARKS.items():
        page = source / name
        text = page.read_text(encoding='utf-8')
        if text.count(mark) != 1:
            raise ValueError(f'{name} must have one line {mark}')
        page.write_text(text.replace(mark, table(sizes)), encoding='utf-8')
    (source / CHART).parent.mkdir(exist_ok=True)
    draw(sizes, source / CHART)
