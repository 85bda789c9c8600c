"""The demo on a plain installation, without the sentence encoder, and with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from luxvox.configs.errors import InputError
from luxvox.models.text import DEFAULT_PACKAGE
from luxvox.pretrain import demo
from luxvox.pretrain.recipe import PretrainRecipe


@pytest.mark.parametrize("installed", [True, False])
def test_captions_are_left_out_where_nothing_reads_them(
    installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if installed:
        pytest.importorskip(DEFAULT_PACKAGE, reason="the extra [text] is not installed")
    else:
        monkeypatch.setattr("luxvox.models.text.DEFAULT_PACKAGE", "no_such_package")
    ran: list[PretrainRecipe] = []

    def pretrain(recipe: PretrainRecipe) -> dict[str, float]:
        ran.append(recipe)
        names = ("masked", "interpolation", "visible_mean")
        return {"steps": recipe.steps, **{f"val/{name}_error": 0.5 for name in names}}

    monkeypatch.setattr(demo, "simulate", lambda out, *_, **__: out / "dataset.csv")
    monkeypatch.setattr(demo, "pretrain", pretrain)
    assert demo.demo_command(tmp_path / "demo", ["steps=3"]).name == "report.html"
    assert ran[0].steps == 3
    assert (ran[0].objective.text > 0) == installed
    (tmp_path / "demo" / "x").parent.mkdir()
    (tmp_path / "demo" / "x").touch()
    with pytest.raises(InputError, match="holds something already"):
        demo.demo_command(tmp_path / "demo")
