import copy
import json
import math

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS

from rfdetr_mm.errors import InputError

CLASSES = ('disc', 'square', 'star')
IDS = (1, 2, 3)
HEIGHT, WIDTH = 60, 90


def canonical(num_images=12, per_image=4, seed=0) -> dict:
    """Boxes whose categories are written in the order of the labels."""
    rng = np.random.default_rng(seed)
    images = [
        dict(id=n, file_name=f'{n}.png', height=HEIGHT, width=WIDTH)
        for n in range(1, num_images + 1)
    ]
    annotations = []
    for image in images[1:]:  # the first one has no boxes
        for _ in range(per_image):
            w, h = rng.integers(8, 40, 2).tolist()
            x, y = rng.integers(0, (WIDTH - w, HEIGHT - h)).tolist()
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image['id'],
                    category_id=int(rng.choice(IDS, p=[0.5, 0.3, 0.2])),
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=int(rng.random() < 0.1),
                )
            )
    categories = [dict(id=i, name=name) for i, name in zip(IDS, CLASSES)]
    return dict(images=images, annotations=annotations, categories=categories)


def predictions(content: dict, seed=1) -> list[dict]:
    """Moved boxes with mostly right labels, worse from class to class."""
    rng = np.random.default_rng(seed)
    samples = []
    for image in content['images']:
        boxes, labels = [rng.random((1, 4)) * 20 + (0, 0, 30, 30)], [0]
        for annotation in content['annotations']:
            if annotation['image_id'] != image['id']:
                continue
            x, y, w, h = annotation['bbox']
            label = annotation['category_id'] - 1
            noise = rng.normal(0, 0.5 + 1.5 * label, 4)
            boxes.append([np.array([x, y, x + w, y + h]) + noise])
            is_right = rng.random() < 0.8
            labels.append(label if is_right else int(rng.integers(3)))
        samples.append(sample(image['id'], np.concatenate(boxes), labels, rng))
    return samples


def sample(image_id: int, boxes, labels, rng) -> dict:
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    return dict(
        img_id=image_id,
        ori_shape=(HEIGHT, WIDTH),
        pred_instances=dict(
            bboxes=torch.from_numpy(boxes),
            scores=torch.from_numpy(rng.random(len(boxes))),
            labels=torch.as_tensor(labels, dtype=torch.long),
        ),
    )


def without_detections(content: dict) -> list[dict]:
    rng = np.random.default_rng(0)
    return [sample(image['id'], [], [], rng) for image in content['images']]


def evaluate(folder, content, samples, classes=CLASSES, **options) -> dict:
    """Metrics of the samples against a file with this content."""
    given = dict(type='NamedCocoMetric', proposal_nums=(1, 10, 100))
    if content is not None:
        (folder / 'boxes.json').write_text(json.dumps(content))
        given['ann_file'] = str(folder / 'boxes.json')
    metric = METRICS.build({**given, **options})
    metric.dataset_meta = dict(classes=classes)
    metric.process({}, copy.deepcopy(samples))
    return metric.evaluate(len(samples))


def test_limits_without_100_are_refused(tmp_path):
    options = dict(proposal_nums=(1, 10, 500))
    with pytest.raises(InputError, match='1, 10, 500.*VernierCocoMetric'):
        evaluate(tmp_path, canonical(), [], **options)
    METRICS.build(dict(type='NamedCocoMetric', metric='proposal', **options))


def rewritten(content: dict, how: str) -> dict:
    """The same truth, written in another way."""
    content = copy.deepcopy(content)
    new = {i: i for i in IDS}
    if how == 'other order':
        content['categories'].reverse()
    elif how == 'other ids':
        new = {1: 40, 2: 7, 3: 20}
    elif how == 'more categories':
        content['categories'].insert(0, dict(id=0, name='unused'))
    elif how == 'ids from 0':
        new = {1: 0, 2: 1, 3: 2}
        for annotation in content['annotations']:
            annotation['id'] -= 1
    elif how == 'no areas':
        for annotation in content['annotations']:
            del annotation['area']
    elif how == 'another class':
        content['categories'].append(dict(id=9, name='other'))
        content['annotations'] += [
            dict(id=1000 + n, image_id=n, category_id=9, bbox=[1, 2, 30, 40])
            for n in (1, 2, 3)
        ]
    for category in content['categories']:
        category['id'] = new.get(category['id'], category['id'])
    for annotation in content['annotations']:
        old = annotation['category_id']
        annotation['category_id'] = new.get(old, old)
    return content


WAYS = [
    'other order',
    'other ids',
    'more categories',
    'ids from 0',
    'no areas',
    'another class',
]


@pytest.fixture(scope='module')
def truth():
    return canonical()


@pytest.fixture(scope='module')
def samples(truth):
    return predictions(truth)


@pytest.fixture(scope='module')
def expected(truth, samples, tmp_path_factory):
    """What mmdet's metric says where the order of the file is right."""
    folder = tmp_path_factory.mktemp('stock')
    return evaluate(folder, truth, samples, type='CocoMetric', classwise=True)


@pytest.mark.parametrize('how', ['nothing', *WAYS])
def test_the_values_do_not_depend_on_the_writing(
    tmp_path, truth, samples, expected, how
):
    content = rewritten(truth, how)
    found = evaluate(tmp_path, content, samples, classwise=True)
    assert found == pytest.approx(expected, nan_ok=True)
    values = [found[f'coco/{name}_precision'] for name in CLASSES]
    assert 0.05 < values[2] < values[1] < values[0] < 0.95


@pytest.mark.parametrize('how', ['other order', 'other ids'])
def test_the_stock_metric_depends_on_it(
    tmp_path, truth, samples, expected, how
):
    """A negative control: values or their names go wrong."""
    content = rewritten(truth, how)
    options = dict(type='CocoMetric', classwise=True)
    found = evaluate(tmp_path, content, samples, **options)
    assert found != pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize('order', [(2, 0, 1), (1, 2, 0)])
def test_the_order_of_the_classes_is_that_of_the_labels(
    tmp_path, truth, samples, expected, order
):
    samples = copy.deepcopy(samples)
    for one in samples:
        labels = one['pred_instances']['labels']
        one['pred_instances']['labels'] = torch.tensor(order).argsort()[labels]
    classes = tuple(CLASSES[i] for i in order)
    found = evaluate(tmp_path, truth, samples, classes, classwise=True)
    assert found == pytest.approx(expected, nan_ok=True)


def test_a_class_that_the_file_lacks_counts_nowhere(
    tmp_path, truth, samples, log_lines
):
    content = rewritten(truth, 'other ids')
    content['categories'] = [c for c in content['categories'] if c['id'] != 7]
    content['annotations'] = [
        a for a in content['annotations'] if a['category_id'] != 7
    ]
    found = evaluate(tmp_path, content, samples, classwise=True)
    all_found = evaluate(tmp_path, truth, samples, classwise=True)
    assert math.isnan(found.pop('coco/square_precision'))
    for name in ('disc', 'star'):
        key = f'coco/{name}_precision'
        assert found[key] == all_found[key]
    pair = found['coco/disc_precision'], found['coco/star_precision']
    assert found['coco/bbox_mAP'] == pytest.approx(np.mean(pair), abs=1e-3)
    warnings = [line for line in log_lines if 'no category for' in line]
    assert len(warnings) == 1 and '1 of 3 classes: square.' in warnings[0]


def test_later_evaluations_are_like_the_first(
    tmp_path, truth, samples, log_lines
):
    content = rewritten(truth, 'another class')
    (tmp_path / 'a.json').write_text(json.dumps(content))
    options = dict(ann_file=str(tmp_path / 'a.json'), classwise=True)
    metric = METRICS.build(dict(type='NamedCocoMetric', **options))
    metric.dataset_meta = dict(classes=CLASSES)
    values = []
    for _ in range(2):
        metric.process({}, samples)
        values.append(metric.evaluate(len(samples)))
    assert values[0] == values[1]
    assert len([line for line in log_lines if 'other (3)' in line]) == 1


def test_results_are_written_with_the_ids_of_the_file(
    tmp_path, truth, samples
):
    content = rewritten(truth, 'other ids')
    evaluate(
        tmp_path,
        content,
        samples,
        format_only=True,
        outfile_prefix=str(tmp_path / 'out'),
    )
    written = json.loads((tmp_path / 'out.bbox.json').read_text())
    ids = [result['category_id'] for result in written]
    labels = np.concatenate([s['pred_instances']['labels'] for s in samples])
    assert ids == [(40, 7, 20)[label] for label in labels]


def test_a_box_with_the_id_0_can_be_found(tmp_path):
    content = canonical(num_images=1)
    box = dict(id=0, image_id=1, category_id=1, bbox=[5, 5, 20, 30], area=600)
    content['annotations'] = [dict(box, iscrowd=0)]
    rng = np.random.default_rng(0)
    samples = [sample(1, [[5, 5, 25, 35]], [0], rng)]
    assert evaluate(tmp_path, content, samples)['coco/bbox_mAP'] == 1
    # pycocotools takes the id of a match for whether there is one.
    stock = evaluate(tmp_path, content, samples, type='CocoMetric')
    assert stock['coco/bbox_mAP'] == 0


UNMATCHABLE = [[5, 5, 0, 9], [5, 5, 9, -1], [WIDTH, 5, 9, 9], [5, -9, 9, 9]]


def test_boxes_that_nothing_can_match_are_left_out(
    tmp_path, truth, samples, expected, log_lines
):
    content = copy.deepcopy(truth)
    for n, bbox in enumerate(UNMATCHABLE):
        content['annotations'].insert(
            0, dict(id=500 + n, image_id=3, category_id=1, bbox=bbox)
        )
    found = evaluate(tmp_path, content, samples, classwise=True)
    assert found == pytest.approx(expected, nan_ok=True)
    (line,) = [line for line in log_lines if 'not evaluated' in line]
    assert f'boxes.json: 4 of {len(content["annotations"])} objects' in line
    assert '0 reach over its border' in line


def test_boxes_over_the_border_stay_as_they_are(tmp_path, log_lines):
    content = canonical(num_images=2, per_image=0)
    bbox = [-10, 5, 20, 20]
    content['annotations'] = [
        dict(id=1, image_id=2, category_id=1, bbox=bbox),
        dict(id=2, image_id=1, category_id=1, bbox=[0, 0, 9, 9]),
    ]
    rng = np.random.default_rng(0)
    samples = [
        sample(1, [[0, 0, 9, 9]], [0], rng),
        sample(2, [[-10, 5, 10, 25]], [0], rng),
    ]
    assert evaluate(tmp_path, content, samples)['coco/bbox_mAP'] == 1
    (line,) = [line for line in log_lines if 'border' in line]
    assert '0 of 2 objects are not evaluated' in line
    assert '1 reach over its border' in line


@pytest.mark.parametrize('bboxes', [[], UNMATCHABLE])
def test_a_file_without_boxes_is_an_error(tmp_path, truth, samples, bboxes):
    content = dict(truth, annotations=[])
    for n, bbox in enumerate(bboxes):
        content['annotations'].append(
            dict(id=n, image_id=3, category_id=1, bbox=bbox)
        )
    with pytest.raises(ValueError, match='boxes.json has no box to eval'):
        evaluate(tmp_path, content, samples)
    # The way out that the message names.
    out = str(tmp_path / 'out')
    evaluate(tmp_path, content, samples, format_only=True, outfile_prefix=out)
    assert (tmp_path / 'out.bbox.json').is_file()


def test_a_bad_file_is_an_error_of_the_constructor(tmp_path, truth):
    content = copy.deepcopy(truth)
    content['annotations'][3]['bbox'] = [1, 2, 3]
    (tmp_path / 'bad.json').write_text(json.dumps(content))
    options = dict(ann_file=str(tmp_path / 'bad.json'))
    with pytest.raises(ValueError, match=r'bad.json.*annotations\[3\].bbox'):
        METRICS.build(dict(type='NamedCocoMetric', **options))


def test_misspelled_classes_are_an_error(tmp_path, truth, samples):
    with pytest.raises(ValueError, match='misspelled') as error:
        evaluate(tmp_path, truth, samples, classes=('disc', 'Square', 'star'))
    assert "'Square' (closest in the file: 'square')" in str(error.value)


def test_other_images_are_an_error(tmp_path, truth, samples):
    samples = copy.deepcopy(samples)
    samples[2]['img_id'] = 77
    with pytest.raises(ValueError, match=r'ids \[77\].*\(1 of 12 images'):
        evaluate(tmp_path, truth, samples)


def test_images_that_were_not_tested_are_counted(
    tmp_path, truth, samples, log_lines
):
    evaluate(tmp_path, truth, samples[:5])
    (line,) = [line for line in log_lines if 'not tested' in line]
    assert line.startswith('7 of 12 images')


KEYS = [f'coco/bbox_mAP{end}' for end in ('', '_50', '_75', '_m')]


def test_no_detection_at_all_is_an_ap_of_zero(tmp_path, truth):
    empty = without_detections(truth)
    found = evaluate(tmp_path, truth, empty, classwise=True)
    names = [f'coco/{name}_precision' for name in CLASSES]
    assert {found[key] for key in KEYS + names} == {0}
    # mmdet gives no value.
    assert evaluate(tmp_path, truth, empty, type='CocoMetric') == {}


def with_instances(content: dict, samples: list[dict]) -> list[dict]:
    """Samples that carry the truth, as the data loader gives it."""
    samples = copy.deepcopy(samples)
    for one in samples:
        one['instances'] = [
            dict(
                bbox=[x, y, x + w, y + h],
                bbox_label=a['category_id'] - 1,
                ignore_flag=a['iscrowd'],
            )
            for a in content['annotations']
            if a['image_id'] == one['img_id']
            for x, y, w, h in [a['bbox']]
        ]
    return samples


def test_the_truth_may_come_from_the_loader(
    tmp_path, truth, samples, expected
):
    loaded = with_instances(truth, samples)
    found = evaluate(tmp_path, None, loaded, classwise=True)
    assert found == pytest.approx(expected, nan_ok=True)
    empty = with_instances(truth, without_detections(truth))
    found = evaluate(tmp_path, None, empty)
    assert {found[key] for key in KEYS} == {0}


def test_masks_are_evaluated_as_before(tmp_path, truth, samples):
    content = copy.deepcopy(truth)
    for annotation in content['annotations']:
        x, y, w, h = annotation['bbox']
        corners = [x, y, x + w, y, x + w, y + h, x, y + h]
        annotation['segmentation'] = [corners]
    samples = copy.deepcopy(samples)
    for one in samples:
        masks = torch.zeros(
            len(one['pred_instances']['labels']), HEIGHT, WIDTH
        )
        for mask, box in zip(masks, one['pred_instances']['bboxes'].round()):
            x1, y1, x2, y2 = box.clamp(min=0).int().tolist()
            mask[y1:y2, x1:x2] = 1
        one['pred_instances']['masks'] = masks.bool()
    options = dict(metric=['bbox', 'segm'])
    stock = evaluate(tmp_path, content, samples, type='CocoMetric', **options)
    other = rewritten(content, 'other ids')
    assert evaluate(tmp_path, other, samples, **options) == stock
    assert stock['coco/segm_mAP'] > 0.2


def spoiled(content: dict, samples: list[dict], what: str) -> list[dict]:
    """Samples with a detection in each that is not finite, on an object."""
    samples = copy.deepcopy(samples)
    for one in samples:
        found = one['pred_instances']
        boxes = [
            [x, y, x + w, y + h]
            for (x, y, w, h), image in (
                (a['bbox'], a['image_id']) for a in content['annotations']
            )
            if image == one['img_id']
        ][:1] or [[1, 2, 30, 40]]
        box, score = torch.tensor(boxes), torch.ones(1, dtype=torch.float64)
        if what == 'score':
            score[0] = float('nan')
        else:
            box = box.float()
            box[0, 2] = float(what)
        found['bboxes'] = torch.cat([found['bboxes'], box.float()])
        found['scores'] = torch.cat([found['scores'], score])
        found['labels'] = torch.cat([found['labels'], torch.tensor([0])])
    return samples


EVALUATORS = ['NamedCocoMetric', 'VernierCocoMetric']


@pytest.mark.parametrize('kind', EVALUATORS)
@pytest.mark.parametrize('what', ['nan', 'inf', 'score'])
def test_detections_that_are_not_finite_never_match(
    tmp_path, log_lines, kind, what
):
    if kind == 'VernierCocoMetric':
        pytest.importorskip('vernier', reason='vernier is not installed')
    content = canonical()
    samples = predictions(content)
    clean = evaluate(tmp_path, content, samples, type=kind)
    bad = spoiled(content, samples, what)
    found = evaluate(tmp_path, content, bad, type=kind)
    assert found.pop('coco/non_finite') == len(samples)
    assert found == clean and 'coco/non_finite' not in clean
    assert any(f'{len(samples)} detections with a' in s for s in log_lines)


@pytest.mark.parametrize('kind', EVALUATORS)
def test_ten_boxes_of_nan_find_nothing(tmp_path, kind):
    if kind == 'VernierCocoMetric':
        pytest.importorskip('vernier', reason='vernier is not installed')
    content = canonical()
    rng = np.random.default_rng(0)
    samples = [
        sample(image['id'], np.full((10, 4), np.nan), [0] * 10, rng)
        for image in content['images']
    ]
    found = evaluate(tmp_path, content, samples, type=kind)
    assert found['coco/bbox_mAP'] == 0
    assert found['coco/non_finite'] == 10 * len(samples)


def test_labels_of_no_detections_may_be_floats(tmp_path):
    """As a detector without detections in an image may give them."""
    content = canonical()
    samples = predictions(content)
    nothing = samples[0]['pred_instances']
    nothing['bboxes'] = torch.zeros(0, 4)
    nothing['scores'] = torch.zeros(0, dtype=torch.float64)
    nothing['labels'] = torch.zeros(0, dtype=torch.long)
    expected = evaluate(tmp_path, content, samples)
    nothing['labels'] = torch.zeros(0, dtype=torch.float64)
    nothing['bboxes'] = torch.zeros(0)
    assert evaluate(tmp_path, content, samples) == expected


def test_crowds_may_be_taken_for_objects(tmp_path):
    content = canonical()
    for annotation in content['annotations']:
        annotation['iscrowd'] = 0
    samples = predictions(content)
    expected = evaluate(tmp_path, content, samples)
    for annotation in content['annotations'][::2]:
        annotation['iscrowd'] = 1
    found = evaluate(tmp_path, content, samples, crowd_as_object=True)
    assert found == expected != evaluate(tmp_path, content, samples)


def test_sizes_of_images_may_be_unknown(tmp_path):
    content = canonical()
    samples = predictions(content)
    expected = evaluate(tmp_path, content, samples)
    for image in content['images'][::2]:
        image.update(height=None, width=None)
    assert evaluate(tmp_path, content, samples) == expected


def test_no_truth_in_the_loader_is_an_error(tmp_path):
    samples = predictions(canonical())
    for one in samples:
        one['instances'] = []
    with pytest.raises(InputError, match='no box to evaluate .* 12 images'):
        evaluate(tmp_path, None, samples)
