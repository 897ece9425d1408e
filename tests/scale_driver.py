"""A program that predicts on a Ray of its own; tests kill it."""

import sys

from ray_session import start
from slow_model import SlowLoader

from rfdetr_runtime.scale import predict_on_ray

if __name__ == '__main__':
    photos, out, model = sys.argv[1:]
    start()
    predict_on_ray(
        photos,
        out,
        SlowLoader(model),
        threshold=0.3,
        batch_size=2,
        rows_per_part=6,
        progress=lambda done, total: print(done, flush=True),
    )
