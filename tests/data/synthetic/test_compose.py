"""Scenes and samples: repeatable, labelled where they glow, described as they are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from luxvox.configs.errors import InputError
from luxvox.data.synthetic.catalogue import CATALOGUE, choose
from luxvox.data.synthetic.compose import compose
from luxvox.data.synthetic.describe import Facts, caption, facts_of, short_templates, wordings
from luxvox.data.synthetic.recipe import SceneRanges, SimulateRecipe
from luxvox.data.synthetic.sample import make_sample

ALONE = SceneRanges(second_stained=0.0, debris=0.0)


def area(values: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve, from ranks (Mann and Whitney)."""
    ranks = rankdata(values)
    inside = truth.sum()
    above = ranks[truth].sum() - inside * (inside + 1) / 2
    return float(above / (inside * (len(truth) - inside)))


@pytest.mark.parametrize("name", CATALOGUE)
def test_labels_lie_where_the_structure_glows(name: str) -> None:
    recipe = SimulateRecipe(size=(24, 56, 48), structures=(name,), scene=ALONE)
    areas = []
    for number in range(8):
        sample = make_sample(recipe, 2, number)
        inside = sample.scene.labels(name).ravel() > 0
        assert inside.any(), "the caption names a structure that is not there"
        if not inside.all():
            areas.append(area(sample.clean().ravel(), inside))
    assert np.mean(areas) > 0.95


def test_a_shifted_label_would_be_noticed() -> None:
    recipe = SimulateRecipe(size=(24, 56, 48), structures=("vessels",), scene=ALONE)
    for number in range(4):
        sample = make_sample(recipe, 2, number)
        inside, clean = sample.scene.labels("vessels") > 0, sample.clean()
        here = area(clean.ravel(), inside.ravel())
        for axis in range(3):
            moved = np.roll(inside, 6, axis).ravel()
            assert area(clean.ravel(), moved) < here - 0.05
        mirrored = inside.transpose(0, 2, 1)[:, :48, :48]
        assert area(clean[:, :48, :48].ravel(), mirrored.ravel()) < here - 0.05


def test_a_sample_is_a_function_of_seed_and_number() -> None:
    recipe = SimulateRecipe(size=(12, 24, 24))
    for number in (0, 5):
        one, again = make_sample(recipe, 4, number), make_sample(recipe, 4, number)
        other = make_sample(recipe, 5, number)
        assert np.array_equal(one.image, again.image)
        assert one.optics == again.optics
        assert not np.array_equal(one.image, other.image)


def test_structures_take_turns_and_all_are_stained_by_what_colours_them() -> None:
    recipe = SimulateRecipe(size=(8, 16, 16))
    for number, name in enumerate(recipe.structures):
        scene = compose(recipe, 0, number)
        assert scene.stained[0] == name
        assert scene.stain in CATALOGUE[name].stains
        assert scene.shape == (8, 16, 16)
        assert scene.density.min() >= 0
        assert set(scene.stained) <= set(scene.drawings)


def test_instances_are_numbered_without_gaps_and_lie_in_the_labels() -> None:
    recipe = SimulateRecipe(size=(24, 48, 48), structures=("nuclei", "vessels"))
    for number in range(2):
        scene = compose(recipe, 3, number)
        name = scene.stained[0]
        objects, labels = scene.instances(name), scene.labels(name)
        assert np.array_equal(objects > 0, labels > 0)
        assert np.array_equal(np.unique(objects), np.arange(objects.max() + 1))
        distance = scene.distance_um(name)
        assert np.array_equal(distance > 0, labels > 0)
        assert distance.max() < 60
    middle = compose(recipe, 3, 1).centreline("vessels")
    assert middle is not None
    assert 0 < middle.sum() < compose(recipe, 3, 1).labels("vessels").sum()
    assert compose(recipe, 3, 0).centreline("nuclei") is None


def test_tissue_that_is_not_stained_is_dark_where_vessels_displace_it() -> None:
    scene_ranges = SceneRanges(second_stained=0.0, dark_vessels=1.0, dark_nuclei=0.0, debris=0.0)
    recipe = SimulateRecipe(size=(24, 64, 64), structures=("plaques",), scene=scene_ranges)
    darker = []
    for number in range(4):
        scene = compose(recipe, 1, number)
        vessel, plaque = scene.labels("vessels") > 0, scene.labels("plaques") > 0
        dye = scene.grid.pick_planes(scene.density)
        if (vessel & ~plaque).any():
            darker.append(dye[vessel & ~plaque].mean() < 0.8 * dye[~vessel & ~plaque].mean())
    assert len(darker) >= 3
    assert all(darker)


def test_captions_say_what_was_drawn() -> None:
    recipe = SimulateRecipe(size=(12, 24, 24))
    seen = set()
    for number in range(16):
        sample = make_sample(recipe, 6, number)
        facts = sample.facts
        text = caption(facts)
        for said in (facts.structure, facts.stain, facts.pattern, facts.amount, facts.size):
            assert said
            assert said.lower() in text.lower()
        assert text in wordings(facts)
        assert "  " not in text
        assert text.endswith(".")
        seen.add(text)
        assert all(facts.structure in short.lower() for short in short_templates(facts))
        assert ("stripes" in text) == (sample.optics["stripes"] > 0.2)
    assert len(seen) > 12


def test_equal_facts_get_one_caption_and_there_are_many_wordings() -> None:
    facts = Facts("axons", "axon label", "sparse", "of medium calibre", "in bundles",
                  specimen="cleared mouse brain", quality="with strong noise")  # fmt: skip
    assert caption(facts) == caption(Facts(**vars(facts)))
    assert len(set(wordings(facts))) >= 12
    assert "sparse axons of medium calibre in bundles" in caption(facts).lower()


def test_optics_are_described_as_they_are() -> None:
    scene = compose(SimulateRecipe(size=(8, 16, 16)), 0, 0)
    base = {"index": 1.45, "wavelength_um": 0.5, "na": 0.5, "defocus_um": 0.0, "photons": 200.0,
            "stripes": 0.0}  # fmt: skip
    assert facts_of(scene, base).quality == ""
    assert "out of focus" in facts_of(scene, base | {"defocus_um": 9.0}).quality
    assert "noise" in facts_of(scene, base | {"photons": 30.0}).quality
    assert facts_of(scene, base | {"index": 1.56}).specimen == "iDISCO-cleared mouse brain"
    assert facts_of(scene, base | {"index": 1.33}).specimen == "mouse brain"


@pytest.mark.parametrize(
    ("names", "message"),
    [(["vesels"], "did you mean 'vessels'"), ([], "none given"), (["axons", "axons"], "twice")],
)
def test_wrong_structures_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose(names)
