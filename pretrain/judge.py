"""Runs the evaluation of evaluate.py on the averaged weights, shared out over the ranks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ..data.loader import decode
from .caption_book import CaptionBook
from .corpus import Corpus, fixed_batches
from .evaluate import CropScores, Pictures, score_crops, summarise
from .loop import Learner
from .objectives import Batch
from .outcome import write_embeddings, write_pictures
from .recipe import PretrainRecipe

TRAIN_CROPS_PER_VOLUME = 4  # as neighbours for the vote
PICTURED = 8  # volumes shown in the report


class Judge:
    """Fixed crops of the held-back groups, and of the training volumes as neighbours.

    The crops are cut once and kept in memory: every evaluation sees the same ones.
    """

    def __init__(self, recipe: PretrainRecipe, corpus: Corpus) -> None:
        """Cut the crops; `ready` is False where nothing is held back."""
        self.recipe, self.corpus = recipe, corpus
        self.ready = corpus.val is not None
        if corpus.val is None:
            return
        size = recipe.batch_size
        many = recipe.evaluate.max_volumes
        self.val = fixed_batches(corpus.val, recipe.evaluate.crops_per_volume, size, many)
        self.train = fixed_batches(corpus.train, TRAIN_CROPS_PER_VOLUME, size, many)

    def evaluate(self, learner: Learner, run: Path) -> dict[str, float]:
        """Evaluate the averaged weights; writes pictures and embeddings into `run`.

        Every rank calls this and gets the same numbers.
        """
        pictures = Pictures()
        learner.wrapped.eval()
        with learner.ema.swapped(learner.model), torch.no_grad():
            scores = self._scores(learner, self.val, pictures)
            neighbours = self._scores(learner, self.train, None)
            captions = self._captions(learner)
        metrics = summarise(
            scores,
            captions,
            np.stack([score.features for score in neighbours]),
            np.array([score.structure for score in neighbours]),
        )
        if learner.accelerator.is_main_process:
            write_pictures(run, pictures, self.corpus.val_names)
            if len(captions):
                present = np.unique([s.caption for s in scores if s.caption >= 0])
                shown = [score for score in scores if score.caption >= 0]
                write_embeddings(
                    run,
                    np.stack([score.image for score in shown]),
                    np.searchsorted(present, [score.caption for score in shown]),
                    captions[present],
                    [self.corpus.captions[caption] for caption in present],
                )
        return metrics

    def _scores(
        self, learner: Learner, batches: list[Batch], pictures: Pictures | None
    ) -> list[CropScores]:
        """This rank's share of the batches, then everyone's, each crop once."""
        accelerator = learner.accelerator
        # Every rank runs equally often, or FSDP would wait for ever: short shares are filled up.
        rounds = -(-len(batches) // accelerator.num_processes)
        mine = [
            batches[
                min(turn * accelerator.num_processes + accelerator.process_index, len(batches) - 1)
            ]
            for turn in range(rounds)
        ]
        with accelerator.autocast():
            scores = score_crops(
                learner.wrapped,
                _decoded(mine, accelerator.device),
                self.recipe.data.crop.patch,
                self.recipe.evaluate.ratio,
                pictures,
                PICTURED,
            )
        if accelerator.num_processes > 1:
            from accelerate.utils import gather_object

            scores = gather_object(scores)
        return sorted({score.index: score for score in scores}.values(), key=lambda s: s.index)

    def _captions(self, learner: Learner) -> np.ndarray:
        """[C, dim] projected full captions by the averaged weights; [0, dim] where text is not
        trained."""
        book: CaptionBook | None = learner.captions
        if book is None:
            return np.zeros((0, self.recipe.text.dim), dtype=np.float32)
        captions = book.full(learner.accelerator.device)
        return learner.wrapped("words", captions)["texts"].float().cpu().numpy()


def _decoded(batches: list[Batch], device: torch.device) -> Iterator[Batch]:
    for batch in batches:
        yield decode(batch, device)
