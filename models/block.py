"""The transformer block: pre-norm, rotary attention with qk-norm, SwiGLU, LayerScale."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from .position import RotaryTable, rotate


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
    """A linear layer followed by LayerScale (arXiv 2103.17239): one factor for each output.

    The factors are multiplied into the weights, which are fewer than the outputs of a batch.
    """

    def __init__(self, width_in: int, width_out: int, bias: bool, scale: float) -> None:
        super().__init__(width_in, width_out, bias=bias)
        self.scale = nn.Parameter(torch.full((width_out,), scale))
        init_linear(self)

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        bias = None if self.bias is None else self.bias * self.scale
        return F.linear(input, self.weight * self.scale[:, None], bias)


class Attention(nn.Module):
    """Self-attention with queries and keys normalised per head, and a learned sharpness each."""

    def __init__(self, width: int, heads: int, layer_scale: float) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.qkv = init_linear(nn.Linear(width, 3 * width, bias=False))
        self.sharpness = nn.Parameter(torch.ones(heads, 1))
        self.proj = ScaledLinear(width, width, bias=True, scale=layer_scale)

    def forward(self, x: Tensor, table: RotaryTable, key_mask: Tensor | None) -> Tensor:
        """[B, T, D] -> [B, T, D]; key_mask [B, T] bool, True = may be attended to."""
        # Queries and keys of all heads are normalised and turned together: fewer passes.
        qkv = self.qkv(x).unflatten(-1, (3 * self.heads, self.head_dim))
        query_key, value = qkv.split([2 * self.heads, self.heads], dim=2)
        query_key = rotate(F.layer_norm(query_key, (self.head_dim,)), table)
        query, key = query_key.chunk(2, dim=2)
        return self.proj(attend(query * self.sharpness, key, value, key_mask))


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
        self.mlp = make_swiglu(width, mlp_ratio, layer_scale)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor, table: RotaryTable, key_mask: Tensor | None = None) -> Tensor:
        """[B, T, D] -> [B, T, D]; key_mask [B, T] bool, True = may be attended to."""
        x = x + self.drop_path(self.attention(self.norm1(x), table, key_mask))
        return x + self.drop_path(self.mlp(self.norm2(x)))


def make_swiglu(width: int, mlp_ratio: float, layer_scale: float | None = None) -> nn.Module:
    """timm's SwiGLU (arXiv 2002.05202) without biases, hidden width a multiple of 8.

    Gate and value come from one product: on a CPU, two narrower ones take longer.

    Args:
        width: of the tokens.
        mlp_ratio: hidden width over that.
        layer_scale: first value of LayerScale on what comes out; None leaves it away.
    """
    from timm.layers.mlp import SwiGLUPacked

    hidden = 8 * round(width * mlp_ratio / 8)
    mlp = SwiGLUPacked(width, 2 * hidden, bias=False)
    for part in mlp.fc1.weight.chunk(2):  # each as a layer of its own
        nn.init.xavier_uniform_(part)
    assert isinstance(mlp.fc2, nn.Linear)
    if layer_scale is None:
        init_linear(mlp.fc2)
    else:
        mlp.fc2 = ScaledLinear(hidden, width, bias=False, scale=layer_scale)
    return mlp
