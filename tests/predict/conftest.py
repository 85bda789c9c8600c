"""Fixtures of the block engine."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def blocks() -> ModuleType:
    """What lies in blocks.py, which is also run as a program of its own."""
    spec = importlib.util.spec_from_file_location("blocks", Path(__file__).with_name("blocks.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def image(blocks: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume of 2 x 2 x 3 blocks of 64 voxels, the last of each axis cut short."""
    return blocks.smooth_volume(tmp_path_factory.mktemp("image") / "in.ome.zarr", (100, 100, 130))


@pytest.fixture(scope="session")
def expected(blocks: ModuleType, image: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What one process writes in one go."""
    out = tmp_path_factory.mktemp("expected") / "out.ome.zarr"
    blocks.predict_blocks(blocks.request_of(image, out))
    return blocks.voxels(out).tobytes()
