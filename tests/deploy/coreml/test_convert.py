"""The package for Core ML: its operators, shapes, precision and metadata.

Core ML itself runs on Apple's machines only, so no prediction is compared.
"""

import json

import pytest
import torch
from small_export import HW, build, config, save

from rfdetr_mm.deploy.coreml.convert import integer_division, to_coreml
from rfdetr_mm.deploy.export import deploy_config, export
from rfdetr_mm.errors import InputError
from rfdetr_runtime import load, read_metadata

coremltools = pytest.importorskip('coremltools')

PRODUCTS = {'linear', 'conv', 'matmul'}


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp('coreml')
    cfg = config(seg=True)
    checkpoint = save(build(cfg), folder / 'weights.pth')
    deploy_cfg = deploy_config('instance-seg', 'coreml', input_size=HW)
    # A package of the same name is replaced, not entered.
    for _ in range(2):
        (file,) = export(cfg, checkpoint, deploy_cfg, folder / 'out')
    return file


def main_of(model):
    return model._mil_program.functions['main']


def type_of(value):
    """'fp16', 'fp32', 'int32'."""
    from coremltools.converters.mil.mil.types import builtin_to_string

    return builtin_to_string(value.dtype)


def sizes(spec_outputs):
    return {
        feature.name: tuple(feature.type.multiArrayType.shape)
        for feature in spec_outputs
    }


def test_inputs_outputs_and_metadata(exported):
    model = coremltools.models.MLModel(str(exported), skip_model_load=True)
    description = model.get_spec().description
    assert sizes(description.input) == {'input': (1, 3, *HW)}
    assert [output.name for output in description.output] == [
        'dets',
        'labels',
        'masks',
    ]
    facts = read_metadata(exported)
    assert facts == dict(model.user_defined_metadata)
    assert json.loads(facts['class_names']) == ['cat', 'dog', 'emu']
    assert facts['precision'] == 'fp32' and facts['task'] == 'instance-seg'
    assert {file.name for file in exported.iterdir()} >= {'Manifest.json'}


def test_shapes_and_types_of_the_program(exported):
    program = main_of(to_coreml(exported.with_suffix('.pt')))
    found = {
        output.name: (tuple(output.shape), type_of(output))
        for output in program.outputs
    }
    assert found == {
        'dets': ((1, 10, 5), 'fp32'),
        'labels': ((1, 10), 'int32'),
        'masks': ((1, 10, 16, 24), 'fp32'),
    }
    kinds = {op.op_type for op in program.operations}
    assert {'topk', 'resample', 'floor_div', *PRODUCTS} <= kinds
    # Core ML's own operations: those of a converter's dialects and custom
    # ones are in other tables.
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    assert kinds <= set(SSAOpRegistry.core_ops)


def test_float16_leaves_the_head_in_float32(exported):
    program = main_of(to_coreml(exported.with_suffix('.pt'), 'fp16'))
    of_kind = {}
    for op in program.operations:
        kinds = of_kind.setdefault(op.op_type, set())
        kinds.add(type_of(op.outputs[0]))
    assert of_kind['silu'] == {'fp16'}  # of the neck only
    assert of_kind['linear'] == {'fp16', 'fp32'}
    for kind in ('topk', 'resample', 'exp', 'sigmoid'):
        assert of_kind[kind] == {'fp32'}, kind
    given = [type_of(value) for value in program.inputs.values()]
    assert given == ['fp32']
    given = [type_of(output) for output in program.outputs]
    assert given == ['fp32', 'int32', 'fp32']


def test_quotients_of_integers_are_integers():
    class Quotient(torch.nn.Module):
        def forward(self, x):
            order = x.topk(3).indices
            return torch.div(order, 2, rounding_mode='trunc')

    example = torch.zeros(1, 5)
    exported = torch.export.export(Quotient().eval(), (example,))
    given = dict(
        minimum_deployment_target=coremltools.target.iOS17,
        skip_model_load=True,
    )
    with integer_division():
        program = exported.run_decompositions({})
        model = coremltools.convert(program, **given)
    kinds = {op.op_type for op in main_of(model).operations}
    assert 'floor_div' in kinds and 'floor' not in kinds
    # coremltools by itself divides in floating point again.
    program = exported.run_decompositions({})
    kinds = {
        op.op_type
        for op in main_of(coremltools.convert(program, **given)).operations
    }
    assert 'floor' in kinds and 'floor_div' not in kinds


@pytest.mark.parametrize('part', ['cut', 'empty', 'missing'])
def test_a_part_of_a_package_is_refused(exported, tmp_path, part):
    package = tmp_path / 'a.mlpackage'
    file = package / 'Data' / 'com.apple.CoreML' / 'model.mlmodel'
    file.parent.mkdir(parents=True)
    content = exported.joinpath(*file.parts[-3:]).read_bytes()
    if part != 'missing':
        file.write_bytes(content[:50] if part == 'cut' else b'\xff\xff')
    with pytest.raises(InputError, match='cannot be read as a package') as e:
        read_metadata(package)
    assert '\n' not in str(e.value)


def test_it_says_where_it_runs(exported):
    with pytest.raises(InputError, match='is for devices of Apple, and is n'):
        load(exported)
