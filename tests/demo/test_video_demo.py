import cv2
import numpy as np
import pytest


@pytest.fixture
def clip(tmp_path):
    rng = np.random.default_rng(0)
    codec = cv2.VideoWriter_fourcc(*'mp4v')
    writer = cv2.VideoWriter(str(tmp_path / 'in.mp4'), codec, 5, (96, 64))
    for _ in range(3):
        writer.write(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8))
    writer.release()
    return str(tmp_path / 'in.mp4')


def test_a_video(demo, tiny, clip, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    number = demo('video_demo').main(
        [clip, tiny.mask[0], '--weights', tiny.mask[1], '--batch-size', '2']
    )
    assert number == 3
    video = cv2.VideoCapture('outputs/in.mp4')
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    printed = capsys.readouterr().out
    assert '3 frames, painted in outputs/in.mp4' in printed
    assert '100%' in printed  # the bar


def test_frames(demo, tiny, clip, tmp_path):
    demo('video_demo').main([clip, tiny.box[1], '--out', f'{tmp_path}/out'])
    assert len(list((tmp_path / 'out').glob('*.jpg'))) == 3


def test_a_missing_video_is_one_line(demo, tiny):
    with pytest.raises(SystemExit, match='video_demo.py: error: .*gone.mp4'):
        demo('video_demo').main(['gone.mp4', tiny.box[1]])
