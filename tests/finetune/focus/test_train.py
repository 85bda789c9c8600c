"""Training of the focus head: it learns, resumes, keeps stains, refuses what it cannot use."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.configs.load import load_recipe
from luxvox.data.sharpness import MEASURES
from luxvox.finetune.focus.head_examples import draw_batch, known_stains, make_example
from luxvox.finetune.focus.head_measure import judge
from luxvox.finetune.focus.head_recipe import HeadRecipe
from luxvox.finetune.focus.train import train_focus, train_focus_on
from luxvox.models.checkpoint import load_weights
from luxvox.predict.focus_weights import load_learned

from .head_stacks import STAINS, Tower, empty_stack, stack

SMALL = HeadRecipe(
    channels=(4, 8, 16), width=16, steps=60, batch=4, window=5, tiles=1, lr=5e-3, save_every=20
)
LEARNT = [stack(seed, mode) for seed in range(6) for mode in ("sweep", "volume")]
HELD = [stack(seed) for seed in range(20, 30)]
NEW = [stack(seed, mode) for seed in range(40, 44) for mode in ("sweep", "volume")]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A head that was trained for a few seconds."""
    folder = tmp_path_factory.mktemp("focus") / "run"
    tests = {"new": NEW}
    return folder, train_focus_on([*LEARNT, empty_stack(60)], HELD, folder, SMALL, tests)


def test_it_learns_order_and_distance_of_new_specimens(run):
    folder, numbers = run
    assert numbers["new_sweep_srcc"] > 0.9
    assert numbers["new_best_slice_error"] < 1
    # Always the mean distance would err by about 1.3.
    assert numbers["new_sweep_mae_dof"] < 0.6
    assert numbers["new_volume_mae_dof"] < 0.6
    assert numbers == json.loads((folder / "metrics.json").read_text())
    learned = load_learned(folder)
    far = torch.stack([judge(learned.model, make_example(s, (), None)).expected[0] for s in NEW])
    assert far.std() > 0.5


def test_measures_and_course_are_learnt_with(tmp_path):
    recipe = SMALL.model_copy(update={"channels": None, "measures": True, "course": True})
    stacks = [*LEARNT, empty_stack(60)]
    numbers = train_focus_on(stacks, HELD, tmp_path / "run", recipe, {"new": NEW})
    assert numbers["new_sweep_srcc"] > 0.95
    assert numbers["new_best_slice_error"] < 0.5
    assert numbers["new_volume_mae_dof"] < 0.8
    model = load_learned(tmp_path / "run").model
    assert model.prior.std() > 0.01
    assert model.measures_spread.std() > 0.01
    assert 0 <= numbers["new_strange"] < 0.3
    assert model.strange.limit.isfinite()
    assert model.strange.whiten.std() > 0.1


def test_gate_and_doubt_have_learnt_something(run):
    learned = load_learned(run[0])
    full, empty = (make_example(s, (), None) for s in (stack(50), empty_stack(51)))
    assert judge(learned.model, full).empty.max() < 0.5
    assert judge(learned.model, empty).empty.min() > 0.5
    assert 0 < learned.residuals["sweep"].values.std() < 10
    assert len(np.unique(learned.residuals["sweep"].stacks)) == len(HELD)
    assert not len(learned.residuals["volume"].values)  # none was left out


def test_run_folder_holds_what_it_promises(run):
    folder, _ = run
    assert {"recipe.yaml", "metrics.json", "history.jsonl", "weights", "state"} <= {
        path.name for path in folder.iterdir()
    }
    assert not list(folder.rglob("*.pt")) + list(folder.rglob("*.pkl"))
    _, config = load_weights(folder / "weights")
    assert config["architecture"]["focus"]["edges_dof"] == [k + 0.5 for k in range(9)]
    assert "animal 3" in config["data"]["groups"]
    assert "animal 20" not in config["data"]["groups"]
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 61))
    assert np.mean([line["loss"] for line in lines[-10:]]) < 0.7 * lines[0]["loss"]


def test_a_run_that_was_cut_off_ends_with_the_same_weights(run, tmp_path, monkeypatch):
    folder, _ = run
    stacks = [*LEARNT, empty_stack(60)]

    def cut_off(examples, recipe, step):
        if step == 47:
            raise KeyboardInterrupt
        return draw_batch(examples, recipe, step)

    monkeypatch.setattr("luxvox.finetune.focus.train.draw_batch", cut_off)
    with pytest.raises(KeyboardInterrupt):
        train_focus_on(stacks, HELD, tmp_path / "run", SMALL)
    monkeypatch.undo()
    train_focus_on(stacks, HELD, tmp_path / "run", SMALL)
    whole, resumed = (load_weights(f / "weights")[0] for f in (folder, tmp_path / "run"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 60
    changed = SMALL.model_copy(update={"steps": 61})
    with pytest.raises(InputError, match="steps was 60, is 61"):
        train_focus_on(stacks, HELD, tmp_path / "run", changed)
    kept = (tmp_path / "run" / "recipe.yaml").read_text()  # still says what was trained
    assert kept == (folder / "recipe.yaml").read_text()
    card = tmp_path / "run" / "state" / "state.json"  # of a luxvox that did not know the key yet
    held = json.loads(card.read_text())
    del held["recipe"]["mode"]
    card.write_text(json.dumps(held))
    assert train_focus_on(stacks, HELD, tmp_path / "run", SMALL)["left_out_sweep_srcc"] > 0.9


def test_stains_are_grounded_and_kept_without_the_tower(tmp_path):
    recipe = SMALL.model_copy(update={"stain": True, "steps": 8, "mixer": True})
    numbers = train_focus_on(LEARNT, HELD, tmp_path / "run", recipe, tower=Tower())
    assert numbers["grounding_loss"] < numbers["grounding_loss_first"]
    learned = load_learned(tmp_path / "run")
    assert learned.stains == tuple(sorted(STAINS, key=str.casefold))
    assert learned.stain_number("dapi stain") == 1
    assert learned.stain_number("something else") == 0
    example = make_example(LEARNT[0], learned.stains, None)
    assert example.stain == 2
    told, unknown = (
        judge(learned.model, make_example(LEARNT[0], stains, None)).expected
        for stains in (learned.stains, ())
    )
    assert (told - unknown).abs().max() > 1e-4


def test_batches_are_pure_functions_of_the_step():
    examples = [make_example(s, STAINS, None) for s in LEARNT]
    recipe = SMALL.model_copy(update={"batch": 8})
    one, again, other = (draw_batch(examples, recipe, step) for step in (3, 3, 4))
    assert torch.equal(one.given.tiles, again.given.tiles)
    assert not torch.equal(one.given.tiles, other.given.tiles)
    assert one.given.tiles.shape == (8, 5, 1, 64, 64)
    batches = [draw_batch(examples, recipe, step).given for step in range(20)]
    stains = torch.cat([batch.stain for batch in batches])
    assert 0.1 < (stains == 0).float().mean() < 0.3
    lens = torch.cat([batch.lens for batch in batches])
    assert 0.05 < lens.isnan().all(1).float().mean() < 0.3
    assert known_stains(LEARNT) == ("DAPI", "lectin")


@pytest.mark.parametrize("alone", [0.0, 1.0])
def test_sweeps_may_be_shown_slice_by_slice(alone):
    examples = [make_example(s, (), None, measured=True) for s in LEARNT]
    recipe = SMALL.model_copy(update={"batch": 8, "alone": alone})
    given = draw_batch(examples, recipe, 0).given
    assert given.measures is not None
    places = given.measures[..., len(MEASURES) :]
    assert given.sweep.any() == (alone == 0)
    for sweep, found in zip(given.sweep, places, strict=True):
        assert (found[..., -1] == float(sweep)).all()
        assert (found != 0).any() == bool(sweep)


@pytest.mark.parametrize(
    "name", ["stem", "measures", "encoder", "stain", "mixer", "regression", "ranking"]
)
def test_shipped_recipes_differ_in_what_they_are_named_for(name):
    recipe = load_recipe(f"focus/{name}", HeadRecipe)
    assert (recipe.encoder is not None) == (name in ("encoder", "stain", "mixer"))
    assert recipe.stain == (name in ("stain", "mixer"))
    assert recipe.mixer == (name == "mixer")
    assert (recipe.measures, recipe.course) == (name == "measures", name == "measures")
    assert (recipe.channels is None) == (name == "measures")
    assert (recipe.regressor is not None) == (name == "regression")
    assert recipe.film
    assert not load_recipe("focus/no_film", HeadRecipe).film


def test_what_does_not_go_together_is_refused(tmp_path):
    with pytest.raises(InputError, match="held_out_psf is 'scalar', which families trains on"):
        load_recipe("focus/stem", HeadRecipe, ["held_out_psf=scalar"])
    with pytest.raises(InputError, match="no encoder, stain, mixer, measures or course"):
        load_recipe("focus/regression", HeadRecipe, ["mixer=true"])
    with pytest.raises(InputError, match="mode is 'volume', which is said of the stacks of a list"):
        train_focus("simulated", tmp_path / "run", SMALL.model_copy(update={"mode": "volume"}))
    with pytest.raises(InputError, match="specimen 'animal 0' is learnt from and left out"):
        train_focus_on(LEARNT, LEARNT, tmp_path / "run", SMALL)
    with pytest.raises(InputError, match="no slice of known defocus in the stacks to learn from"):
        train_focus_on([empty_stack(1)], HELD, tmp_path / "run", SMALL)
