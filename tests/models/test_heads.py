"""Heads: one logit per class and voxel, identity before training, one answer per crop."""

import torch

from luxvox.models.encoder import Encoder
from luxvox.models.heads.classify import ClassifyHead
from luxvox.models.heads.restore import RestoreHead
from luxvox.models.heads.segment import SegmentHead
from luxvox.models.sizes import EncoderConfig


def maps():
    torch.manual_seed(0)
    return torch.randn(2, 4, 6, 8, 10), (torch.randn(2, 6, 3, 4, 5), torch.randn(2, 8, 2, 2, 3))


def test_segment_is_deep_only_while_training():
    full, coarse = maps()
    head = SegmentHead((4, 6, 8), classes=3, distance=True)
    given = head(full, coarse)
    assert given.logits.shape == (2, 3, 6, 8, 10)
    assert [c.shape for c in given.coarse] == [(2, 3, 3, 4, 5), (2, 3, 2, 2, 3)]
    assert given.distance.shape == (2, 1, 6, 8, 10)
    sum(x.sum() for x in (given.logits, *given.coarse, given.distance)).backward()
    assert all(p.grad.abs().max() > 0 for p in head.parameters())
    judged = head.eval()(full, coarse)
    assert judged.coarse == ()
    assert torch.equal(judged.logits, given.logits)


def test_segment_has_no_distance_unless_asked():
    full, coarse = maps()
    assert SegmentHead((4, 6, 8))(full, coarse).distance is None


def test_segment_answers_by_voxel():
    full, coarse = maps()
    head = SegmentHead((4, 6, 8), classes=2)
    shifted = torch.roll(full, (1, 2, 3), (2, 3, 4))
    expected = torch.roll(head(full, coarse).logits, (1, 2, 3), (2, 3, 4))
    torch.testing.assert_close(head(shifted, coarse).logits, expected)


def test_restore_starts_as_identity_and_can_learn():
    full, _ = maps()
    crop = torch.randn(2, 1, 6, 8, 10)
    head = RestoreHead(4)
    assert torch.equal(head(full, crop), crop)
    target = crop + 0.5 * full[:, :1] - 1
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        (head(full, crop) - target).square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(head(full, crop), target, rtol=0, atol=1e-2)


def test_classify_reads_tokens():
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(width=24, depth=1, heads=2))
    head = ClassifyHead(24, heads=2, classes=5)
    one = torch.ones(3, dtype=torch.bool)
    logits = head(encoder(torch.randn(3, 1, 8, 16, 16), torch.ones(3, 3), one))
    assert logits.shape == (3, 5)
    assert (logits[0] - logits[1]).abs().max() > 1e-2
    logits.square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in head.parameters() if p is not head.pool.query)
    assert head.pool.query.grad is not None
