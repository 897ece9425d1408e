"""What benchmark_runtime.py measures: files of both packages, images, AP."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import clone  # first: this clone's package and tools
import numpy as np

from rfdetr_runtime import load
from rfdetr_runtime.detection_files import to_record

OURS, INT8, THEIRS = 'rfdetr_mm fp32', 'rfdetr_mm int8', 'rfdetr'
SPLITS = ('val', 'test')


class Model:
    """Weights that both packages load under a class of the same name.

    Args:
        name: The class, such as 'RFDETRNano'.
        weights: The checkpoint.
        resolution: Side of the square in pixels.
        options: More arguments of both classes.
    """

    def __init__(
        self,
        name: str,
        weights: Path,
        resolution: int,
        options: dict[str, Any],
    ) -> None:
        self.name = name
        self.options = dict(
            pretrain_weights=str(weights.resolve()),
            resolution=resolution,
            device='cpu',
            **options,
        )

    def ours(self) -> Any:
        """The model of this package."""
        import rfdetr_mm.apis

        return getattr(rfdetr_mm.apis, self.name)(**self.options)

    def upstream(self) -> Any:
        """The model of rfdetr."""
        import rfdetr

        return getattr(rfdetr, self.name)(**self.options)

    def export_all(
        self, folder: Path, calibration: Sequence[Path]
    ) -> dict[str, Path]:
        """Write the files of both packages.

        Args:
            folder: Where they go.
            calibration: Images that calibrate int8.

        Returns:
            Files by name; rfdetr's is its OpenVINO export by its defaults.
            Those of an earlier run are taken as they are.
        """
        table = folder / 'files.json'
        if table.is_file():
            names = json.loads(table.read_text())
            return {name: folder / path for name, path in names.items()}
        model = self.ours()
        options = dict(output_dir=folder / 'ours', verbose=False)
        files = {
            OURS: model.export(format='openvino', **options),
            INT8: export_int8(model, folder / 'ours', calibration),
            'onnx': model.export(format='onnx', **options),
        }
        theirs = self.upstream().export(
            output_dir=str(folder / 'theirs'), format='openvino', verbose=False
        )
        files[THEIRS] = Path(theirs)
        names = {
            name: str(Path(path).resolve().relative_to(folder.resolve()))
            for name, path in files.items()
        }
        table.write_text(json.dumps(names))
        return files


def export_int8(model: Any, folder: Path, calibration: Sequence[Path]) -> Path:
    """Write an int8 file of OpenVINO.

    Args:
        model: A model of this package.
        folder: For the file.
        calibration: Images.

    Returns:
        The ``.xml`` file.
    """
    images = folder / 'calibration'
    link_all(calibration, images)
    return model.export(
        folder,
        format='openvino',
        quantization='int8',
        calibration_data=images,
        max_images=len(calibration),
        verbose=False,
    )


def link_all(files: Sequence[Path], folder: Path) -> list[Path]:
    """Fill a folder with links to files, numbered in their order."""
    folder.mkdir(parents=True)
    links = [folder / f'{i:05d}{file.suffix}' for i, file in enumerate(files)]
    for link, file in zip(links, files, strict=True):
        link.symlink_to(file.resolve())
    return links


def split_images(data: Path, split: str) -> list[dict[str, Any]]:
    """Images of a split's COCO file, with the ``path`` of each."""
    images = json.loads((data / f'{split}.json').read_text())['images']
    for image in images:
        places = (
            data / image['file_name'],
            data / 'images' / image['file_name'],
        )
        image['path'] = next(place for place in places if place.is_file())
    return images


def draw(data: Path, seed: int, count: int) -> list[Path]:
    """Draw images of the train split, none of them twice."""
    paths = sorted(image['path'] for image in split_images(data, 'train'))
    count = min(count, len(paths))
    chosen = np.random.default_rng(seed).permutation(len(paths))[:count]
    return [paths[i] for i in chosen]


def photographs(data: Path, folder: Path, count: int) -> list[Path]:
    """Fill a folder with so many photographs.

    Those of all splits come again, under other names, until there are enough.
    """
    paths = [
        image['path']
        for split in ('train', *SPLITS)
        for image in split_images(data, split)
    ]
    return link_all([paths[i % len(paths)] for i in range(count)], folder)


def environment_mb(extra: str, folder: Path) -> int:
    """Size of a new environment with one extra of this package, without pip.

    Args:
        extra: Such as 'onnx'.
        folder: For the environment.
    """
    source, env = folder / f'source-{extra}', folder / f'env-{extra}'
    source.mkdir()
    archive = subprocess.run(
        ['git', 'archive', 'HEAD'],
        cwd=clone.ROOT,
        check=True,
        capture_output=True,
    )
    subprocess.run(
        ['tar', 'x', '-C', source], input=archive.stdout, check=True
    )
    python = str(env / 'bin' / 'python')
    for command in (
        [sys.executable, '-m', 'venv', '--without-pip', env],
        [sys.executable, '-m', 'pip', '-q', '--python', python]
        + ['install', f'{source}[{extra}]'],
    ):
        subprocess.run(command, check=True, capture_output=True)
    done = subprocess.run(
        ['du', '-sm', env], check=True, capture_output=True, text=True
    )
    return int(done.stdout.split()[0])


def ap_of_draws(
    model: Model, data: Path, folder: Path, count: int, draws: int
) -> dict[str, dict[str, Any]]:
    """AP that int8 loses, for several draws of calibration images.

    Args:
        model: The weights.
        data: The data set.
        folder: For files.
        count: Images of a draw.
        draws: How many; their numbers are the seeds.

    Returns:
        'val', 'test' and 'val and test' together to ``fp32``, AP in points,
        and ``lost``, fp32 less int8, by draw.
    """
    live = model.ours()
    base = live.export(folder / 'base', format='openvino', verbose=False)
    reference = ap_points(base, data)
    result = {
        name: dict(fp32=value, lost=[]) for name, value in reference.items()
    }
    for seed in range(draws):
        file = export_int8(live, folder / f'{seed}', draw(data, seed, count))
        for name, value in ap_points(file, data).items():
            result[name]['lost'].append(reference[name] - value)
        print(f'draw {seed}: {result}', flush=True)
    return result


def ap_points(file: Path, data: Path) -> dict[str, float]:
    """AP of boxes in points, of each split and of all images together."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    model = load(file, side_by_side=len(os.sched_getaffinity(0)))
    union: dict[str, list] = dict(images=[], annotations=[], categories=[])
    results, ids = [], {}
    for split in SPLITS:
        content = json.loads((data / f'{split}.json').read_text())
        union['categories'] = content['categories']
        kinds = {kind['name']: kind['id'] for kind in content['categories']}
        images = split_images(data, split)
        found = model.predict_each([x['path'] for x in images], 0.0)
        numbers = {}
        for image, detections in zip(images, found, strict=True):
            number = len(union['images']) + 1
            numbers[image['id']] = number
            union['images'].append(
                dict(id=number, width=image['width'], height=image['height'])
            )
            results += to_results(number, detections, kinds)
        for truth in content['annotations']:
            number = len(union['annotations']) + 1
            place = numbers[truth['image_id']]
            union['annotations'].append(
                {**truth, 'id': number, 'image_id': place}
            )
        ids[split] = list(numbers.values())
    ids[' and '.join(SPLITS)] = [x for part in ids.values() for x in part]
    points = {}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = union
        truth.createIndex()
        predicted = truth.loadRes(results)
        for name, images in ids.items():
            evaluation = COCOeval(truth, predicted, 'bbox')
            evaluation.params.imgIds = images
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            points[name] = 100 * float(evaluation.stats[0])
    return points


def to_results(
    number: int, found: Any, kinds: dict[str, int]
) -> list[dict[str, Any]]:
    """Detections of an image as COCO's results."""
    results = []
    for one in to_record('', found)['detections']:
        x1, y1, x2, y2 = one['bbox_xyxy_px']
        results.append(
            dict(
                image_id=number,
                category_id=kinds[one['class_name']],
                bbox=[x1, y1, x2 - x1, y2 - y1],
                score=one['score'],
            )
        )
    return results
