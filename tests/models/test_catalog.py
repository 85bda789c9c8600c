"""Shipped weights: found by name, checked against their sha256."""

import hashlib

import pytest

from luxvox.configs.errors import InputError
from luxvox.models import catalog


@pytest.fixture
def shipped(monkeypatch, tmp_path):
    folder = tmp_path / "weights" / "toy"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    digest = hashlib.sha256(b"{}").hexdigest()
    monkeypatch.setattr(catalog, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(catalog, "SHIPPED", {"toy": {"config.json": digest}})
    return folder


def test_a_shipped_name_is_a_folder(shipped):
    assert catalog.find_weights("toy") == shipped


def test_a_run_a_folder_and_a_shipped_name_are_found(shipped, tmp_path):
    (tmp_path / "run" / "weights").mkdir(parents=True)
    with pytest.raises(InputError, match="run: no weights in it"):
        catalog.find_folder(tmp_path / "run")
    (tmp_path / "run" / "weights" / "config.json").write_text("{}")
    weights = tmp_path / "run" / "weights"
    assert catalog.find_folder(tmp_path / "run") == catalog.find_folder(weights) == weights
    assert catalog.find_folder("toy") == shipped
    with pytest.raises(InputError, match="tot: no such folder"):
        catalog.find_folder("tot")


def test_damage_and_loss_are_named(shipped):
    (shipped / "config.json").write_text("{ }")
    with pytest.raises(InputError, match=r"config\.json: damaged .* install luxvox again"):
        catalog.find_weights("toy")
    (shipped / "config.json").unlink()
    with pytest.raises(InputError, match="no such file"):
        catalog.find_weights("toy")


def test_an_unknown_name_lists_what_there_is(shipped):
    with pytest.raises(InputError, match=r"tyo: no such folder.*there are: toy"):
        catalog.find_weights("tyo")


def test_what_ships_is_whole():
    for name in catalog.SHIPPED:
        assert (catalog.find_weights(name) / "config.json").is_file()
