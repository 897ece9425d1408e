"""Options of the command line, broken by a table and by chance."""

import argparse
import contextlib
import copy
import random

import pytest
from mmengine.config import Config

from rfdetr_mm.engine.config_options import (
    OptionAction,
    merge_options,
    read_options,
)
from rfdetr_mm.errors import InputError
from tests.faults import (
    Case,
    Target,
    draw_text,
    fuzz,
    run_table,
    size_of_table,
)

RESIZE = dict(type='RFDETRResize', scale=(64, 64))
PIPELINE = [dict(type='LoadImageFromFile'), RESIZE]
CONFIG = dict(
    model=dict(
        type='RFDETR',
        backbone=dict(
            type='WindowedDINOv2', img_size=64, patch_size=16, num_windows=2
        ),
        bbox_head=dict(type='RFDETRHead', num_queries=5, num_classes=2),
    ),
    train_dataloader=dict(
        batch_size=2,
        dataset=dict(
            type='NamedCocoDataset',
            data_root='data/',
            data_prefix=dict(img='data/images', other=['elsewhere/data']),
            pipeline=PIPELINE,
        ),
    ),
    val_dataloader=dict(
        dataset=dict(type='NamedCocoDataset', pipeline=PIPELINE)
    ),
    test_dataloader=dict(
        dataset=dict(type='NamedCocoDataset', pipeline=PIPELINE)
    ),
    test_pipeline=PIPELINE,
    val_evaluator=dict(type='NamedCocoMetric', ann_file='data/val.json'),
    image_w=64,  # a name within the file
    train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=3),
    optim_wrapper=dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=1e-4),
        clip_grad=dict(max_norm=0.1),
    ),
    data_root='data/',
    load_from=None,
)
VALID = (
    'model.bbox_head.num_queries=7',
    'train_dataloader.batch_size=1',
    'resolution=96',
    'resolution="(64,128)"',
    'load_from=a.pth',
    'optim_wrapper.optimizer.lr=0.01',
    'optim_wrapper.clip_grad=None',
    'test_pipeline.1.scale="(96,96)"',
    '+notes.x="[1,2,(3,4)]"',
    'train_cfg.max_epochs=1',
    'data_root=other',
    'model.bbox_head.type=RFDETRInsHead',
)
KEYS = {
    'empty key': ('', '+', '.', '..'),
    'empty part': ('model..x', '.model', 'model.', '+.model'),
    'entry of a number': ('train_cfg.max_epochs.x', 'data_root.x'),
    'entry of nothing': ('load_from.x', 'optim_wrapper.accumulative_counts.x'),
    'no such entry of a list': (
        'test_pipeline.9.scale',
        'test_pipeline.-1.scale',
        'test_pipeline.x',
        'test_pipeline',
        'test_pipeline.1',
    ),
    'name within the file': ('image_w', '+image_w'),
    'misspelled': ('modle.bbox_head', 'model.bbox_haed.num_queries', 'lr'),
    'other alphabet': ('modél.x', 'мodel.bbox_head.num_queries'),
    'key of Python': ('__class__', 'model.__dict__', 'model.keys', 'pop'),
    'very long key': ('.'.join('a' * 300), 'a' * 5000),
    'blank in the key': (' model.bbox_head.num_queries', 'a b'),
    'key of mmengine': ('_delete_', 'model._delete_', 'model._base_'),
}
VALUES = {
    'nothing': ('',),
    'text': ('x', '"x"', "'x'", 'ü', 'a b', '\t', '\n'),
    'number': ('0', '-1', '1e999', 'nan', '-inf', '0x10', '1_000', '٣', '007'),
    'number of a thousand digits': ('1' * 1000,),
    'number of 5000 digits': ('1' * 5000,),
    'flag': ('True', 'true', 'None', 'none', 'null'),
    'list': ('[]', '[1,2]', '[1,[2,3]]', '(1,2)', '()', '(1)', '[,]', '1,2'),
    'text before a list': ('6[1,2]', '=(1,2)', '[1,2(3,4)]'),
    'half a list': ('[', ']', '[1', '(1]', '[(1])', '[1,2', '1]', ')('),
    'mapping': ('{}', '{"a":1}', '{1', 'dict(a=1)'),
    'code': ('__import__("os")', '1+1', '$(true)', 'lambda:0', '{{_base_.x}}'),
    'equals signs': ('=', 'a=b', '=='),
    'deep nesting': ('[' * 200 + ']' * 200, '[' * 3000 + ']' * 3000),
    'quotes': ('"', "'", '"a', '\'"'),
    'path': ('../x', '/', '~', 'C:\\x', 'http://x', 'a\0b'),
    'long': ('x' * 10_000, ','.join('1' * 2000)),
}
SIZES = (
    *('0', '-64', '65', '64.0', '64.5', 'x', 'None', 'True', '[64]'),
    *('"(64,)"', '"(64,64,64)"', '"(64,x)"', '"(0,64)"', '1' * 400, '1e3'),
    *('nan', '"(64,96)"', '64,96', '[64,[64]]', '9' * 15, '""'),
)


def parse(data):
    """As the tools do; they end where it is no option."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.error = lambda message: raise_input_error(message)
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction)
    return parser.parse_args([f'--cfg-options={data[0]}']).cfg_options


def raise_input_error(message):
    raise InputError(message)


def run(folder, data):
    options = read_options(data)
    if len(data) == 1:
        try:
            assert repr(parse(data)) == repr(options)
        except InputError:
            # Its first character decides, which = does not hide.
            assert not options or data[0].startswith('-')
    unchanged = repr(CONFIG)
    for types in (None, {'optim_wrapper': 'AmpOptimWrapper'}):
        merge_options(Config(copy.deepcopy(CONFIG)), options, types)
    # Of Python, where groups may be given as they are.
    nested = {}
    for key, value in options.items():
        first, dot, rest = key.partition('.')
        nested[first] = {rest: value} if dot else value
    with contextlib.suppress(InputError):
        merge_options(Config(copy.deepcopy(CONFIG)), nested)
    moved = Config(copy.deepcopy(CONFIG))
    moved.data_root = 'nowhere'
    with contextlib.suppress(InputError):
        merge_options(moved, options)
    assert repr(CONFIG) == unchanged


def cases():
    for option in VALID:
        yield Case('valid', option, [option])
        key, _, value = option.partition('=')
        for kind, values in VALUES.items():
            for other in values:
                yield Case(kind, f'{key}={other:.30}', [f'{key}={other}'])
        for kind, keys in KEYS.items():
            for other in keys:
                yield Case(kind, f'{other:.30}={value}', [f'{other}={value}'])
    for size in SIZES:
        yield Case('size', size[:30], [f'resolution={size}'])
    for text in ('', '=', '==', '=1', 'x', 'model', '--x=1', '-', '\0=1'):
        yield Case('no option', repr(text), [text])
    for first in VALID:
        for second in VALID:
            yield Case('two options', f'{first} {second}', [first, second])
        yield Case('repeated', first, [first, first])
    yield Case('group and entry', '', ['model=None', 'model.type=x'])
    yield Case('entry and group', '', ['model.type=x', 'model=None'])


def draw(rng: random.Random) -> Case:
    option = rng.choice(VALID)
    if rng.random() < 0.5:
        case = draw_text(option, rng)
        return Case(case.kind, case.data[:60], [case.data])
    if rng.random() < 0.5:
        key = option.partition('=')[0]
        kind, values = rng.choice(list(VALUES.items()))
        other = f'{key}={rng.choice(values)}'
        return Case(kind, other[:60], [other, rng.choice(VALID)])
    key, _, value = option.partition('=')
    case = draw_text(key, rng)
    other = f'{case.data}={value}'
    return Case(f'key: {case.kind}', other[:60], [other])


TARGET = Target(
    'options',
    cases,
    draw,
    run,
    ('an option is written KEY=VALUE',),
    ('rfdetr_mm.engine.config_options', 'rfdetr_mm.sizes.blocks'),
)


def test_the_table(tmp_path):
    num_cases, num_kinds = size_of_table(TARGET)
    assert num_cases > 1000 and num_kinds > 30
    tally = run_table(TARGET, tmp_path, 600)
    assert tally.total == 600 and tally.accepted > 50
    print(tally)


@pytest.mark.fuzz
def test_fuzz(tmp_path, fuzz_minutes):
    fuzz(TARGET, tmp_path, fuzz_minutes, seed=4)
