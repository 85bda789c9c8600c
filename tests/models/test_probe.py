"""Probes: the exact logistic regression, and a vote of neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from luxvox.models.dense import ClassifyConfig, DenseConfig, DenseModel
from luxvox.models.encoder import Encoded
from luxvox.models.heads.probe import LinearProbe, NearestProbe, token_statistics
from luxvox.models.sizes import EncoderConfig

WIDTH = 4


def encoded(count: int, seed: int = 0) -> Encoded:
    torch.manual_seed(seed)
    tokens = torch.randn(count, 6, WIDTH) * 2 + torch.randn(count, 1, WIDTH)
    prefix, none = torch.randn(count, 3, WIDTH), torch.zeros(count, 6, 3)
    return Encoded(tokens, prefix, none, none[:, 0], (1, 2, 3), None)


def test_statistics_are_mean_spread_and_prefix() -> None:
    given = encoded(2)
    mean, spread, prefix = token_statistics(given).split(WIDTH, dim=1)
    assert np.allclose(mean, given.tokens.numpy().mean(1), atol=1e-6)
    assert np.allclose(spread, given.tokens.numpy().std(1), atol=1e-6)
    assert torch.allclose(prefix, given.prefix.mean(1))


def test_the_linear_probe_is_that_of_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    given, classes = encoded(40), torch.arange(40) % 3
    statistics = token_statistics(given)
    probe = LinearProbe(WIDTH, 3)
    probe.fit(statistics, classes, penalty=2.0)
    standard = (statistics - statistics.mean(0)) / statistics.std(0, correction=0)
    peer = linear_model.LogisticRegression(C=0.5, max_iter=5000, tol=1e-8)
    wanted = peer.fit(standard.numpy(), classes.numpy()).predict_proba(standard.numpy())
    assert np.allclose(probe(given).softmax(1).detach(), wanted, atol=1e-3)


def test_neighbours_vote_and_rare_classes_are_not_outvoted() -> None:
    given = encoded(12)
    classes = torch.tensor([0] * 10 + [1] * 2)
    probe = NearestProbe(WIDTH, 2, 12)
    probe.fit(token_statistics(given), classes)
    assert torch.equal(probe(given).argmax(1), classes)
    # Where all neighbours are equally near, two classes of any size have equal votes.
    probe.vectors.zero_()
    assert torch.allclose(probe(given).softmax(1), torch.full((12, 2), 0.5))


@pytest.mark.parametrize("method", ["linear", "knn"])
def test_a_dense_model_classifies_by_its_probe_and_keeps_it(method: str) -> None:
    head = ClassifyConfig(classes=2, method=method, samples=4)
    encoder = EncoderConfig(width=24, depth=1, heads=2, registers=1)
    dense = DenseConfig(channels=(4, 8, 8), depths=1, text_dim=6, heads={"classify": head})
    model, other = DenseModel(encoder, dense), DenseModel(encoder, dense)
    crop, size = torch.randn(4, 1, 8, 8, 16), torch.ones(4, 3)
    known = torch.ones(4, dtype=torch.bool)
    with torch.no_grad():
        statistics = token_statistics(model.encoder(crop, size, known))
    classes = torch.tensor([0, 1, 1, 0])
    probe = model.heads["classify"]
    if isinstance(probe, LinearProbe):
        probe.fit(statistics, classes, penalty=0.01)
    else:
        probe.fit(statistics, classes)
    found = model.classify(crop, size, known)
    assert torch.equal(found.argmax(1), classes)
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(other.classify(crop, size, known), found)
