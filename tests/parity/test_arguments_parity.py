"""Every argument of rfdetr 1.11.2 is taken, or has its reason in a table.

A new field or parameter of rfdetr makes these tests fail.
"""

import dataclasses
import inspect
import os
import re
from pathlib import Path

import pytest

os.environ.setdefault('HF_HUB_OFFLINE', '1')
pytest.importorskip('rfdetr', reason='the parity oracle is not installed')

import rfdetr
from rfdetr import config as upstream
from rfdetr.assets import coco_classes
from rfdetr.inference import ModelContext as TheirContext

from rfdetr_mm import apis
from rfdetr_mm.apis import RFDETR, ModelContext
from rfdetr_mm.apis.elsewhere import DEPRECATED, ELSEWHERE
from rfdetr_mm.apis.fixed_fields import FIXED
from rfdetr_mm.apis.model_config import ModelConfig, make_model_config
from rfdetr_mm.apis.train_config import TrainConfig, make_train_config
from rfdetr_mm.errors import InputError
from rfdetr_mm_light.sizes import SIZES

pytestmark = pytest.mark.parity

DOCS = Path(__file__).parents[2] / 'docs/coming_from_rfdetr.md'
TRAIN_CONFIGS = (
    upstream.TrainConfig,
    upstream.SegmentationTrainConfig,
    upstream.KeypointTrainConfig,
)
# Differences that are wanted: method, parameter.
ONLY_THERE: set[tuple[str, str]] = set()
METHODS = (
    *('__init__', 'from_checkpoint', 'train', 'evaluate', 'predict'),
    *('inference', 'remove_optimized_model', 'export', 'get_model'),
    *('get_model_config', 'get_train_config', 'deploy_to_roboflow'),
    *('export_for_roboflow', 'maybe_download_pretrain_weights'),
)


def own_fields(kind):
    return {field.name for field in dataclasses.fields(kind)}


def test_every_field_of_a_model_is_taken():
    assert set(upstream.ModelConfig.model_fields) <= own_fields(ModelConfig)


def test_every_argument_of_a_training_is_taken_or_has_its_place():
    theirs = {name for kind in TRAIN_CONFIGS for name in kind.model_fields}
    known = own_fields(TrainConfig) | {*ELSEWHERE, *DEPRECATED}
    assert theirs <= known
    # What is left in the tables is there for a reason.
    old = {'callbacks', 'start_epoch', 'do_benchmark', 'num_classes'}
    assert {*ELSEWHERE, *DEPRECATED} - theirs <= old


def test_defaults_of_rfdetr_can_be_spelled_out():
    """Those that do nothing else; others are different by intention."""
    for name, (values, _) in ELSEWHERE.items():
        field = upstream.TrainConfig.model_fields.get(name)
        if field is not None:
            assert field.default in values, name
            make_train_config({name: field.default}, 'train()')


@pytest.mark.parametrize('name', sorted(ELSEWHERE))
def test_other_values_are_errors_that_say_where_to_go(name):
    with pytest.raises(InputError, match=f'{name}=.*coming_from_rfdetr'):
        make_train_config({name: 'something else'}, 'train()')


@pytest.mark.parametrize('method', METHODS)
def test_parameters_of_methods(method):
    theirs, ours = (
        inspect.signature(getattr(kind, method)).parameters
        for kind in (rfdetr.RFDETR, RFDETR)
    )
    takes_any = any(
        p.kind is inspect.Parameter.VAR_KEYWORD for p in ours.values()
    )
    for name, parameter in theirs.items():
        if (method, name) in ONLY_THERE or parameter.kind in (
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.VAR_POSITIONAL,
        ):
            continue
        assert name in ours or takes_any, (method, name)
        if name in ours and name != 'self':
            assert ours[name].default == parameter.default, (method, name)


def test_public_members():
    theirs = {name for name in vars(rfdetr.RFDETR) if name[0] != '_'}
    ours = {name for name in dir(RFDETR) if name[0] != '_'}
    assert theirs <= ours, theirs - ours
    names = {name for name in rfdetr.__all__ if name[0] != '_'}
    assert names <= {*apis.__all__}, names - {*apis.__all__}


def test_model_context():
    theirs = inspect.signature(TheirContext.__init__).parameters
    ours = {f.name for f in dataclasses.fields(ModelContext)}
    ours |= {name for name in vars(ModelContext) if name[0] != '_'}
    assert {*theirs} - {'self'} <= ours
    methods = {name for name in vars(TheirContext) if name[0] != '_'}
    assert methods <= ours


def test_kinds_of_warnings():
    kind = apis.PretrainWeightsCompatibilityWarning
    theirs = upstream.PretrainWeightsCompatibilityWarning
    assert kind.__mro__[1:] == theirs.__mro__[1:]


def test_normalisation():
    assert (RFDETR.means, RFDETR.stds) == (
        rfdetr.RFDETR.means,
        rfdetr.RFDETR.stds,
    )


def test_coco_classes():
    assert apis.COCO_CLASSES == coco_classes.COCO_CLASSES
    assert apis.COCO_CLASS_NAMES == coco_classes.COCO_CLASS_NAMES


def table_rows():
    text = DOCS.read_text()
    cells = re.findall(r'^\| ([^|]*) \|', text, re.M)
    return {name for cell in cells for name in re.findall(r'`(\w+)`', cell)}


def test_the_page_has_a_row_for_each_of_them():
    theirs = {name for kind in TRAIN_CONFIGS for name in kind.model_fields}
    theirs |= set(upstream.ModelConfig.model_fields)
    missing = theirs - table_rows() - {*DEPRECATED}
    assert not missing


@pytest.mark.parametrize('size', sorted(SIZES))
def test_values_that_a_size_fixes_are_rfdetrs(size):
    config = make_model_config(SIZES[size], dict(device='cpu'))
    kind = getattr(upstream, f'{size}Config', None)
    for name in FIXED:
        field = kind and kind.model_fields[name]
        if field and not field.is_required() and name != 'license':
            assert getattr(config, name) == field.default, name
        with pytest.raises(InputError, match=f'{name}=.*cannot change'):
            make_model_config(SIZES[size], {name: 'other'})
    own = {name: getattr(config, name) for name in FIXED}
    make_model_config(SIZES[size], dict(own, device='cpu'))
