"""DINOv2 vision transformer whose blocks attend within windows."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.blocks import check_divisible

from ..layers.dinov2_block import VIT_NORM_EPS, DINOv2Block
from ..layers.patch_kernel import adapt_patch_kernel, resize_patch_kernel
from ..layers.position_table import resize_position_table
from ..layers.window_ops import window_partition, window_unpartition
from ..loading.adapters import fit_adapters
from ..loading.state_dict_check import AdaptingModule

NUM_BLOCKS = 12


@MODELS.register_module()
class WindowedDINOv2(AdaptingModule, BaseModule):
    """Windowed DINOv2: image to four maps of one stride.

    The patch grid is cut into ``num_windows`` x ``num_windows`` windows,
    each with its own copy of the class token. Most blocks attend within a
    window; the blocks of ``global_attn_indices`` attend over the image.

    ``mask_token`` and the blocks after the last tapped one belong to the
    published weights but never run: they are kept, frozen.

    The attributes ``patch_size`` and ``num_windows`` may be changed at any
    time: the patch kernel is resized on the fly, the grid cut anew.

    Args:
        arch: 'small' (384 channels, 6 heads), 'base' (768, 12), or 'tiny'
            (192, 3) and 'mini' (128, 2), for which no weights are published.
        img_size: Side in pixels of the square image for which the position
            table is stored (grid side = img_size // patch_size). Other
            inputs, H != W included, resize the table on the fly.
        patch_size: Side of a patch in pixels, the stride of the maps.
        num_windows: Windows per side; 1 means no windows.
        out_indices: 0-based blocks whose outputs are returned, ascending.
        global_attn_indices: 0-based blocks that attend over the image.
        in_channels: Image channels. Loading 3-channel weights into another
            count averages the kernels (1) or tiles them (others).
        num_registers: Register tokens per window (4 in DINOv2's variant
            with registers).
        drop_path_rate: The rate of the last block; it grows linearly from 0.
        frozen_stages: -1 nothing; 0 the stem; k the stem and the first k
            blocks; 12 everything, the final norm included.
        with_cp: Recompute blocks in the backward pass to save memory.
        init_cfg: mmengine's; e.g. ``dict(type='Pretrained',
            checkpoint='dinov2_vits14_pretrain.pth')`` loads DINOv2 weights.

    Raises:
        InputError: For an unknown ``arch``, block indices out of range or
            an ``img_size`` that the patches do not fill.

    Source: "RF-DETR: Neural Architecture Search for Real-Time Detection
        Transformers" (arXiv 2511.09554); rfdetr 1.11.2, DinoV2.
    """

    arch_settings = {
        'mini': dict(embed_dims=128, num_heads=2),
        'tiny': dict(embed_dims=192, num_heads=3),
        'small': dict(embed_dims=384, num_heads=6),
        'base': dict(embed_dims=768, num_heads=12),
    }

    def __init__(
        self,
        arch: str = 'small',
        img_size: int = 384,
        patch_size: int = 16,
        num_windows: int = 2,
        out_indices: Sequence[int] = (2, 5, 8, 11),
        global_attn_indices: Sequence[int] = (3, 6, 9),
        in_channels: int = 3,
        num_registers: int = 0,
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        with_cp: bool = False,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg)
        self._check_arguments(arch, out_indices, global_attn_indices)
        if img_size % patch_size:
            raise InputError(
                'img_size must be divisible by patch_size, the position '
                f'table has whole cells: {img_size} / {patch_size} leaves '
                f'{img_size % patch_size}; set img_size='
                f'{img_size // patch_size * patch_size} or '
                f'{(img_size // patch_size + 1) * patch_size}'
            )
        embed_dims = self.arch_settings[arch]['embed_dims']
        self.embed_dims = embed_dims
        self.in_channels = in_channels
        self.patch_size = patch_size
        self.num_windows = num_windows
        self.out_indices = tuple(out_indices)
        self.global_attn_indices = tuple(global_attn_indices)
        self.frozen_stages = frozen_stages
        self.with_cp = with_cp
        self.grid_size = img_size // patch_size

        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        self.mask_token = nn.Parameter(torch.zeros(1, embed_dims))
        self.pos_embed = nn.Parameter(
            torch.zeros(1, 1 + self.grid_size**2, embed_dims)
        )
        self.num_prefix_tokens = 1 + num_registers
        if num_registers:
            self.register_tokens = nn.Parameter(
                torch.zeros(1, num_registers, embed_dims)
            )
        self.patch_embed = nn.Conv2d(
            in_channels, embed_dims, patch_size, stride=patch_size
        )
        self.blocks = nn.ModuleList(
            DINOv2Block(
                embed_dims,
                self.arch_settings[arch]['num_heads'],
                drop_path_rate=drop_path_rate * i / (NUM_BLOCKS - 1),
            )
            for i in range(NUM_BLOCKS)
        )
        self.norm = nn.LayerNorm(embed_dims, eps=VIT_NORM_EPS)
        self._reset_parameters()
        self._freeze()

    def _check_arguments(
        self,
        arch: str,
        out_indices: Sequence[int],
        global_attn_indices: Sequence[int],
    ) -> None:
        if arch not in self.arch_settings:
            raise InputError(
                f'arch must be one of {sorted(self.arch_settings)}, '
                f'got {arch!r}'
            )
        for name, indices in (
            ('out_indices', out_indices),
            ('global_attn_indices', global_attn_indices),
        ):
            if any(not 0 <= i < NUM_BLOCKS for i in indices):
                raise InputError(
                    f'{name} are 0-based blocks between 0 and '
                    f'{NUM_BLOCKS - 1}, got {tuple(indices)}'
                )
        if not out_indices or list(out_indices) != sorted(set(out_indices)):
            raise InputError(
                'out_indices must be ascending, without repetition and not '
                f'empty, got {tuple(out_indices)}'
            )

    def _reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def _freeze(self) -> None:
        self.mask_token.requires_grad_(False)
        self.blocks[self.out_indices[-1] + 1 :].requires_grad_(False)
        if self.frozen_stages < 0:
            return
        self.cls_token.requires_grad_(False)
        self.pos_embed.requires_grad_(False)
        self.patch_embed.requires_grad_(False)
        if self.num_prefix_tokens > 1:
            self.register_tokens.requires_grad_(False)
        self.blocks[: self.frozen_stages].requires_grad_(False)
        if self.frozen_stages >= NUM_BLOCKS:
            self.norm.requires_grad_(False)

    def train(self, mode: bool = True) -> 'WindowedDINOv2':
        """Switch the mode; frozen blocks stay without drop path."""
        super().train(mode)
        if self.frozen_stages > 0:
            self.blocks[: self.frozen_stages].eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Extract one map for each of ``out_indices``.

        Args:
            x: Normalised images, shape (bs, in_channels, h_px, w_px), both
                sides divisible by patch_size * num_windows.

        Returns:
            Maps of shape (bs, embed_dims, h_px // patch_size,
            w_px // patch_size), through the one final layer norm.

        Raises:
            InputError: If a side does not divide.
        """
        grid_h, grid_w = self._grid_of(x)
        windows = self._embed(x, grid_h, grid_w)
        feats = []
        for i in range(self.out_indices[-1] + 1):
            span = self.num_windows**2 if i in self.global_attn_indices else 1
            if self.with_cp and self.training and torch.is_grad_enabled():
                windows = checkpoint(
                    self.blocks[i], windows, span, use_reentrant=False
                )
            else:
                windows = self.blocks[i](windows, span)
            if i in self.out_indices:
                feats.append(self._to_map(windows, grid_h, grid_w))
        return tuple(feats)

    def _grid_of(self, x: Tensor) -> tuple[int, int]:
        height_px, width_px = x.shape[-2:]
        block_px = self.patch_size * self.num_windows
        check_divisible(
            'the input of the backbone (resize it, or set '
            f'pad_size_divisor={block_px} in the data preprocessor)',
            (height_px, width_px),
            self.patch_size,
            self.num_windows,
        )
        return height_px // self.patch_size, width_px // self.patch_size

    # Inductor fixes the memory layout of the images at their first size.
    @torch.compiler.disable
    def _embed(self, x: Tensor, grid_h: int, grid_w: int) -> Tensor:
        """Images to windowed tokens, prefix tokens first in every window."""
        pos_embed = resize_position_table(self.pos_embed, grid_h, grid_w)
        patches = self._project(x).flatten(2).transpose(1, 2)
        patches = patches + pos_embed[:, 1:]  # (bs, grid_h * grid_w, C)
        windows = window_partition(
            patches.unflatten(1, (grid_h, grid_w)), self.num_windows
        )
        prefix = self.cls_token + pos_embed[:, :1]
        if self.num_prefix_tokens > 1:
            prefix = torch.cat([prefix, self.register_tokens], dim=1)
        prefix = prefix.to(windows.dtype).expand(len(windows), -1, -1)
        return torch.cat([prefix, windows], dim=1)

    def _project(self, x: Tensor) -> Tensor:
        """Images to one vector for each patch of the current size."""
        if self.patch_size == self.patch_embed.kernel_size[0]:
            return self.patch_embed(x)
        weight = resize_patch_kernel(self.patch_embed.weight, self.patch_size)
        return F.conv2d(
            x, weight, self.patch_embed.bias, stride=self.patch_size
        )

    def _to_map(self, windows: Tensor, grid_h: int, grid_w: int) -> Tensor:
        """Windowed tokens to a contiguous (bs, C, grid_h, grid_w) map."""
        patches = self.norm(windows)[:, self.num_prefix_tokens :]
        grid = window_unpartition(
            patches.contiguous(), self.num_windows, grid_h, grid_w
        )
        return grid.permute(0, 3, 1, 2).contiguous()

    def adapt_state_dict(self, state_dict: dict, prefix: str = '') -> None:
        """Fit position table, patch kernels and adapters, in place.

        Args:
            state_dict: Keys to values; only entries are replaced, the
                tensors themselves stay as they are.
            prefix: What this backbone's keys begin with.

        Raises:
            InputError: If the patch size is another, or adapters do not fit.
        """
        fit_adapters(self, state_dict, prefix)
        key = f'{prefix}patch_embed.weight'
        if key in state_dict:
            side = state_dict[key].shape[-1]
            own_side = self.patch_embed.kernel_size[0]
            if side != own_side:
                raise InputError(
                    f'the checkpoint has patches of {side} px ({key}), the '
                    f'model has patch_size={own_side}; patch kernels '
                    'are not resized: load weights of the same variant or '
                    f'set backbone.patch_size={side} with an image size '
                    f'divisible by patch_size * num_windows = {side} * '
                    f'{self.num_windows} = {side * self.num_windows}'
                )
            state_dict[key] = adapt_patch_kernel(
                state_dict[key], self.in_channels
            )
        key = f'{prefix}pos_embed'
        if key in state_dict:
            state_dict[key] = resize_position_table(
                state_dict[key], self.grid_size, self.grid_size
            )
