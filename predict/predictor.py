"""What `luxvox.load` returns for dense and fine-tuned weights: volumes in, labels or images out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..configs.errors import InputError
from ..data.crop_plan import CropConfig
from ..data.save import check_out
from ..data.volume import Volume
from ..models.encoder import Encoder
from ..models.pool import mean_token
from .embed import Triple, crop_origins, embed_crops, opened
from .task_weights import DenseWeights, Task
from .volume import need_name, predict_volume, save_result


class Predictor(nn.Module):
    """A dense model with what it has learnt to do.

    A fine-tuned RUN knows its task; pretrained dense weights are told one at every prediction.
    """

    def __init__(self, weights: DenseWeights) -> None:
        """Take weights that `task_weights.open_dense` gave."""
        super().__init__()
        self.weights = weights
        self.model = weights.model
        self.alignment = weights.alignment
        shape = weights.model.encoder.config
        self.embed_dim = shape.width
        if weights.alignment is not None:
            self.embed_dim = weights.alignment.config.dim
        # A tile need not be whole patches; what is embedded has to be.
        z, y, x = (
            max(1, side // edge) * edge
            for side, edge in zip(weights.tile, shape.patch, strict=True)
        )
        self.crop = CropConfig(shape=(z, y, x), patch=shape.patch)

    @property
    def knows_captions(self) -> bool:
        """Whether crops and sentences have a space in common."""
        return self.alignment is not None

    @property
    def encoder(self) -> nn.Module:
        """The encoder, with whatever fine-tuning has taught it."""
        return self.model.encoder

    def predict(
        self,
        volume: Volume | str | Path,
        out: str | Path | None = None,
        *,
        task: Task | None = None,
        structure: str | None = None,
        threshold: float | None = None,
        probabilities: bool = False,
        instances: bool = False,
        flips: bool = False,
        overwrite: bool = False,
    ) -> NDArray[Any]:
        """Segment or restore a volume of one channel.

        Args:
            volume: an open volume, or anything `open_volume` reads.
            out: where the result is written as well, with the voxel size and the place of the
                volume: a name in .ome.zarr, .ome.tif or .nii.gz, or STORE.ome.zarr/labels/NAME.
            task: of pretrained weights; None = "segment".
            structure: of pretrained weights: text that names what is to be found.
            threshold: of binary segmentation, in place of that of the weights.
            probabilities: give them in place of labels.
            instances: number the objects of a binary segmentation, touching ones apart.
            flips: the mean over four mirror images, in four times the time.
            overwrite: replace what stands at `out`.

        Returns:
            As `predict_volume`: labels [Z, Y, X], probabilities, or the restored image.

        Raises:
            InputError: an option that does not fit the weights, no structure named, several
                channels, too little memory, or a place that cannot be written.
        """
        source = opened(volume)
        if out is not None:
            check_out(out, overwrite=overwrite, source=source)
        if task is None and self.weights.task is None:
            task = "segment"
        told = self.weights.told(task, structure).asked(structure)
        told = told.flipped() if flips else told
        need_name(told)
        result = predict_volume(
            told, source, threshold=threshold, probabilities=probabilities, instances=instances
        )
        if out is not None:
            save_result(
                result, out, source.voxel_size_um, overwrite=overwrite,
                translation_um=source.levels[0].translation_um,
            )  # fmt: skip
        return result

    @torch.inference_mode()
    def embed(
        self, volume: Volume | str | Path, channel: int = 0, batch_size: int = 8
    ) -> NDArray[np.float32]:
        """Embed a volume crop by crop, on a grid without overlap (see `crop_origins`).

        Weights that know sentences give vectors of the space of `embed_text`; others the mean token
        of the encoder.

        Args:
            volume: an open volume, or anything `open_volume` reads.
            channel: index of the channel.
            batch_size: crops encoded together.

        Returns:
            [M, embed_dim] float32 unit vectors, one per crop, in the order of `crop_origins`.

        Raises:
            InputError: a net without tokens; or the volume is shorter than one patch along an axis,
                or not readable.
        """
        encoder = self.model.encoder
        if not isinstance(encoder, Encoder):
            raise InputError(
                f"{self.weights.where}: a {self.model.config.backbone}, which has no tokens to "
                "embed crops with; take weights with backbone vit"
            )

        def encode(crops: Tensor, size: Tensor, known: Tensor) -> Tensor:
            encoded = encoder(crops, size, known)
            if self.alignment is not None:
                return self.alignment.images(encoded)
            return nn.functional.normalize(mean_token(encoded), dim=-1)

        device = next(self.parameters()).device
        return embed_crops(encode, opened(volume), self.crop, channel, batch_size, device)

    def crop_origins(self, volume: Volume) -> list[Triple]:
        """Corners (z, y, x) of the crops that `embed` cuts, in voxels of the volume."""
        return crop_origins(volume, self.crop)

    @torch.inference_mode()
    def embed_text(self, sentences: str | list[str]) -> NDArray[np.float32]:
        """Embed sentences into the space of `embed`.

        Args:
            sentences: M of them; a single string counts as a list of one.

        Returns:
            [M, embed_dim] float32 unit vectors.

        Raises:
            InputError: weights that know no sentences; or one that is no known name, and no
                sentence encoder is installed.
        """
        if self.alignment is None:
            raise InputError(
                f"{self.weights.where}: knows no sentences beside its crops; take luxvox-tiny, a "
                "run with captions (stage A), or align these: luxvox pretrain align_text"
            )
        sentences = [sentences] if isinstance(sentences, str) else sentences
        return self.alignment.sentences(self.weights.vectors(sentences)).cpu().numpy()
