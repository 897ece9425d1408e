import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
from mmcv import VideoReader
from mmdet.apis import DetInferencer

import rfdetr_mm.apis.video as video_module
from rfdetr_mm.apis import RFDETRInferencer
from rfdetr_mm.apis.video import annotate_video
from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.config_facts import set_image_size
from tests.apis.test_sliced_inferencer import red_things
from tests.data_factory import write_coco
from tests.tiny_config import tiny_config

NUM_FRAMES = 7
HW = (96, 160)
SIDE = 40  # px, of the red box


def left_of(number):
    """Where the box is in a frame, px."""
    return 8 * number


def write_clip(path, num_frames=NUM_FRAMES):
    """A red box that wanders to the right over grey ground."""
    codec = cv2.VideoWriter_fourcc(*'mp4v')
    writer = cv2.VideoWriter(str(path), codec, 10, HW[::-1])
    for number in range(num_frames):
        frame = np.full((*HW, 3), 128, np.uint8)
        left = left_of(number)
        frame[40 : 40 + SIDE, left : left + SIDE] = (20, 10, 250)
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture(scope='module')
def inferencer(tmp_path_factory):
    root = write_coco(tmp_path_factory.mktemp('data') / 'set', [(60, 90)])
    cfg = tiny_config(root)
    set_image_size(cfg, HW)
    return RFDETRInferencer(cfg, device='cpu', show_progress=False)


@pytest.fixture
def batches(monkeypatch):
    """Numbers of frames that an ideal detector of red things has seen."""
    seen = []

    def forward(self, batch, **kwargs):
        seen.append(len(batch['inputs']))
        found = red_things(batch)
        for sample in found:
            del sample.pred_instances.masks
        return found

    monkeypatch.setattr(DetInferencer, 'forward', forward)
    return seen


def painted_columns(before, after):
    """Left and right end of what has changed, px; more than a codec does."""
    change = np.abs(after.astype(int) - before.astype(int)).max(2)
    columns = np.flatnonzero((change > 110).any(0))
    return (columns[0], columns[-1]) if len(columns) else None


@pytest.mark.parametrize(
    'name, batch_size, expected',
    [
        ('out/clip.mp4', 1, [1] * 7),
        ('out/clip.avi', 3, [3, 3, 1]),
        ('out/frames', 4, [4, 3]),
    ],
)
def test_every_frame_is_painted(
    inferencer, batches, tmp_path, name, batch_size, expected
):
    source = write_clip(tmp_path / 'in.mp4')
    target = tmp_path / name
    number = annotate_video(inferencer, source, target, batch_size=batch_size)
    assert number == NUM_FRAMES and batches == expected
    if target.is_dir():
        names = sorted(path.name for path in target.iterdir())
        assert names == [f'{i:06d}.jpg' for i in range(NUM_FRAMES)]
        frames = [cv2.imread(str(target / name)) for name in names]
    else:
        video = VideoReader(str(target))
        assert video.fps == 10
        frames = list(video)
    assert len(frames) == NUM_FRAMES
    for i, (before, frame) in enumerate(zip(VideoReader(str(source)), frames)):
        assert frame.shape == (*HW, 3)
        left, _ = painted_columns(before, frame)
        assert abs(left - left_of(i)) < 8, i
        centre = frame[72, left_of(i) + SIDE - 8].astype(int)
        assert centre[2] > centre[0] + 50  # red stays red


def test_a_high_threshold_paints_nothing(inferencer, batches, tmp_path):
    source = write_clip(tmp_path / 'in.mp4', num_frames=2)
    annotate_video(inferencer, source, tmp_path / 'out', pred_score_thr=0.95)
    frame = cv2.imread(str(tmp_path / 'out' / '000001.jpg'))
    before = list(VideoReader(str(source)))[1]
    assert painted_columns(before, frame) is None


@pytest.mark.parametrize(
    'source, target, error, message',
    [
        ('gone.mp4', 'out.mp4', FileNotFoundError, 'gone.mp4'),
        ('text.mp4', 'out.mp4', InputError, 'cannot be decoded'),
        ('in.mp4', 'out.gif', InputError, 'out.gif should end in .mp4'),
    ],
)
def test_bad_files(inferencer, tmp_path, source, target, error, message):
    write_clip(tmp_path / 'in.mp4', num_frames=1)
    (tmp_path / 'text.mp4').write_text('no video')
    with pytest.raises(error, match=message):
        annotate_video(inferencer, tmp_path / source, tmp_path / target)
    assert not (tmp_path / target).exists()


@pytest.fixture
def stream(tmp_path):
    """An address of this machine that sends frames one by one, as cameras."""
    clip = list(VideoReader(str(write_clip(tmp_path / 'stream.mp4'))))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header(
                'Content-Type', 'multipart/x-mixed-replace; boundary=frame'
            )
            self.end_headers()
            for frame in clip:
                data = cv2.imencode('.jpg', frame)[1].tobytes()
                head = f'Content-Length: {len(data)}\r\n\r\n'
                self.wfile.write(
                    b'--frame\r\nContent-Type: image/jpeg\r\n'
                    + head.encode()
                    + data
                    + b'\r\n'
                )

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}/camera.mjpg'
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_stream(inferencer, batches, tmp_path, stream):
    """It has no number of frames."""
    number = annotate_video(inferencer, stream, tmp_path / 'out', batch_size=3)
    assert number == len(list((tmp_path / 'out').iterdir())) == sum(batches)
    assert NUM_FRAMES - 1 <= number <= NUM_FRAMES  # the last may be cut off


@pytest.fixture
def camera(tmp_path, monkeypatch):
    """Number 3 is a camera that never ends; there is no other."""
    clip = str(write_clip(tmp_path / 'camera.mp4'))

    class Camera:
        def __init__(self, source):
            assert isinstance(source, int)
            self.is_there = source == 3
            self.video = capture(clip)

        def isOpened(self):
            return self.is_there

        def get(self, what):
            known = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
            return self.video.get(what) if what in known else -1.0

        def read(self):
            is_read, frame = self.video.read()
            if not is_read:
                self.video = capture(clip)
                return self.read()
            return is_read, frame

        def release(self):
            self.video.release()

    capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, 'VideoCapture', Camera)
    yield capture


def test_a_camera(inferencer, batches, tmp_path, camera):
    target = tmp_path / 'out.mp4'
    number = annotate_video(inferencer, '3', target, max_frames=9)
    assert number == 9
    video = camera(str(target))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 9
    assert video.get(cv2.CAP_PROP_FPS) == 25  # the camera does not say
    with pytest.raises(InputError, match='Camera 0 of this machine'):
        annotate_video(inferencer, '0', tmp_path / 'other.mp4')
    with pytest.raises(InputError, match='max_frames must be at least 1'):
        annotate_video(inferencer, '3', target, max_frames=0)


def test_an_interrupted_video_is_complete(
    inferencer, batches, tmp_path, camera, monkeypatch
):
    """Ctrl-C at the fifth frame of a camera leaves four."""
    target = tmp_path / 'out.avi'
    paint = video_module.paint_frame
    painted = []

    def interrupted(*args):
        painted.append(args)
        if len(painted) == 5:
            raise KeyboardInterrupt
        return paint(*args)

    monkeypatch.setattr(video_module, 'paint_frame', interrupted)
    with pytest.raises(KeyboardInterrupt):
        annotate_video(inferencer, '3', target)
    video = camera(str(target))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    assert sum(video.read()[0] for _ in range(6)) == 4


def test_an_address_that_is_no_video(inferencer, tmp_path):
    with pytest.raises(InputError, match='as a video or a stream'):
        annotate_video(
            inferencer, 'http://127.0.0.1:9/camera.mjpg', tmp_path / 'out.mp4'
        )
