"""Detections painted into videos."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import mmcv
import numpy as np
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample
from rich.progress import track

from rfdetr_mm.errors import InputError
from rfdetr_mm_light.scores import SCORE_THRESHOLD

# Four letters that name a codec which OpenCV's own build can write.
CODECS = {'.mp4': 'mp4v', '.m4v': 'mp4v', '.mov': 'mp4v', '.avi': 'XVID'}
_DEFAULT_FPS = 25.0  # where a video does not say


def annotate_video(
    inferencer: DetInferencer,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    pred_score_thr: float = SCORE_THRESHOLD,
    batch_size: int = 1,
    max_frames: int | None = None,
) -> int:
    """Paint what a model finds into every frame of a video.

    Frames are read, detected on and written one batch after the other, so
    that a video of any length fits into memory. What was written is complete
    when it is interrupted (Ctrl-C).

    Args:
        inferencer: The model; its ``show_progress`` shows a bar.
        source: A video file, the address of one or of a stream (``rtsp://``,
            ``http://``), or the number of a camera of this machine.
        target: A video file to write (``.mp4``, ``.m4v``, ``.mov`` or
            ``.avi``), without sound; a name with no suffix is a folder of
            frames, ``000000.jpg`` and so on. An existing one is replaced.
        pred_score_thr: Detections up to this score are not painted.
        batch_size: Frames that the model sees at a time; more than 1 delays
            what a camera shows.
        max_frames: Stop after so many; a camera does not end by itself.

    Returns:
        The number of frames.

    Raises:
        FileNotFoundError: If there is no such video.
        InputError: If it cannot be decoded, or the target's suffix is
            unknown or cannot be written.
    """
    target = Path(target)
    _check_suffix(target)
    if max_frames is not None and max_frames < 1:
        raise InputError(f'max_frames must be at least 1, got {max_frames}')
    number = 0
    with _open(source, max_frames) as video:
        write, close = _writer(target, video)
        try:
            for frame in _painted(
                inferencer, video, pred_score_thr, batch_size
            ):
                write(number, frame)
                number += 1
        finally:
            close()
    if number == 0:
        raise InputError(f'{source} has no frame that can be decoded.')
    return number


@dataclass
class _Video:
    """An open video.

    Args:
        frames: Its frames, (H, W, 3), BGR.
        number: How many there are; None if that is not known.
        fps: Frames in a second.
        resolution: (width, height) in pixels.
    """

    frames: Iterator[np.ndarray]
    number: int | None
    fps: float
    resolution: tuple[int, int]


@contextlib.contextmanager
def _open(
    source: str | os.PathLike[str], max_frames: int | None
) -> Iterator[_Video]:
    """Open a file, a stream or a camera, and close it in the end."""
    name = os.fspath(source)
    is_camera = name.isascii() and name.isdigit()
    if not is_camera and '://' not in name and not Path(name).exists():
        raise FileNotFoundError(f'There is no video {name}.')
    capture = cv2.VideoCapture(int(name) if is_camera else name)
    try:
        width = round(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if not capture.isOpened() or width < 1:
            raise InputError(_no_video(name, is_camera))
        count = round(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        number = count if count > 0 else max_frames
        if max_frames is not None:
            number = min(number, max_frames)
        fps = capture.get(cv2.CAP_PROP_FPS)
        yield _Video(
            itertools.islice(_frames(capture), max_frames),
            number,
            fps if fps > 0 else _DEFAULT_FPS,
            (width, height),
        )
    finally:
        capture.release()


def _no_video(name: str, is_camera: bool) -> str:
    if is_camera:
        return (
            f'Camera {name} of this machine cannot be opened. Cameras are '
            'numbered from 0; it may be in use, or not allowed.'
        )
    if '://' in name:
        return f'{name} cannot be opened as a video or a stream.'
    return (
        f'{name} cannot be decoded as a video. Convert it, for example by: '
        'ffmpeg -i IN -c:v libx264 OUT.mp4'
    )


def _frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    while True:
        is_read, frame = capture.read()
        if not is_read:
            return
        yield frame


def _check_suffix(target: Path) -> None:
    if target.suffix and target.suffix.lower() not in CODECS:
        raise InputError(
            f'{target} should end in {", ".join(CODECS)}, or have no suffix '
            'to be a folder of frames'
        )


def _painted(
    inferencer: DetInferencer,
    video: _Video,
    pred_score_thr: float,
    batch_size: int,
) -> Iterator[np.ndarray]:
    """Frames with detections, (H, W, 3), BGR."""
    frames = video.frames
    if inferencer.show_progress:
        frames = track(frames, description='Inference', total=video.number)
    for batch, data in inferencer.preprocess(frames, batch_size=batch_size):
        for frame, sample in zip(batch, inferencer.forward(data)):
            yield paint_frame(inferencer, frame, sample, pred_score_thr)


def paint_frame(
    inferencer: DetInferencer,
    frame: np.ndarray,
    sample: DetDataSample,
    pred_score_thr: float,
) -> np.ndarray:
    """Paint detections as mmdet does.

    Args:
        inferencer: Its visualizer paints.
        frame: (H, W, 3), BGR, 8 bits.
        sample: Its ``pred_instances`` are in pixels of the frame.
        pred_score_thr: Detections up to this score are left out.

    Returns:
        A new picture of the same kind.
    """
    visualizer = inferencer.visualizer
    visualizer.notes = False  # a video without objects needs none
    visualizer.add_datasample(
        'frame',
        np.ascontiguousarray(frame[..., ::-1]),
        sample,
        draw_gt=False,
        pred_score_thr=pred_score_thr,
    )
    return np.ascontiguousarray(visualizer.get_image()[..., ::-1])


def _writer(
    target: Path, video: _Video
) -> tuple[Callable[[int, np.ndarray], None], Callable[[], None]]:
    """How to write a numbered frame, and what to do in the end."""
    if not target.suffix:
        target.mkdir(parents=True, exist_ok=True)

        def write_file(number: int, frame: np.ndarray) -> None:
            mmcv.imwrite(frame, str(target / f'{number:06d}.jpg'))

        return write_file, lambda: None
    target.parent.mkdir(parents=True, exist_ok=True)
    codec = cv2.VideoWriter_fourcc(*CODECS[target.suffix.lower()])
    writer = cv2.VideoWriter(str(target), codec, video.fps, video.resolution)
    if not writer.isOpened():
        raise InputError(
            f'OpenCV cannot write the video {target}; give another folder or '
            'suffix, or a name without suffix to get a folder of frames'
        )
    return lambda number, frame: writer.write(frame), writer.release
