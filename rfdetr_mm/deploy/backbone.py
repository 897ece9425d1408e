"""WindowedDINOv2 as a graph: matrix products on one table of tokens."""

import torch
import torch.nn.functional as F
from mmdeploy.core import MODULE_REWRITER
from mmengine.config import Config
from torch import Tensor, nn

from rfdetr_mm.errors import InputError
from rfdetr_mm.models.backbones import WindowedDINOv2
from rfdetr_mm.models.layers.dinov2_block import DINOv2Block
from rfdetr_mm.models.layers.position_table import resize_position_table
from rfdetr_mm.models.layers.window_ops import window_partition

from .attention import attend, by_head
from .fixed_size import FixedSizeModule, constant, scaled_linear


class BlockGraph(nn.Module):
    """DINOv2Block on rows of tokens, with all scales in its weights.

    Layer scales and the attention's 1 / sqrt(head_dims) are multiplied into
    the weights.

    Args:
        block: The block.
    """

    def __init__(self, block: DINOv2Block) -> None:
        super().__init__()
        attn = block.attn
        self.num_heads = attn.num_heads
        self.embed_dims = attn.query.out_features
        self.head_dims = self.embed_dims // attn.num_heads
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.query = scaled_linear(attn.query, self.head_dims**-0.5)
        self.key, self.value = attn.key, attn.value
        self.proj = scaled_linear(attn.proj, block.layer_scale1.weight)
        self.fc1 = block.mlp.fc1
        self.fc2 = scaled_linear(block.mlp.fc2, block.layer_scale2.weight)

    def forward(self, tokens: Tensor, num_tokens: int) -> Tensor:
        """Run the block.

        Args:
            tokens: Shape (rows, embed_dims).
            num_tokens: Consecutive rows that attend to each other.

        Returns:
            Shape (rows, embed_dims).
        """
        normed = self.norm1(tokens)
        shape = (num_tokens, self.num_heads, self.head_dims)
        attended = attend(
            by_head(self.query(normed), *shape),
            by_head(self.key(normed), *shape),
            by_head(self.value(normed), *shape),
            self.embed_dims,
        )
        tokens = tokens + self.proj(attended)
        return tokens + self.fc2(F.gelu(self.fc1(self.norm2(tokens))))


@MODULE_REWRITER.register_rewrite_module(
    'rfdetr_mm.models.backbones.windowed_dinov2.WindowedDINOv2'
)
class BackboneGraph(FixedSizeModule):
    """:class:`WindowedDINOv2` for one image size and any batch size.

    The position table is resized once and becomes a constant, to which the
    prefix tokens (class token, registers) are added.

    Args:
        module: The backbone.
        deploy_cfg: Not used; part of mmdeploy's interface.

    Raises:
        InputError: If the model is a sub-network with another patch size.
    """

    def __init__(self, module: WindowedDINOv2, deploy_cfg: Config) -> None:
        super().__init__()
        kernel_size = module.patch_embed.kernel_size[0]
        if module.patch_size != kernel_size:
            raise InputError(
                f'the model has kernels for patches of {kernel_size} px and '
                f'runs on patches of {module.patch_size} px: it is a '
                'sub-network (model.subnet). Write it as a model of its own '
                'by tools/nas/extract.py and export that'
            )
        self.embed_dims = module.embed_dims
        self.patch_size = module.patch_size
        self.num_windows = module.num_windows
        self.num_prefix_tokens = module.num_prefix_tokens
        self.out_indices = module.out_indices
        self.global_attn_indices = module.global_attn_indices
        self._source = [module]  # not a child, so not in state dicts
        self.patch_embed = module.patch_embed
        self.blocks = nn.ModuleList(
            BlockGraph(block)
            for block in module.blocks[: module.out_indices[-1] + 1]
        )
        self.norm = module.norm

    def build_constants(self) -> None:
        """Lay prefix tokens and position table out as the windows are."""
        module = self._source[0]
        grid_h, grid_w = module._grid_of(torch.empty(1, 1, *self.sizes[0]))
        table = resize_position_table(module.pos_embed, grid_h, grid_w)
        windows = window_partition(
            table[:, 1:].unflatten(1, (grid_h, grid_w)), self.num_windows
        )
        prefix = module.cls_token + table[:, :1]
        if self.num_prefix_tokens > 1:
            prefix = torch.cat([prefix, module.register_tokens], dim=1)
        prefix = prefix.expand(len(windows), -1, -1)
        # (num_windows**2, num_tokens, C) and the grid in patches
        table = torch.cat([prefix, windows], dim=1)
        constant(self, 'table', table)
        self.windows_per_image, self.tokens_per_window = table.shape[:2]
        self.grid = (grid_h, grid_w)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Extract one map for each of ``out_indices``.

        Args:
            x: Normalised images, shape (bs, in_channels, h_px, w_px).

        Returns:
            Maps of shape (bs, embed_dims, h_px // patch_size,
            w_px // patch_size).
        """
        self.remember_sizes(x)
        tokens = self._embed(x)
        feats = []
        for i, block in enumerate(self.blocks):
            is_global = i in self.global_attn_indices
            span = self.windows_per_image if is_global else 1
            tokens = block(tokens, span * self.tokens_per_window)
            if i in self.out_indices:
                feats.append(self._to_map(tokens))
        return tuple(feats)

    def _embed(self, x: Tensor) -> Tensor:
        """Images to rows of tokens, window after window."""
        patches = self.patch_embed(x).permute(0, 2, 3, 1)
        windows = self._swap_rows_and_windows(patches, windowed=False)
        windows = windows.reshape(
            -1,
            self.tokens_per_window - self.num_prefix_tokens,
            self.embed_dims,
        )
        # Rows of zeros, to which the table adds the prefix tokens
        windows = F.pad(windows, (0, 0, self.num_prefix_tokens, 0))
        windows = windows.reshape(
            -1, self.windows_per_image, self.tokens_per_window, self.embed_dims
        )
        return (windows + self.table).reshape(-1, self.embed_dims)

    def _to_map(self, tokens: Tensor) -> Tensor:
        """Rows of tokens to a (bs, C, grid_h, grid_w) map."""
        windows = tokens.reshape(-1, self.tokens_per_window, self.embed_dims)
        patches = self.norm(windows[:, self.num_prefix_tokens :])
        grid = self._swap_rows_and_windows(patches, windowed=True)
        grid = grid.reshape(-1, *self.grid, self.embed_dims)
        return grid.permute(0, 3, 1, 2)

    def _swap_rows_and_windows(self, x: Tensor, windowed: bool) -> Tensor:
        """Change between row-major order of the image and of the windows.

        One row of a window moves as a whole, so that four dimensions do.
        """
        if self.num_windows == 1:
            return x
        grid_h, grid_w = self.grid
        sides = (grid_h // self.num_windows, self.num_windows)
        return x.reshape(
            -1,
            *(sides[::-1] if windowed else sides),
            grid_w // self.num_windows * self.embed_dims,
        ).transpose(1, 2)
