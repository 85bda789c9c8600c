"""Classification of whole volumes: probes of frozen features, an attentive head, or everything.

One crop is one vote; a volume's answer is the mean over the tiles that cover it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...models.dense import ClassifyConfig, DenseModel, fill_to_patches
from ...models.encoder import Encoded
from ...models.heads.probe import LinearProbe, NearestProbe, token_statistics
from ..examples import Example
from ..recipe import ClassifyRecipe
from ..sub_crops import Batch

HEAD = "classify"


def class_names(examples: Sequence[Example]) -> tuple[str, ...]:
    """Names of the classes, in the order of the logits."""
    return tuple(sorted({str(example.class_name) for example in examples}))


def classify_head(recipe: ClassifyRecipe, classes: int, examples: int) -> ClassifyConfig:
    """Dimensions of the head.

    Args:
        recipe: says which.
        classes: K.
        examples: volumes that are learnt from.
    """
    if recipe.method == "linear":
        return ClassifyConfig(classes=classes, method="linear")
    if recipe.method == "knn":
        return ClassifyConfig(classes=classes, method="knn", samples=recipe.views * examples)
    return ClassifyConfig(classes=classes)


class ClassifyTask(nn.Module):
    """The model as classification trains it.

    Args:
        model: with the head.
        head: its name.
        examples: what is learnt from; batches say by number which one a crop is of.
    """

    truth: Tensor

    def __init__(self, model: DenseModel, head: str, examples: Sequence[Example]) -> None:
        super().__init__()
        self.model, self.head = model, head
        names = class_names(examples)
        truth = torch.tensor([names.index(str(example.class_name)) for example in examples])
        self.register_buffer("truth", truth, persistent=False)

    def features(self, batch: Batch) -> Encoded:
        """All that comes before the head."""
        filled = fill_to_patches(batch.image, self.model.encoder.config.patch)
        return self.model.encoder(filled, batch.voxel_size_um, batch.spacing_known)

    def forward(self, batch: Batch, features: Encoded | None = None) -> dict[str, Tensor]:
        """`cross_entropy` and `loss`; features of the batch may be given, if nothing moved."""
        given = self.features(batch) if features is None else features
        logits = self.model.heads[self.head](given)
        entropy = F.cross_entropy(logits.float(), self.truth[batch.example])
        return {"cross_entropy": entropy, "loss": entropy}

    @torch.no_grad()
    def fit_probe(self, draw: Callable[[int], Batch], views: int, penalty: float) -> None:
        """Solve for a probe on features of the frozen encoder, instead of training by steps.

        Args:
            draw: the batch of a step, one crop of every example in their order.
            views: how many of them.
            penalty: of the linear probe.
        """
        self.eval()
        statistics, classes = [], []
        for step in range(views):
            batch = draw(step)
            statistics.append(token_statistics(self.features(batch)))
            classes.append(self.truth[batch.example])
        given, truth = torch.cat(statistics), torch.cat(classes)
        head = self.model.heads[self.head]
        if isinstance(head, LinearProbe):
            head.fit(given, truth, penalty)
        else:
            assert isinstance(head, NearestProbe)
            head.fit(given, truth)
