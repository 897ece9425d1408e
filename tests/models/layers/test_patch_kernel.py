import pytest
import torch
import torch.nn.functional as F

from rfdetr_mm.models.layers.patch_kernel import resize_patch_kernel


def resize_patches(patches, side):
    return F.interpolate(
        patches, size=(side, side), mode='bilinear', antialias=True
    )


def products(patches, kernel):
    return torch.einsum('nchw,dchw->nd', patches, kernel)


@pytest.mark.parametrize('side', [12, 14, 16, 20, 28])
def test_enlarged_patches_keep_their_vectors(side):
    kernel = torch.randn(5, 3, 12, 12)
    patches = torch.randn(7, 3, 12, 12)
    enlarged = resize_patch_kernel(kernel, side)
    assert enlarged.shape == (5, 3, side, side)
    expected = products(patches, kernel)
    actual = products(resize_patches(patches, side), enlarged)
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
    if side != 12:  # what a plain resize would give
        plain = products(
            resize_patches(patches, side), resize_patches(kernel, side)
        )
        assert (plain - expected).abs().max() > 1


def test_smaller_kernel_is_the_best_approximation():
    """A kernel that ignores what the resize removes loses nothing."""
    small = torch.randn(4, 3, 12, 12, requires_grad=True)
    patches = torch.randn(1, 3, 20, 20, requires_grad=True)
    outputs = products(resize_patches(patches, 12), small)[0]
    kernel = torch.stack(
        [
            torch.autograd.grad(out, patches, retain_graph=True)[0][0]
            for out in outputs
        ]
    )
    torch.testing.assert_close(
        resize_patch_kernel(kernel, 12), small, atol=1e-5, rtol=1e-4
    )


def test_own_size_is_left_alone():
    kernel = torch.randn(5, 3, 14, 14)
    assert resize_patch_kernel(kernel, 14) is kernel


def test_gradients_reach_the_kernel_and_autocast_does_not():
    """Also if the first call was made where nothing has gradients."""
    kernel = torch.randn(2, 3, 8, 8, requires_grad=True)
    with torch.inference_mode():
        resize_patch_kernel(torch.randn(2, 3, 8, 8), 11)
    expected = resize_patch_kernel(kernel, 11)
    with torch.autocast('cpu', torch.bfloat16):
        resized = resize_patch_kernel(kernel, 11)
    assert resized.dtype == torch.float32
    assert torch.equal(resized, expected)
    resized.square().sum().backward()
    assert kernel.grad.abs().min() > 0
