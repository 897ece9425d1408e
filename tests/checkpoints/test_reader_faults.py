"""Checkpoints, broken by a table and by chance, read as by ``info FILE``."""

import argparse
import codecs
import collections
import contextlib
import io
import json
import os
import pickle
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from rfdetr_mm.apis.command_line.info import about_checkpoint
from rfdetr_mm.checkpoints import (
    read_checkpoint,
    read_safetensors,
    to_mmdet_checkpoint,
    to_upstream_checkpoint,
)
from rfdetr_mm.errors import InputError
from tests.checkpoint_factory import (
    huggingface_dinov2_state_dict,
    upstream_state_dict,
)
from tests.faults import (
    REMOVED,
    Case,
    Target,
    changed,
    changed_bytes,
    changed_cases,
    draw_bytes,
    draw_change,
    fuzz,
    places,
    run_table,
    size_of_table,
)

WEIGHTS = upstream_state_dict()
ARGS = dict(
    class_names=['cat', 'dog', 'cow'],
    num_queries=5,
    resolution=64,
    encoder='dinov2_windowed_small',
)
UPSTREAM = dict(model=WEIGHTS, args=ARGS, epoch=3, ema_model=dict(WEIGHTS))
OURS = {
    **to_mmdet_checkpoint(dict(UPSTREAM))[0],
    'meta': dict(
        epoch=2,
        dataset_meta=dict(classes=('cat', 'dog', 'cow')),
        cfg='model = dict(type="RFDETR")',
    ),
}
# As Lightning saves it, with the average in the state of a callback.
LIGHTNING = dict(
    state_dict={f'model.{name}': value for name, value in WEIGHTS.items()},
    hyper_parameters=ARGS,
    callbacks=dict(
        progress=dict(steps=3),
        stopped=7,
        average=dict(
            average_model_state_dict={
                'n_averaged': torch.tensor(3),
                **{f'module.model.{k}': v for k, v in WEIGHTS.items()},
            }
        ),
    ),
)
TENSORS = {
    'tensor without numbers': torch.zeros(0),
    'tensor without axes': torch.tensor(1.0),
    'tensor of another shape': torch.zeros(3, 7),
    'tensor of many axes': torch.zeros(1, 1, 1, 1, 1, 1, 2),
    'whole numbers': torch.ones(4, 4, dtype=torch.int64),
    'complex numbers': torch.ones(4, 4, dtype=torch.complex64),
    'flags': torch.ones(4, 4, dtype=torch.bool),
    'tensor that is not finite': torch.full((4, 4), float('nan')),
    'array of numpy': np.zeros((4, 4)),
    'sparse tensor': torch.zeros(4, 4).to_sparse(),
}


class RunsCode:
    """Asks for a forbidden function when it is read."""

    def __reduce__(self):
        return os.getenv, ('HOME',)


class Spells:
    """Bytes in the way of protocol 2, in some encoding."""

    def __init__(self, encoding):
        self.encoding = encoding

    def __reduce__(self):
        return codecs.encode, ('ab', self.encoding)


class Asks:
    """Asks for an attribute, as mmengine's log does for its statistics."""

    def __init__(self, owner, name):
        self.owner = owner
        self.name = name

    def __reduce__(self):
        return getattr, (self.owner, self.name)


class HasState:
    """A class that is not known to the reader."""

    def __init__(self):
        self.value = 1


OBJECTS = {
    'code to run': RunsCode(),
    'unknown class': HasState(),
    'arguments': argparse.Namespace(class_names=['cat'], a=RunsCode()),
    'path': PurePosixPath('/nowhere'),
    'counter': collections.Counter('aab'),
    'default dict': collections.defaultdict(list, a=[1]),
    'number of numpy': np.float64(1),
    'array of texts': np.array(['a', 'b']),
    'array of objects': np.array([{}, None], dtype=object),
    'device': torch.device('cpu'),
    'type': torch.float32,
    'class': dict,
    'bytes': b'abc',
    'set': {1, 2},
    'size': torch.Size([1, 2]),
    'bytes of protocol 2': Spells('latin1'),
    'bytes in another encoding': Spells('rot13'),
    'statistic of a log': Asks(HistoryBuffer, 'mean'),
    'another attribute of a log': Asks(HistoryBuffer, '__init__'),
    'attribute of something else': Asks(dict, 'get'),
    'storage': torch.UntypedStorage,
    'layout': torch.strided,
}
STREAMS = {
    'a call of what is no function': b'ctorch\nfloat32\n)R.',
    'a new object of what is no class': b'ctorch\nfloat32\n)\x81.',
    'an end within a name': b'ctorch\nfloa',
    'an end within a module': b'ctor',
    'the state of a dict': b'}}b.',
    'the state of a class': b'ccollections\nOrderedDict\n}b.',
    'an old way to make objects': b'(i__main__\nA\n.',
    'an extension': b'\x82\x01.',
    'a stack without entries': b'R.',
    'a name from a mapping': b'ctorch.storage\nUntypedStorage\n.',
}


@dataclass(frozen=True)
class File:
    """A file's name and its bytes, or what is saved into it."""

    name: str
    content: Any
    is_zip: bool = True


def saved(content: Any, is_zip: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=is_zip)
    return file.getvalue()


def safetensors(header: Any, data: bytes = bytes(64)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(text)) + text + data


HEADER = dict(
    __metadata__=dict(format='pt'),
    a=dict(dtype='F32', shape=[2, 4], data_offsets=[0, 32]),
    b=dict(dtype='I64', shape=[], data_offsets=[32, 40]),
)


def run(folder, data):
    path = folder / data.name
    content = data.content
    if content is Ellipsis:
        path.mkdir()
        with pytest.raises(FileNotFoundError):
            read_checkpoint(folder / 'nothere.pth')
        read_checkpoint(path)
    if not isinstance(content, bytes):
        content = saved(content, data.is_zip)
    path.write_bytes(content)
    if path.suffix == '.safetensors':
        read_safetensors(path)
    about_checkpoint(str(path))
    found = read_checkpoint(path)
    for use_ema in (True, False):
        with contextlib.suppress(InputError):
            ours, _ = to_mmdet_checkpoint(found, use_ema=use_ema)
            to_upstream_checkpoint(ours)
            to_upstream_checkpoint(ours, ['cat', 'dog', 'cow'])


def short_places(content: Any) -> list:
    """Of the weights only some; their number adds nothing."""
    found = list(places(content))
    weights = [p for p in found if len(p) == 2 and '.' in str(p[1])]
    others = [p for p in found if p not in weights]
    return others + weights[:: len(weights) // 8]


def content_cases() -> Iterator[Case]:
    for title, content in (
        ('upstream', UPSTREAM),
        ('ours', OURS),
        ('Lightning', LIGHTNING),
    ):
        for place in short_places(content):
            name = f'{title}: {".".join(map(str, place))}'
            for kind, value in {**TENSORS, **OBJECTS}.items():
                data = changed(content, place, value)
                yield Case(kind, name, File('rf-detr-nano.pth', data))
            removed = changed(content, place, REMOVED)
            yield Case('removed', name, File('rf-detr-nano.pth', removed))
    plain = dict(model={}, args=ARGS, meta=OURS['meta'], epoch=1)
    for case in changed_cases(plain):
        if isinstance(case.data, dict) and case.data.get('model') == {}:
            weights = dict(case.data, model=WEIGHTS)
            data = File('rf-detr-nano.pth', weights)
            yield Case(f'arguments: {case.kind}', case.name, data)
        else:
            data = File('rf-detr-nano.pth', case.data)
            yield Case(f'weights: {case.kind}', case.name, data)


def whole_cases() -> Iterator[Case]:
    for name, value in (
        ('none', None),
        ('list', [1]),
        ('tensor', torch.zeros(3)),
        ('empty', {}),
        ('text', 'weights'),
        ('numbers as keys', {1: torch.zeros(1)}),
        ('texts as weights', {'a.weight': 'x'}),
        ('another network', {'conv.weight': torch.zeros(3, 3)}),
        ('a backbone', huggingface_dinov2_state_dict()),
        ('no dict of weights', {'state_dict': [1], 'meta': None}),
    ):
        for is_zip in (True, False):
            yield Case(f'whole: {name}', '', File('x.pth', value, is_zip))
    for kind, data in (
        ('a pickle', pickle.dumps({'a': 1})),
        ('a pickle without protocol', pickle.dumps({'a': 1}, protocol=0)),
        ('a pickle that runs code', pickle.dumps(RunsCode())),
    ):
        yield Case(kind, '', File('x.pth', data))
    for kind, data in STREAMS.items():
        yield Case(kind, '', File('x.pth', b'\x80\x02' + data))
    yield Case('a folder', '', File('x.pth', ...))
    program = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 1)), program)
    yield Case('a program', '', File('x.pth', program.getvalue()))


def safetensors_cases() -> Iterator[Case]:
    for case in changed_cases(HEADER):
        data = File('x.safetensors', safetensors(case.data))
        yield Case(f'safetensors: {case.kind}', case.name, data)
    nothing = dict(
        HEADER, c=dict(dtype='F16', shape=[0, 3], data_offsets=[40, 40])
    )
    outside = dict(
        HEADER, c=dict(dtype='U8', shape=[99], data_offsets=[0, 99])
    )
    for name, header in (('no numbers', nothing), ('outside', outside)):
        data = File('x.safetensors', safetensors(header))
        yield Case(f'safetensors: {name}', '', data)
    for header in (
        b'',
        b'{',
        b'[]',
        b'null',
        b'\xff',
        b'{"a": 1}',
        b'[' * 9999,
    ):
        data = File('x.safetensors', safetensors(header))
        yield Case('safetensors: header', repr(header)[:20], data)
    for case in changed_bytes(safetensors(HEADER), header=16):
        data = File('x.safetensors', case.data)
        yield Case(f'safetensors: {case.kind}', case.name, data)


def cases():
    yield Case('valid', 'upstream', File('rf-detr-nano.pth', UPSTREAM))
    yield Case('valid', 'ours', File('rf-detr-nano.pth', OURS))
    yield Case('valid', 'Lightning', File('rf-detr-nano.pth', LIGHTNING))
    yield from whole_cases()
    yield from content_cases()
    yield from safetensors_cases()
    for is_zip in (True, False):
        for case in changed_bytes(saved(OURS, is_zip), header=24):
            yield Case(case.kind, case.name, File('x.pth', case.data))


SMALL = dict(model=dict(list(WEIGHTS.items())[:9]), args=ARGS, epoch=1)


def draw(rng: random.Random) -> Case:
    how = rng.random()
    if how < 0.4:
        content = rng.choice((UPSTREAM, OURS, LIGHTNING))
        place = rng.choice(list(places(content)))
        kind, value = rng.choice(list({**TENSORS, **OBJECTS}.items()))
        data = File('rf-detr-nano.pth', changed(content, place, value))
        return Case(kind, '.'.join(map(str, place)), data)
    if how < 0.6:
        case = draw_change(dict(args=ARGS, meta=OURS['meta']), rng)
        data = File('rf-detr-nano.pth', dict(UPSTREAM, **case.data))
        return Case(f'arguments: {case.kind}', case.name, data)
    if how < 0.8:
        case = draw_change(HEADER, rng)
        data = File('x.safetensors', safetensors(case.data))
        return Case(f'safetensors: {case.kind}', case.name, data)
    case = draw_bytes(saved(SMALL, rng.random() < 0.5), rng)
    return Case(case.kind, case.name, File('x.pth', case.data))


TARGET = Target(
    'checkpoints',
    cases,
    draw,
    run,
    ('is not a readable checkpoint', 'is not a checkpoint but', 'is empty'),
    (
        'rfdetr_mm.checkpoints.reader',
        'rfdetr_mm.checkpoints.layouts',
        'rfdetr_mm.checkpoints.restricted_pickle',
    ),
)


def test_the_table(tmp_path):
    num_cases, num_kinds = size_of_table(TARGET)
    assert num_cases > 2500 and num_kinds > 100
    tally = run_table(TARGET, tmp_path, 300)
    assert tally.total == 300 and tally.accepted > 50
    print(tally)


@pytest.mark.fuzz
@pytest.mark.filterwarnings('ignore')
def test_fuzz(tmp_path, fuzz_minutes):
    fuzz(TARGET, tmp_path, fuzz_minutes, seed=3)
