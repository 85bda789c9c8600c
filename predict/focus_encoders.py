"""Encoders as describers of tiles: ours, any of timm, and the one that learnt image quality."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..configs.errors import InputError
from ..data.focus_tiles import StackFrame
from ..data.normalize import normalize
from ..models.checkpoint import load_strict, load_weights
from ..models.dense import DenseModel, fill_to_patches
from ..models.detail import DetailStream
from ..models.encoder import Encoder
from ..models.features import encoder_features, even_depths
from ..models.quality import QualityConfig, QualityEncoder
from .model import load
from .predictor import Predictor

_DEPTHS = 2
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HUB_FILE = "model.safetensors"  # what timm downloads where a model names no other file
_SMALLEST = 32  # pixels that encoders of timm halve five times


class EncoderFeatures:
    """Our encoder on tiles: mean and spread of tokens, and of the detail stream where there is one.

    A token spans several planes, so the slice is repeated to fill one: what it says is about this
    slice alone.

    Args:
        name: weights, as `luxvox.load` takes them.
        device: where it runs.

    Raises:
        InputError: no such weights, or a net without tokens.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        loaded = load(name, device)
        encoder = loaded.encoder
        if not isinstance(encoder, Encoder):
            raise InputError(f"{name}: a net without tokens; take weights of our encoder")
        self._encoder = encoder
        self._dense = loaded.model if isinstance(loaded, Predictor) else None
        self._depths = even_depths(encoder.config.depth, _DEPTHS)

    @property
    def module(self) -> nn.Module:
        """What has the weights."""
        return self._encoder if self._dense is None else self._dense

    def __call__(self, tiles: NDArray[np.float32], frame: StackFrame) -> Tensor:
        """[T, y, x] in the file's units -> [T, D]."""
        assert frame.stats is not None  # an empty stack is never described
        device = next(self._encoder.parameters()).device
        flat = torch.from_numpy(normalize(tiles, frame.stats)).to(device)
        planes = self._encoder.config.patch[0]
        crop = flat[:, None, None].expand(-1, 1, planes, -1, -1).contiguous()
        crop = fill_to_patches(crop, self._encoder.config.patch)
        count = len(crop)
        size = torch.ones(count, 3, device=device)
        known = torch.zeros(count, dtype=torch.bool, device=device)
        maps = encoder_features(self._encoder, crop, size, known, self._depths).maps
        dense = self._dense
        if isinstance(dense, DenseModel) and isinstance(dense.detail, DetailStream):
            maps = [*maps, *dense.detail(crop)]
        return torch.cat([_mean_and_spread(m) for m in maps], 1)


class TimmFeatures:
    """An image encoder of timm on tiles at full and half size; nothing is downloaded.

    Args:
        name: of a model; NAME@FILE.safetensors takes weights from a file. Without it those of
            timm where they are in its cache, else random ones, which are the same every time;
            a warning says so.
        device: where it runs.
        seed: of random weights.

    Raises:
        InputError: no such model, or a file that does not fit it.
    """

    def __init__(self, name: str, device: torch.device, seed: int) -> None:
        import timm

        model, _, file = name.partition("@")
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                built = timm.create_model(model, pretrained=False, num_classes=0)
        except RuntimeError as error:
            raise InputError(
                f"timm:{name}: no such model ({error}); see timm.list_models"
            ) from None
        path = Path(file) if file else _cached(model)
        if path is not None:
            _fill(built, path)
        else:
            print(
                f"warning: timm:{name}: no weights of it on this machine, so they are random; "
                f"give timm:{name}@FILE.safetensors for trained ones",
                file=sys.stderr,
            )
        self._model = built.eval().to(device)

    @property
    def module(self) -> nn.Module:
        """What has the weights."""
        return self._model

    def __call__(self, tiles: NDArray[np.float32], frame: StackFrame) -> Tensor:
        """[T, y, x] in the file's units -> [T, 2 D]: full size, then half."""
        device = next(self._model.parameters()).device
        grey = torch.from_numpy(frame.scaled(tiles)).to(device)[:, None]
        mean, std = (grey.new_tensor(v)[:, None, None] for v in (_IMAGENET_MEAN, _IMAGENET_STD))
        images = (grey.expand(-1, 3, -1, -1) - mean) / std
        half = F.interpolate(images, scale_factor=0.5, mode="area")
        return torch.cat([self._model(_at_least(size)) for size in (images, half)], 1)


class QualityFeatures:
    """The encoder that `luxvox focus-quality` trained, on tiles at full and half size.

    Args:
        folder: that it wrote.
        device: where it runs.

    Raises:
        InputError: no such folder, or another kind of weights.
    """

    def __init__(self, folder: str, device: torch.device) -> None:
        self._model = load_quality(folder).to(device)

    @property
    def module(self) -> nn.Module:
        """What has the weights."""
        return self._model

    def __call__(self, tiles: NDArray[np.float32], frame: StackFrame) -> Tensor:
        """[T, y, x] in the file's units -> [T, 2 D]: full size, then half."""
        device = next(self._model.parameters()).device
        images = torch.from_numpy(frame.scaled(tiles)).to(device)[:, None]
        half = F.interpolate(images, scale_factor=0.5, mode="area")
        return torch.cat([self._model(_at_least(size)) for size in (images, half)], 1)


def load_quality(folder: str | Path) -> QualityEncoder:
    """The encoder in a folder of weights, ready for use.

    Raises:
        InputError: no such folder, or another kind of weights.
    """
    tensors, config = load_weights(folder)
    try:
        model = QualityEncoder(QualityConfig.model_validate(config["architecture"]["quality"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder}: no weights of luxvox focus-quality; give the folder that it wrote"
        ) from error
    load_strict(model, tensors, str(folder))
    return model.eval()


def _mean_and_spread(maps: Tensor) -> Tensor:
    """[T, C, z, y, x] -> [T, 2 C]."""
    flat = maps.float().flatten(2)
    return torch.cat([flat.mean(2), flat.std(2, correction=0)], 1)


def _at_least(images: Tensor, side: int = _SMALLEST) -> Tensor:
    """Mirror small images up to `side` pixels."""
    while min(images.shape[2:]) < side:
        down, across = (min(max(side - n, 0), n - 1) if n > 1 else 0 for n in images.shape[2:])
        images = F.pad(images, (0, across, 0, down), mode="reflect")
    return images


def _cached(model: str) -> Path | None:
    """Weights of timm that an earlier download left on this machine."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    known = timm.get_pretrained_cfg(model)
    if known is None or not known.hf_hub_id:
        return None
    found = try_to_load_from_cache(known.hf_hub_id, known.hf_hub_filename or _HUB_FILE)
    # Some name a pickle, which is never opened.
    return Path(found) if isinstance(found, str) and found.endswith(".safetensors") else None


def _fill(model: nn.Module, path: Path) -> None:
    """Load a safetensors file; what only a classifier needs is left out."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: no safetensors file ({error}); give another") from error
    wanted = set(model.state_dict())
    load_strict(model, {k: v for k, v in tensors.items() if k in wanted}, str(path))
