"""`luxvox.load`, and what it returns for a pretrained encoder: the weights, with the normalisation
and crop size they were trained with."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..configs.errors import InputError
from ..configs.explain import one_line
from ..data.crop_plan import CropConfig
from ..data.volume import Volume
from ..models.baselines import build_encoder
from ..models.catalog import find_folder
from ..models.checkpoint import load_strict, load_weights
from ..models.encoder import Encoded
from ..models.pool import AttentionPool, mean_token
from ..models.sizes import EncoderConfig
from ..models.text import Projector, TextTower
from ..models.text_vectors import open_tower
from .embed import Triple, crop_origins, embed_crops, opened
from .predictor import Predictor
from .task_weights import is_dense, open_dense
from .volume import choose_device


class Model(nn.Module):
    """A pretrained encoder with its pooling and its projections into the space shared with
    captions."""

    def __init__(self, config: dict, where: str) -> None:
        """Build from config.json; `where` names the weights in messages."""
        super().__init__()
        self.config, self.where = config, where
        parts = config["architecture"]
        shape = EncoderConfig(**parts["encoder"])
        self._text_width, shared = int(parts["text"]["width"]), int(parts["text"]["dim"])
        self.text_folder: str | None = parts["text"]["folder"]
        self.knows_captions: bool = config["recipe"]["objective"]["text"] > 0
        self.embed_dim = shared if self.knows_captions else shape.width
        self.crop = CropConfig(
            shape=parts["crop_shape"],
            voxel_size_um=parts["crop_voxel_size_um"],
            patch=shape.patch,
        )
        self.encoder = build_encoder(parts["encoder_name"], shape)
        self.pool = AttentionPool(shape.width, shape.heads)
        self.image_projector = Projector(shape.width, shared)
        self.text_projector = Projector(self._text_width, shared)
        # A frozen tower is no part of the weights; one that has learnt is.
        layers = int(parts["text"]["trainable_layers"])
        self.tower = self._open_tower(layers) if layers else None

    @torch.inference_mode()
    def embed(
        self, volume: Volume | str | Path, channel: int = 0, batch_size: int = 8
    ) -> NDArray[np.float32]:
        """Embed a volume crop by crop, on a grid without overlap (see `crop_origins`).

        Args:
            volume: an open volume, or anything `open_volume` reads.
            channel: index of the channel.
            batch_size: crops encoded together.

        Returns:
            [M, embed_dim] float32 unit vectors, one per crop, in the order of `crop_origins`.

        Raises:
            InputError: the volume is shorter than one patch along an axis, or not readable.
        """

        def encode(crops: Tensor, size: Tensor, known: Tensor) -> Tensor:
            return self._vectors(self.encoder(crops, size, known))

        device = next(self.parameters()).device
        return embed_crops(encode, opened(volume), self.crop, channel, batch_size, device)

    def crop_origins(self, volume: Volume) -> list[Triple]:
        """Corners (z, y, x) of the crops that `embed` cuts, in voxels of the level that it reads.

        The crops have the size in micrometres that the model was trained with, where that was
        asked for (`data.crop.voxel_size_um`).
        """
        return crop_origins(volume, self.crop)

    def _vectors(self, encoded: Encoded) -> Tensor:
        """[B, embed_dim] unit vectors. Without captions pool and projection have learnt nothing."""
        if self.knows_captions:
            return self.image_projector(self.pool(encoded))
        return nn.functional.normalize(mean_token(encoded), dim=-1)

    @torch.inference_mode()
    def embed_text(self, sentences: str | list[str]) -> NDArray[np.float32]:
        """Embed sentences into the space of `embed`.

        Args:
            sentences: M of them; a single string counts as a list of one.

        Returns:
            [M, embed_dim] float32 unit vectors.

        Raises:
            InputError: the model was trained without captions, so it knows no sentences; or no
                sentence encoder that fits is installed.
        """
        if not self.knows_captions:
            raise InputError(
                f"{self.where}: trained without captions (objective.text=0), so sentences mean "
                "nothing to it; train with captions"
            )
        sentences = [sentences] if isinstance(sentences, str) else sentences
        device = next(self.parameters()).device
        vectors = self._sentence_encoder.encode(sentences)
        return self.text_projector(vectors.to(device)).float().cpu().numpy()

    @cached_property
    def _sentence_encoder(self) -> TextTower:
        """The tower; a frozen one is opened at the first sentence, and is no part of the module."""
        return self.tower or self._open_tower()

    def _open_tower(self, trainable_layers: int = 0) -> TextTower:
        return open_tower(self.text_folder, self._text_width, self.where, trainable_layers)

    def predict(
        self, volume: Volume | str | Path, out: str | Path | None = None, **options: object
    ) -> NoReturn:
        """Refuse: an encoder alone answers nothing for single voxels.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"{self.where}: an encoder without a decoder, which segments and restores nothing; "
            "load a run of luxvox finetune, or of a dense_* recipe of luxvox pretrain"
        )


def load(name: str | Path, device: str | torch.device = "cpu") -> Model | Predictor:
    """Load weights.

    Args:
        name: a RUN folder that holds `weights/`, a folder of weights, or a name that ships.
        device: where the model is put.

    Returns:
        In evaluation mode: a `Model` of an encoder that was pretrained with `luxvox pretrain`; a
        `Predictor` of dense (stage B) and of fine-tuned weights.

    Raises:
        InputError: nothing of that name, weights that do not fit their config.json, or no such
            device.
    """
    device = choose_device(str(device))
    folder = find_folder(name)
    tensors, config = load_weights(folder)
    if is_dense(config):
        return Predictor(open_dense(name, device)).eval()
    try:
        model = Model(config, str(folder))
    except (KeyError, TypeError, ValueError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else one_line(error)
        raise InputError(
            f"{folder / 'config.json'}: no model can be built from it ({what}); copy it again"
        ) from error
    wanted = {name.split(".")[0] for name in model.state_dict()}
    # The masked decoder and the caption vectors lie in the same file; they are for training only.
    used = {name: tensor for name, tensor in tensors.items() if name.split(".")[0] in wanted}
    load_strict(model, used, str(folder))
    return model.to(device).eval()
