import pytest
import torch

from rfdetr_mm.checkpoints import add_decoder_layers, decoder_depth


def weights(depth, prefix=''):
    names = [f'decoder.layers.{i}.ffn.weight' for i in range(depth)]
    names += [f'mask_branch.blocks.{i}.norm.bias' for i in range(depth)]
    names += ['decoder.norm.weight', 'mask_branch.bias']
    found = {
        f'{prefix}bbox_head.{name}': torch.full((2,), float(i))
        for i, name in enumerate(names)
    }
    found[f'{prefix}backbone.blocks.9.norm.bias'] = torch.ones(1)
    return found


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_missing_layers_are_copies_of_the_last_one(prefix):
    shallow = weights(2, prefix)
    added = add_decoder_layers(shallow, 4)
    assert shallow.keys() == weights(2, prefix).keys()
    assert {**shallow, **added}.keys() == weights(4, prefix).keys()
    for i in (2, 3):
        for name in ('decoder.layers', 'mask_branch.blocks'):
            end = 'ffn.weight' if name[0] == 'd' else 'norm.bias'
            copy = added[f'{prefix}bbox_head.{name}.{i}.{end}']
            last = shallow[f'{prefix}bbox_head.{name}.1.{end}']
            assert torch.equal(copy, last)
            assert copy.data_ptr() != last.data_ptr()


def test_enough_layers_are_left_alone():
    assert decoder_depth(weights(3)) == 3
    assert add_decoder_layers(weights(3), 3) == {}
    assert add_decoder_layers(weights(3), 2) == {}


def test_weights_without_a_decoder():
    assert decoder_depth({'backbone.blocks.0.norm.bias': torch.ones(1)}) == 0
