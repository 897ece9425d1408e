import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def large(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (100, 140, 3), dtype=np.uint8)
    path = tmp_path / 'large.png'
    Image.fromarray(pixels).save(path)
    return str(path)


@pytest.mark.parametrize('kind', ['box', 'mask'])
def test_slices(demo, tiny, large, tmp_path, kind):
    config, weights = getattr(tiny, kind)
    (found,) = demo('large_image_demo').main(
        [
            *(large, config, '--weights', weights, '--device', 'cpu'),
            *('--patch-size', '64', '80', '--batch-size', '3'),
            *('--out-dir', str(tmp_path / 'out'), '--whole-image'),
            *('--pred-score-thr', '0'),
        ]
    )
    assert len(found['scores']) > 10  # more than one slice gives
    assert np.max(found['bboxes'], 0)[2] > 100
    written = json.loads((tmp_path / 'out/preds/large.json').read_text())
    assert written == found
    assert (tmp_path / 'out/vis/large.png').is_file()
    if kind == 'mask':
        assert found['masks'][0]['size'] == [100, 140]


@pytest.mark.parametrize(
    'options, code',
    [
        (['--patch-size', '0'], 'large_image_demo.py: error: the size of sl'),
        (['--patch-overlap-ratio', '1'], 'large_image_demo.py: error: the ov'),
        (['--patch-size', '1', '2', '3'], 2),
    ],
)
def test_bad_options(demo, tiny, large, options, code):
    with pytest.raises(SystemExit) as stopped:
        demo('large_image_demo').main([large, tiny.box[1], *options])
    assert stopped.value.code == code or code in str(stopped.value.code)
