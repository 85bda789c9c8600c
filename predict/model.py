"""What `luxvox.load` returns: pretrained weights with the normalisation and crop size they were
trained with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..configs.errors import InputError
from ..configs.explain import one_line
from ..data.crop_plan import CropConfig, cut_crop, plan_crops
from ..data.normalize import measure_intensity
from ..data.open import open_volume
from ..data.volume import Volume
from ..models.baselines import build_encoder
from ..models.checkpoint import load_strict, load_weights
from ..models.encoder import Encoded
from ..models.pool import AttentionPool, mean_token
from ..models.sizes import EncoderConfig
from ..models.text import Projector, TextTower

Triple = tuple[int, int, int]


class Model(nn.Module):
    """A pretrained encoder with its pooling and its projections into the space shared with
    captions."""

    def __init__(self, config: dict, where: str) -> None:
        """Build from config.json; `where` names the weights in messages."""
        super().__init__()
        self.config, self.where = config, where
        parts = config["architecture"]
        shape = EncoderConfig(**parts["encoder"])
        text_width, shared = int(parts["text"]["width"]), int(parts["text"]["dim"])
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
        self.text_projector = Projector(text_width, shared)
        # A frozen tower is no part of the weights; one that has learnt is.
        layers = int(parts["text"]["trainable_layers"])
        self.tower = TextTower(self.text_folder, layers) if layers else None

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
        if not isinstance(volume, (Volume, str, Path)):
            raise InputError(
                f"a volume of type {type(volume).__name__}, expected a path or an open volume; "
                "write arrays with luxvox.save_volume first"
            )
        opened = volume if isinstance(volume, Volume) else open_volume(volume)
        plan = plan_crops(opened, self.crop)
        stats = measure_intensity(opened, channel, plan.level)
        device = next(self.parameters()).device
        size = torch.tensor([plan.voxel_size_um or (1.0, 1.0, 1.0)], device=device)
        known = torch.tensor([plan.voxel_size_um is not None], device=device)
        vectors = []
        origins = self.crop_origins(opened)
        for first in range(0, len(origins), batch_size):
            crops = [
                cut_crop(opened, channel, stats, plan, origin, plan.real)
                for origin in origins[first : first + batch_size]
            ]
            batch = torch.from_numpy(np.stack(crops))[:, None].to(device)
            count = len(crops)
            encoded = self.encoder(batch, size.expand(count, 3), known.expand(count))
            vectors.append(self._vectors(encoded).float().cpu())
        return torch.cat(vectors).numpy()

    def crop_origins(self, volume: Volume) -> list[Triple]:
        """Corners (z, y, x) of the crops that `embed` cuts, in voxels of the level that it reads.

        A grid that reaches both ends of each axis. The crops have the size in micrometres that the
        model was trained with, where that was asked for (`data.crop.voxel_size_um`).
        """
        plan = plan_crops(volume, self.crop)
        z, y, x = (list(_starts(*pair)) for pair in zip(plan.size, plan.box, strict=True))
        return [(i, j, k) for i in z for j in y for k in x]

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
            InputError: the model was trained without captions, so it knows no sentences.
        """
        if not self.knows_captions:
            raise InputError(
                f"{self.where}: trained without captions (objective.text=0), so sentences mean "
                "nothing to it; train with captions"
            )
        sentences = [sentences] if isinstance(sentences, str) else sentences
        tower = self.tower or TextTower(self.text_folder)
        device = next(self.parameters()).device
        return self.text_projector(tower.encode(sentences).to(device)).float().cpu().numpy()


def load(name: str | Path, device: str | torch.device = "cpu") -> Model:
    """Load pretrained weights.

    Args:
        name: a folder of weights, or a RUN folder that holds `weights/`.
        device: where the model is put.

    Returns:
        The model in evaluation mode.

    Raises:
        InputError: no such folder, or weights that do not fit their config.json.
    """
    folder = Path(name)
    if (folder / "weights" / "config.json").is_file():
        folder = folder / "weights"
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{name}: no weights found, expected a folder with config.json and model.safetensors, "
            "or a RUN folder that holds weights/"
        )
    tensors, config = load_weights(folder)
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


def _starts(side: int, edge: int) -> Iterator[int]:
    """Starts of pieces of `edge` over `side`; the last is moved back to end at the border."""
    for start in range(0, side, edge):
        yield min(start, side - edge)
        if start + edge >= side:
            return
