"""A map of embeddings asked of the block engine: which encoder, and what it is to see."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..configs.errors import InputError
from ..data.volume import Volume
from ..data.voxel import VoxelSize
from ..models.catalog import find_folder
from ..models.checkpoint import fingerprint, read_config
from ..models.encoder import Encoder
from .block_output import BlockOutput
from .blockwise import Request
from .blockwise_request import Ngff, say_frame
from .frame import choose_frame
from .image import bf16_or_no
from .model import load
from .task_weights import Triple
from .token_network import TokenNetwork


class TokenWeights(NamedTuple):
    """An encoder, and what has to be known to use it.

    Attributes:
        encoder: in evaluation mode.
        where: names the weights in messages.
        digest: hash of the weights.
        tile: (z, y, x) voxels that are encoded together; whole patches.
        voxel_range_um: smallest and largest (z, y, x) that it was trained on; None = not known.
    """

    encoder: Encoder
    where: str
    digest: str
    tile: Triple
    voxel_range_um: tuple[VoxelSize, VoxelSize] | None


def load_tokens(name: str, device: str = "cpu") -> TokenWeights:
    """Load the encoder of any weights: pretrained, with or without a decoder, or fine-tuned.

    Args:
        name: as of `luxvox.load`.
        device: where it is put.

    Raises:
        InputError: as `luxvox.load`; or a net without tokens.
    """
    folder = find_folder(name)
    model = load(folder, device)
    encoder = model.encoder
    if not isinstance(encoder, Encoder):
        raise InputError(
            f"{name}: an encoder of kind {type(encoder).__name__}, which has no tokens to make a "
            "map of; take weights with a vit encoder"
        )
    z, y, x = model.crop.shape
    config = read_config(folder)
    sizes = config.get("voxel_size_range_um")
    trained = None if sizes is None else (tuple(sizes[0]), tuple(sizes[1]))
    return TokenWeights(encoder, str(name), fingerprint(folder), (z, y, x), trained)


def request_tokens(
    weights: TokenWeights, volume: Volume, out: str | Path, ngff: Ngff = "0.5"
) -> Request:
    """Ask for the tokens of an encoder: a map of D channels, one voxel for each patch.

    Args:
        weights: an encoder.
        volume: of one channel.
        out: see `Request`.
        ngff: version of OME-Zarr.
    """
    frame = choose_frame(volume, weights.voxel_range_um)
    say_frame(frame, volume, weights.where)
    patch = weights.encoder.config.patch
    z, y, x = (side // edge for side, edge in zip(weights.tile, patch, strict=True))
    size = frame.seen_um(volume.levels[frame.level])
    precision = bf16_or_no("auto", next(weights.encoder.parameters()).device)
    return Request(
        volume, Path(out).expanduser(), TokenNetwork(weights.encoder, size, precision),
        BlockOutput(what="embeddings"), tile=(z, y, x), frame=frame.in_cells(patch),
        recipe={"weights": weights.digest, "where": Path(weights.where).name}, version=ngff,
    )  # fmt: skip
