"""Fixtures that several rooms use."""

from __future__ import annotations

from pathlib import Path

import pytest

from luxvox.configs.threads import let_threads_sleep

let_threads_sleep()  # before any test loads torch


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what is marked slow, unless -m is given (-m slow) or a test is named by FILE::NAME."""
    if config.option.markexpr or any("::" in word for word in config.args):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: pytest -m slow"))


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep caches of tests out of the user's home."""
    import os

    os.environ["LUXVOX_HOME"] = str(tmp_path_factory.mktemp("luxvox-home"))


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of 24 small simulated volumes with captions, groups and a split."""
    from luxvox.configs.load import load_recipe
    from luxvox.data.synthetic.recipe import SimulateRecipe
    from luxvox.data.synthetic.simulate import simulate

    recipe = load_recipe("simulate/clear.yaml", SimulateRecipe, ["size=[32,32,32]"])
    folder = tmp_path_factory.mktemp("simulated")
    return simulate(folder, recipe, count=24, seed=3, workers=1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real volumes that lie beside the project on the developers' machines."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real volumes (../shared/data) are not on this machine")
    return folder


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are allowed, whatever the environment says: they go to a server on loopback."""
    for name in ("HF_HUB_OFFLINE", "LUXVOX_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    # Read from the environment once, when it is imported.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
