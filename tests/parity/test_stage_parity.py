"""Every stage, fed upstream's own input, gives upstream's output."""

import pytest
import torch

pytest.importorskip('rfdetr', reason='the parity oracle is not installed')

from compare import assert_stage, place_of_rows
from mmdet.structures import DetDataSample
from oracle import nested

from rfdetr_mm.models.layers.box_deltas import apply_box_deltas
from rfdetr_mm.models.layers.decoder_memory import build_memory
from rfdetr_mm.models.layers.query_selector import grid_proposals

pytestmark = pytest.mark.parity


@pytest.fixture(scope='session')
def recorded(any_pair):
    """Inputs and outputs of upstream's stages on one H != W batch."""
    calls = {}
    pair = any_pair.train(False)

    def keep(name):
        def hook(module, args, kwargs, output):
            calls[name] = (args, kwargs, output)

        return hook

    decoder = pair.upstream.transformer.decoder
    modules = {
        'encoder': pair.upstream.backbone[0].encoder,
        'projector': pair.upstream.backbone[0].projector,
        'decoder': decoder,
    }
    modules.update({f'layer{i}': m for i, m in enumerate(decoder.layers)})
    handles = [
        module.register_forward_hook(keep(name), with_kwargs=True)
        for name, module in modules.items()
    ]
    images = pair.images()
    with torch.no_grad():
        calls['images'], calls['out'] = images, pair.upstream(nested(images))
    for handle in handles:
        handle.remove()
    return calls


def perturbed(module, name):
    """The module's parameter, changed in one value; undo with the result."""
    parameter = dict(module.named_parameters())[name]
    before = parameter.detach().clone()
    with torch.no_grad():
        parameter.view(-1)[0] += 0.5
    return parameter, before


def assert_fails_when_perturbed(module, name, check):
    """The negative control: the same comparison must notice one weight."""
    parameter, before = perturbed(module, name)
    try:
        with pytest.raises(AssertionError):
            check()
    finally:
        with torch.no_grad():
            parameter.copy_(before)


@torch.no_grad()
def test_backbone(pair, recorded):
    expected = recorded['encoder'][2]

    def check():
        actual = pair.ours.backbone(recorded['images'])
        assert len(actual) == len(expected) == 4
        for ours, theirs in zip(actual, expected):
            assert_stage(ours, theirs)

    check()
    assert_fails_when_perturbed(
        pair.ours.backbone, 'blocks.0.attn.query.weight', check
    )


@torch.no_grad()
def test_projector(pair, recorded):
    def check():
        actual = pair.ours.neck(recorded['encoder'][2])
        assert len(actual) == len(recorded['projector'][2])
        for ours, theirs in zip(actual, recorded['projector'][2]):
            assert_stage(ours, theirs)

    check()
    assert_fails_when_perturbed(
        pair.ours.neck, 'fusions.0.reduce.conv.weight', check
    )


@torch.no_grad()
def test_selected_proposals(pair, recorded):
    head = pair.ours.bbox_head
    expected = recorded['out']['enc_outputs']

    def check():
        memory = build_memory(recorded['projector'][2])
        actual = head.query_selector(memory, head.num_queries, num_groups=1)
        place_of_rows(actual, expected, num_groups=1)

    check()
    assert_fails_when_perturbed(head, 'query_selector.proj.weight', check)


@torch.no_grad()
def test_reference_boxes(pair, recorded):
    head = pair.ours.bbox_head
    proposals = recorded['out']['enc_outputs']['pred_boxes']
    expected = recorded['decoder'][1]['refpoints_unsigmoid']

    def check():
        actual = apply_box_deltas(proposals, head.query_box_deltas[0])
        assert_stage(actual, expected)

    check()
    assert_fails_when_perturbed(head, 'query_box_deltas', check)


@torch.no_grad()
def test_decoder_layers(pair, recorded):
    decoder = pair.ours.bbox_head.decoder
    memory = build_memory(recorded['projector'][2])

    def check():
        for i, layer in enumerate(decoder.layers):
            args, kwargs, expected = recorded[f'layer{i}']
            (query,) = args[:1]
            actual = layer(
                query,
                kwargs['query_pos'],
                kwargs['reference_points'],
                memory,
                num_groups=1,
            )
            assert_stage(actual, expected)

    check()
    last = len(decoder.layers) - 1
    assert_fails_when_perturbed(
        decoder, f'layers.{last}.cross_attn.sampling_offsets.weight', check
    )


@torch.no_grad()
def test_decoder_and_query_position(pair, recorded):
    decoder = pair.ours.bbox_head.decoder
    memory = build_memory(recorded['projector'][2])
    args, kwargs, output = recorded['decoder']

    def check():
        actual = decoder(
            args[0], kwargs['refpoints_unsigmoid'], memory, num_groups=1
        )
        assert_stage(actual, output[0])

    check()
    assert_fails_when_perturbed(decoder, 'query_pos_mlp.layers.1.bias', check)


@torch.no_grad()
def test_branches(pair, recorded):
    head = pair.ours.bbox_head
    hidden_states = recorded['decoder'][2][0]
    references = recorded['decoder'][1]['refpoints_unsigmoid']
    out = recorded['out']
    theirs = [*out['aux_outputs'], out]

    def check():
        logits = head.cls_branch(hidden_states)
        boxes = apply_box_deltas(references, head.reg_branch(hidden_states))
        for i, expected in enumerate(theirs):
            assert_stage(logits[i], expected['pred_logits'][..., :-1])
            assert_stage(boxes[i], expected['pred_boxes'])

    check()
    for name in ('cls_branch.weight', 'reg_branch.layers.2.weight'):
        assert_fails_when_perturbed(head, name, check)


# A grid of 50 and more cells loses its border ring; 3 x 70 has one side of
# each kind. The second image is padded to the first one's size.
@pytest.mark.parametrize('padded', [False, True])
@pytest.mark.parametrize(
    'shapes', [[(4, 6)], [(50, 49)], [(3, 70)], [(52, 104), (13, 26)]]
)
def test_grid_proposals(shapes, padded):
    from rfdetr.models.transformer import gen_encoder_output_proposals

    stride = 8
    height, width = (side * stride for side in shapes[0])
    sizes = [(height, width), (height, width)]
    if padded:
        sizes[1] = (height // 2 + 3, width - 5)
    samples = [
        DetDataSample(
            metainfo=dict(batch_input_shape=(height, width), img_shape=size)
        )
        for size in sizes
    ]
    feats = [torch.randn(2, 5, *shape) for shape in shapes]
    memory = build_memory(feats, samples)
    proposals, invalid = grid_proposals(memory)
    tokens, expected = gen_encoder_output_proposals(
        memory.tokens, memory.padding_mask, shapes, unsigmoid=False
    )
    assert_stage(proposals, expected)
    assert_stage(memory.tokens.masked_fill(invalid.unsqueeze(-1), 0.0), tokens)
    assert (memory.padding_mask is not None) == padded
