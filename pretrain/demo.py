"""`luxvox demo`: simulated volumes, a few minutes of pretraining on them, the way to the report.

No network."""

from __future__ import annotations

from pathlib import Path

from ..configs.errors import InputError
from ..configs.load import load_recipe
from ..data.synthetic.recipe import SimulateRecipe
from ..data.synthetic.simulate import simulate
from ..models.text import default_text_folder
from .recipe import PretrainRecipe
from .run import pretrain

VOLUMES = 24


def demo_command(out: str | Path, overrides: list[str] | None = None) -> Path:
    """Simulate volumes, pretrain `nano` on them, and print where the report lies.

    Without the extra [text] the captions are left out, so that it runs on a plain installation.

    Args:
        out: a new or empty folder; receives `volumes/` and `run/`.
        overrides: `key=value` pairs for the demo recipe, such as `steps=50`.

    Returns:
        The path of the report.

    Raises:
        InputError: the folder holds something already.
    """
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: holds something already; give a new folder for the demo")
    scenes = load_recipe("simulate/clear.yaml", SimulateRecipe)
    print(f"{VOLUMES} simulated volumes ({', '.join(scenes.structures)}) -> {folder / 'volumes'}")
    listing = simulate(folder / "volumes", scenes, count=VOLUMES, seed=0)
    run = folder / "run"
    words = [f"data={listing}", f"out={run}", *_without_captions(), *(overrides or [])]
    plan = load_recipe("pretrain/demo.yaml", PretrainRecipe, words)
    metrics = pretrain(plan)
    if metrics["steps"] < plan.steps:
        print(f"stopped at step {metrics['steps']}; start again with a new folder")
        return run / "report.html"
    print(
        f"error of hidden voxels: model {metrics['val/masked_error']:.3f}, "
        f"interpolation {metrics['val/interpolation_error']:.3f}, "
        f"mean of the visible {metrics['val/visible_mean_error']:.3f}"
    )
    report = run / "report.html"
    print(f"report: {report.resolve()}")
    return report


def _without_captions() -> list[str]:
    """What to change where no sentence encoder is installed; [] where there is one."""
    try:
        default_text_folder()
    except InputError:
        print('no sentence encoder: without captions; with them: pip install "luxvox[text]"')
        return ["objective.text=0"]
    return []
