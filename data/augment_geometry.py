"""Flips, quarter turns, magnification and blur of batches, always within each sample's real voxels.

Magnification and blur are separable and linear, so both are one small matrix per axis and sample:
matrix products, several times faster on a CPU than sampling at 3D coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor


def orient(
    crop: Tensor,
    extent: Tensor,
    voxel_size_um: Tensor,
    orders: Sequence[tuple[int, ...]] | None,
    flips: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mirror and turn each sample on its own.

    Args:
        crop: [B, 1, Z, Y, X].
        extent: [B, 3] real voxels along (z, y, x), on the CPU.
        voxel_size_um: [B, 3] along (z, y, x), on the CPU.
        orders: per sample which old axis comes to lie along new z, y, x; None turns nothing.
            Axes that change places have equal sides and extents.
        flips: [B, 3] bool, which new axes are mirrored within the extent.

    Returns:
        A new crop, and extent and voxel size in the new order.
    """
    out = torch.empty_like(crop, memory_format=torch.contiguous_format)
    sides = tuple(crop.shape[2:])
    for i, (real, mirrored) in enumerate(zip(extent.tolist(), flips.tolist(), strict=True)):
        order = orders[i] if orders is not None else (0, 1, 2)
        turned = crop[i, 0].permute(order)
        z, y, x = (real[axis] for axis in order)
        axes = [axis for axis, flip in enumerate(mirrored) if flip]
        if (z, y, x) == sides:
            out[i, 0] = turned.flip(axes) if axes else turned
        else:
            out[i] = 0
            inside = turned[:z, :y, :x]
            out[i, 0, :z, :y, :x] = inside.flip(axes) if axes else inside
    if orders is None:
        return out, extent, voxel_size_um
    index = torch.tensor(orders)
    return out, extent.gather(1, index), voxel_size_um.gather(1, index)


def resample(crop: Tensor, extent: Tensor, zoom: Tensor, place: Tensor, sigma: Tensor) -> Tensor:
    """Blur samples and magnify a part of them to the full extent, in place.

    Args:
        crop: [B, 1, Z, Y, X].
        extent: [B, 3] real voxels, on the CPU.
        zoom: [B] magnification, at least 1.
        place: [B, 3] in 0..1, where along (z, y, x) the magnified part lies.
        sigma: [B, 3] Gaussian blur in voxels; 0 is none.

    Returns:
        [B] by how much the standard deviation of white noise was multiplied.
    """
    factor = torch.ones(len(crop), dtype=torch.float64)
    rows = torch.nonzero((zoom > 1) | (sigma > 0).any(1))[:, 0]
    if len(rows) == 0:
        return factor
    kernels = [
        axis_kernels(side, extent[rows, a], zoom[rows], place[rows, a], sigma[rows, a])
        for a, side in enumerate(crop.shape[2:])
    ]
    for kernel, real in zip(kernels, extent[rows].T, strict=True):
        factor[rows] *= torch.sqrt(kernel.square().sum((1, 2)) / real)
    z_kernel, y_kernel, x_kernel = (k.to(crop.device, crop.dtype) for k in kernels)
    where = rows.to(crop.device)
    picked = crop[where, 0]
    sides = {"z": picked.shape[1], "y": picked.shape[2]}
    picked = torch.bmm(rearrange(picked, "b z y x -> b (z y) x"), x_kernel.transpose(1, 2))
    picked = torch.matmul(y_kernel[:, None], rearrange(picked, "b (z y) x -> b z y x", **sides))
    picked = torch.bmm(z_kernel, rearrange(picked, "b z y x -> b z (y x)"))
    crop[where, 0] = rearrange(picked, "b z (y x) -> b z y x", y=sides["y"])
    return factor


def axis_kernels(side: int, extent: Tensor, zoom: Tensor, place: Tensor, sigma: Tensor) -> Tensor:
    """Matrices that blur and then magnify along one axis.

    Output voxel i of a sample lies at start + (i + 0.5) / zoom - 0.5 of the input, and is
    interpolated linearly. Rows and columns beyond the extent are zero, so padding stays zero.

    Args:
        side: voxels of the crop along the axis.
        extent, zoom, place, sigma: [B], as in `resample`, along this axis.

    Returns:
        [B, side, side] float64; rows within the extent sum to 1.
    """
    voxel = torch.arange(side, dtype=torch.float64)
    real = voxel < extent[:, None]  # [B, side]
    start = place * (extent - extent / zoom)
    centre = start[:, None] + (voxel + 0.5) / zoom[:, None] - 0.5
    linear = (1 - (voxel - centre[:, :, None]).abs()).clamp(min=0)  # [B, out, in]
    width = sigma.clamp(min=1e-3)[:, None, None]  # below a tenth of a voxel: the identity
    blur = torch.exp(-0.5 * ((voxel - voxel[:, None]) / width) ** 2)
    blur, linear = blur * real[:, None], linear * real[:, None]
    # Near the border less of a kernel lies inside: make up for it, as if the border were repeated.
    blur = blur / blur.sum(2, keepdim=True).clamp(min=1e-12)
    linear = linear / linear.sum(2, keepdim=True).clamp(min=1e-12)
    return (linear @ blur) * real[:, :, None]
