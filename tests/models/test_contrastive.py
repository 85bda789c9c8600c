"""Image-text loss: equal captions are positives, images without a caption stay out."""

import pytest
import torch
from torch.nn import functional as F

from luxvox.models.losses.contrastive import contrastive_loss, gather_with_gradient


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


SCALE = torch.tensor(5.0)


def test_matches_the_formula_written_out():
    image, text = unit(5, 8), unit(3, 8, seed=1)
    ids, text_ids = torch.tensor([7, 4, 7, 4, 4]), torch.tensor([4, 7, 9])
    logits = SCALE * image @ text.T
    to_text = [-logits[i].log_softmax(0)[{4: 0, 7: 1}[int(ids[i])]] for i in range(5)]
    to_image = [
        torch.stack([-logits[:, 0].log_softmax(0)[i] for i in (1, 3, 4)]).mean(),
        torch.stack([-logits[:, 1].log_softmax(0)[i] for i in (0, 2)]).mean(),
    ]
    result = contrastive_loss(image, ids, text, text_ids, SCALE)
    expected = 0.5 * (torch.stack(to_text).mean() + torch.stack(to_image).mean())
    assert torch.allclose(result.loss, expected)
    assert result.captions == 2


def test_equal_captions_are_never_negatives():
    image = unit(1, 8).repeat(4, 1).requires_grad_()
    text = unit(2, 8, seed=1)
    ids = torch.tensor([0, 0, 1, 1])
    contrastive_loss(image, ids, text, torch.tensor([0, 1]), SCALE).loss.backward()
    # Going down the gradient, every image comes nearer its own caption, also where another image of
    # the batch has the same one.
    pull = -(image.grad @ text.T)
    own, other = pull[range(4), ids], pull[range(4), 1 - ids]
    assert (own > other).all()
    same = text[ids]
    perfect = contrastive_loss(same, ids, text, torch.tensor([0, 1]), torch.tensor(100.0))
    wrong = contrastive_loss(same.flip(0), ids, text, torch.tensor([0, 1]), torch.tensor(100.0))
    assert perfect.image_to_text < 1e-3
    assert perfect.text_to_image.item() == pytest.approx(0.693, abs=1e-3)  # two positives share it
    assert wrong.loss > perfect.loss + 1


def test_images_without_a_caption_are_left_out():
    image, text = unit(5, 8), unit(3, 8, seed=1)
    ids, text_ids = torch.tensor([0, -1, 1, -1, 0]), torch.tensor([0, 1, 2])
    with_them = image.clone().requires_grad_()
    result = contrastive_loss(with_them, ids, text, text_ids, SCALE)
    rows = [0, 2, 4]
    without = contrastive_loss(image[rows], ids[rows], text, text_ids, SCALE)
    assert torch.allclose(result.loss, without.loss, atol=1e-6)
    result.loss.backward()
    assert with_them.grad[[1, 3]].abs().max() == 0
    assert with_them.grad[rows].abs().min() > 0


def test_nobody_has_a_caption():
    image = unit(3, 8).requires_grad_()
    ids = torch.full((3,), -1)
    result = contrastive_loss(image, ids, unit(2, 8), torch.tensor([0, 1]), SCALE)
    result.loss.backward()
    assert result.loss == 0
    assert result.captions == 0
    assert torch.equal(image.grad, torch.zeros(3, 8))


def test_captions_without_an_image_are_negatives_of_images_only():
    image, ids = unit(3, 8), torch.tensor([0, 1, 0])
    few = contrastive_loss(image, ids, unit(5, 8, seed=1)[:2], torch.arange(2), SCALE)
    many = contrastive_loss(image, ids, unit(5, 8, seed=1), torch.arange(5), SCALE)
    assert many.image_to_text > few.image_to_text
    assert torch.allclose(many.text_to_image, few.text_to_image)
    assert many.captions == few.captions == 2


def test_order_of_texts_does_not_matter():
    image, text, ids = unit(4, 8), unit(3, 8, seed=1), torch.tensor([0, 1, 2, 1])
    order = torch.tensor([2, 0, 1])
    first = contrastive_loss(image, ids, text, torch.arange(3), SCALE).loss
    assert torch.allclose(first, contrastive_loss(image, ids, text[order], order, SCALE).loss)


def test_gather_without_processes_is_the_identity():
    x = torch.randn(3, 4, requires_grad=True)
    assert gather_with_gradient(x) is x
