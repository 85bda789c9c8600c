"""Fixtures that several rooms use."""

from __future__ import annotations

from pathlib import Path

import pytest

from luxvox.configs.threads import let_threads_sleep

let_threads_sleep()  # before any test loads torch


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep caches of tests out of the user's home."""
    import os

    os.environ["LUXVOX_HOME"] = str(tmp_path_factory.mktemp("luxvox-home"))


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of 24 small phantom volumes with captions, groups and a split."""
    from luxvox.data.synthetic.phantoms import write_phantoms

    return write_phantoms(tmp_path_factory.mktemp("phantoms"), count=24, seed=3, size=(32, 32, 32))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real volumes that lie beside the project on the developers' machines."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real volumes (../shared/data) are not on this machine")
    return folder
