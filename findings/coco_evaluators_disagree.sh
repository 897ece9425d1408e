#!/usr/bin/env bash
# pycocotools 2.0.11, faster-coco-eval 1.8.0, hotcoco 1.3.0, vernier 0.5.4 (its
# drop-in COCOeval), numpy 2.4.6, seen on 2026-11-30.
#
# Four evaluators that all promise COCO's numbers, one image, one box found
# perfectly. They agree on ordinary input and differ on three corners:
#
#                                   pycocotools  faster  hotcoco  vernier
#   annotation id 0                      0.0      0.0      1.0      1.0
#   maxDets [1, 10, 300]: AP            -1.0      1.0      1.0     -1.0
#   a detection of a category that
#   does not exist, useCats=0            0.0      0.0      0.0      1.0
#
# So a record of one evaluator is not one of another, and which is "right"
# differs by row.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/python" -m pip install -q numpy==2.4.6 pycocotools==2.0.11 \
  faster-coco-eval==1.8.0 hotcoco==1.3.0 vernier==0.5.4
cat > "$work/run.py" <<'P'
import contextlib
import importlib
import io
import json
import sys
import tempfile

SIDES = {
    'pycocotools': ('pycocotools.coco:COCO', 'pycocotools.cocoeval:COCOeval'),
    'faster': ('faster_coco_eval:COCO', 'faster_coco_eval:COCOeval_faster'),
    'hotcoco': ('hotcoco:COCO', 'hotcoco:COCOeval'),
    'vernier': ('pycocotools.coco:COCO', 'vernier:COCOeval'),
}
EXPECTED = {
    'ordinary': [1.0, 1.0, 1.0, 1.0],
    'id 0': [0.0, 0.0, 1.0, 1.0],
    'maxDets': [-1.0, 1.0, 1.0, -1.0],
    'useCats=0': [0.0, 0.0, 0.0, 1.0],
}


def find(name):
    module, _, attribute = name.partition(':')
    return getattr(importlib.import_module(module), attribute)


def ap(side, annotation_id=1, max_dets=None, category=1, use_cats=1):
    coco_class, eval_class = [find(name) for name in SIDES[side]]
    truth = dict(
        images=[dict(id=1, width=100, height=100, file_name='a.png')],
        categories=[dict(id=1, name='thing')],
        annotations=[
            dict(id=annotation_id, image_id=1, category_id=1, iscrowd=0,
                 bbox=[10, 10, 20, 20], area=400)
        ],
    )
    found = [dict(image_id=1, category_id=category, score=0.9,
                  bbox=[10, 10, 20, 20])]
    with tempfile.NamedTemporaryFile('w', suffix='.json') as file:
        json.dump(truth, file)
        file.flush()
        coco = coco_class(file.name)
    result = coco.loadRes(found)
    run = eval_class(coco, result, 'bbox')
    run.params.useCats = use_cats
    if max_dets:
        run.params.maxDets = max_dets
    run.evaluate()
    run.accumulate()
    run.summarize()
    return float(run.stats[0])


def row(**options):
    values = []
    for side in SIDES:
        with contextlib.redirect_stdout(io.StringIO()):
            values.append(round(ap(side, **options), 4))
    return values


seen = {
    'ordinary': row(),
    'id 0': row(annotation_id=0),
    'maxDets': row(max_dets=[1, 10, 300]),
    'useCats=0': row(category=2, use_cats=0),
}
for name, values in seen.items():
    print(f'{name:<10}', dict(zip(SIDES, values)))
changed = [n for n in EXPECTED if seen[n] != EXPECTED[n]]
sys.exit(f'changed: {changed}' if changed else 0)
P
"$work/env/bin/python" -W ignore "$work/run.py"
