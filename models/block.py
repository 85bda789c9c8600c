"""The transformer block: pre-norm, rotary attention with qk-norm, SwiGLU, LayerScale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from .position import RotaryTable, rotate

if TYPE_CHECKING:
    from timm.layers.mlp import SwiGLU


def attend(query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention over heads.

    Args:
        query: [B, Tq, H, D].
        key: [B, Tk, H, D].
        value: [B, Tk, H, Dv].
        key_mask: [B, Tk] bool, False = gets no attention; None takes the path without a mask.

    Returns:
        [B, Tq, H*Dv], dtype of value.
    """
    # Under autocast the rotation gives float32 while value is bfloat16; attention wants one dtype.
    query, key = query.to(value.dtype), key.to(value.dtype)
    out = F.scaled_dot_product_attention(
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        attn_mask=None if key_mask is None else key_mask[:, None, None, :],
    )
    return rearrange(out, "b h t d -> b t (h d)")


def init_linear(linear: nn.Linear) -> nn.Linear:
    """Xavier-uniform weights, zero bias: what masked autoencoders start from (arXiv 2111.06377)."""
    nn.init.xavier_uniform_(linear.weight)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
    return linear


class ScaledLinear(nn.Linear):
    """Linear map without bias whose outputs have a learned scale each: LayerScale (2103.17239).

    The scale is folded into the weights, which are small, and costs nothing on the tokens.
    """

    def __init__(self, in_features: int, out_features: int, first: float) -> None:
        super().__init__(in_features, out_features, bias=False)
        init_linear(self)
        self.scale = nn.Parameter(torch.full((out_features,), first))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return F.linear(x, self.weight * self.scale[:, None])


class Attention(nn.Module):
    """Self-attention whose queries and keys are normalised per head.

    Args:
        width: of the tokens.
        heads: that share the width.
        layer_scale: first value of the scale of its output.
    """

    def __init__(self, width: int, heads: int, layer_scale: float) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.qkv = init_linear(nn.Linear(width, 3 * width, bias=False))
        self.qk_norm = nn.LayerNorm(self.head_dim, bias=False)
        self.proj = ScaledLinear(width, width, layer_scale)

    def forward(self, x: Tensor, table: RotaryTable, key_mask: Tensor | None) -> Tensor:
        """[B, T, D] -> [B, T, D]; key_mask [B, T] bool, True = may be attended to."""
        # Queries and keys of all heads are normalised and turned together: fewer passes.
        qkv = self.qkv(x).unflatten(-1, (3 * self.heads, self.head_dim))
        query_key, value = qkv.split([2 * self.heads, self.heads], dim=2)
        query, key = rotate(self.qk_norm(query_key), table).chunk(2, dim=2)
        return self.proj(attend(query, key, value, key_mask))


class Block(nn.Module):
    """x + LayerScale(attention(norm(x))), then the same with SwiGLU.

    Args:
        width: of the tokens.
        heads: that share the width.
        mlp_ratio: hidden width of SwiGLU over width; 8/3 costs what a plain MLP of 4 does.
        layer_scale: first value of both residual scales.
        drop_path: share of samples that skip a branch while training.
    """

    def __init__(
        self, width: int, heads: int, mlp_ratio: float, layer_scale: float, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        from timm.layers.drop import DropPath

        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, layer_scale)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = make_swiglu(width, mlp_ratio)
        self.mlp.fc2 = ScaledLinear(self.mlp.fc2.in_features, width, layer_scale)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor, table: RotaryTable, key_mask: Tensor | None = None) -> Tensor:
        """[B, T, D] -> [B, T, D]; key_mask [B, T] bool, True = may be attended to."""
        x = x + self.drop_path(self.attention(self.norm1(x), table, key_mask))
        return x + self.drop_path(self.mlp(self.norm2(x)))


def make_swiglu(width: int, mlp_ratio: float) -> SwiGLU:
    """timm's SwiGLU (arXiv 2002.05202) without biases, hidden width a multiple of 8."""
    from timm.layers.mlp import SwiGLU

    mlp = SwiGLU(width, 8 * round(width * mlp_ratio / 8), bias=False)
    for linear in (mlp.fc1_g, mlp.fc1_x, mlp.fc2):
        init_linear(linear)
    return mlp
