"""The space of crops and sentences: shapes, padding, what weights hold of it."""

from __future__ import annotations

import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.models.alignment import ALIGNMENT, Alignment, AlignmentConfig, read_alignment
from luxvox.models.encoder import Encoder
from luxvox.models.sizes import EncoderConfig

ENCODER = EncoderConfig(width=24, depth=1, heads=2)
CONFIG = AlignmentConfig(dim=5, text_dim=7)


def built() -> Alignment:
    torch.manual_seed(0)
    alignment = Alignment(ENCODER, CONFIG)
    for parameter in alignment.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return alignment.eval()


def test_crops_and_sentences_meet_in_one_space() -> None:
    torch.manual_seed(1)
    alignment, encoder = built(), Encoder(ENCODER).eval()
    with torch.no_grad():
        encoded = encoder(torch.randn(3, 1, 8, 16, 16), torch.ones(3, 3), torch.ones(3).bool())
        images = alignment.images(encoded)
        texts = alignment.sentences(torch.randn(4, 7))
        # Tokens that are padding reach nothing.
        longer = torch.cat([encoded.tokens, 100 * torch.ones(3, 2, 24)], dim=1)
        mask = torch.tensor([[True] * 4 + [False] * 2]).expand(3, -1)
        padded = alignment.images(encoded._replace(tokens=longer, key_mask=mask))
    assert images.shape == (3, 5)
    assert texts.shape == (4, 5)
    assert torch.allclose(images.norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.allclose(texts.norm(dim=1), torch.ones(4), atol=1e-5)
    assert (images[0] - images[1]).abs().max() > 1e-4
    assert torch.allclose(images, padded, atol=1e-5)


def test_weights_give_back_what_they_hold() -> None:
    alignment = built()
    parts = {"encoder": ENCODER.model_dump(mode="json"), "alignment": CONFIG.model_dump()}
    tensors = {ALIGNMENT + name: tensor for name, tensor in alignment.state_dict().items()}
    found = read_alignment(parts, tensors | {"dense.x": torch.ones(1)}, "w")
    assert found is not None
    assert not found.training
    vectors = torch.randn(2, 7)
    assert torch.equal(found.sentences(vectors), alignment.sentences(vectors))
    assert read_alignment({"encoder": parts["encoder"]}, tensors, "w") is None
    del tensors[ALIGNMENT + "pool.query"]
    with pytest.raises(InputError, match=r"lacks pool\.query"):
        read_alignment(parts, tensors, "w")
