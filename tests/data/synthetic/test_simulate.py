"""`luxvox simulate` on disk: the same bytes, readable stores, and refusals that lose nothing."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaozarrs

from luxvox.configs.errors import InputError
from luxvox.configs.load import load_recipe
from luxvox.data.audit import audit
from luxvox.data.manifest import open_labels, open_row, read_dataset
from luxvox.data.open import open_volume
from luxvox.data.synthetic.recipe import SimulateRecipe
from luxvox.data.synthetic.sample import make_sample
from luxvox.data.synthetic.simulate import simulate, simulate_command

SMALL = SimulateRecipe(size=(8, 24, 16), structures=("nuclei", "vessels"))


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_bytes_for_any_number_of_workers_and_volumes(tmp_path: Path) -> None:
    simulate(tmp_path / "one", SMALL, count=3, seed=7, workers=1)
    simulate(tmp_path / "two", SMALL, count=3, seed=7, workers=2)
    simulate(tmp_path / "more", SMALL, count=4, seed=7, workers=1)
    simulate(tmp_path / "other", SMALL, count=3, seed=8, workers=1)
    one, two, more, other = (digest(tmp_path / n) for n in ("one", "two", "more", "other"))
    assert one == two
    assert all(more[key] == value for key, value in one.items() if key != "dataset.csv")
    chunks = [key for key in one if "/c/" in key and "labels" not in key]
    assert chunks
    assert all(one[key] != other.get(key) for key in chunks)


@pytest.mark.parametrize("form", ["ome-zarr", "tiff"])
def test_everything_can_be_read_back_as_it_was_made(tmp_path: Path, form: str) -> None:
    table = simulate(tmp_path, SMALL, count=2, seed=1, format=form, workers=1)
    for number, row in enumerate(read_dataset(table)):
        sample = make_sample(SMALL, 1, number)
        size = sample.scene.grid.voxel_size_um
        volume, labels = open_row(row), open_labels(row)
        assert np.array_equal(volume.read()[0], sample.image)
        assert volume.voxel_size_um == pytest.approx(size, rel=1e-4)
        name = sample.scene.stained[0]
        assert np.array_equal(labels.read()[0], sample.scene.labels(name))
        assert labels.voxel_size_um == pytest.approx(size, rel=1e-4)
        assert row.target is not None
        assert np.allclose(open_volume(row.target).read()[0], sample.clean())
        assert (row.structure, row.stain) == (sample.scene.main.title, sample.scene.stain)
        assert row.na == pytest.approx(sample.optics["na"], rel=1e-3)
        known = json.loads((tmp_path / f"{row.id}.json").read_text())
        assert known["optics"]["defocus_um"] == pytest.approx(sample.optics["defocus_um"])
        assert known["stained"] == list(sample.scene.stained)
        assert row.caption in known["wordings"]


def test_stores_hold_the_labels_of_every_structure(tmp_path: Path) -> None:
    simulate(tmp_path, SMALL, count=2, seed=1, workers=1)
    for number in range(2):
        store = tmp_path / f"sim_{number:05d}.ome.zarr"
        yaozarrs.validate_zarr_store(store)
        sample = make_sample(SMALL, 1, number)
        listed = json.loads((store / "labels" / "zarr.json").read_text())
        names = listed["attributes"]["ome"]["labels"]
        for name in sample.scene.drawings:
            assert {name, f"{name}_instances"} <= set(names)
            objects = open_volume(store / "labels" / f"{name}_instances").read()[0]
            assert np.array_equal(objects, sample.scene.instances(name))
            middle = sample.scene.centreline(name)
            assert (f"{name}_centreline" in names) is (middle is not None)
            if middle is not None:
                found = open_volume(store / "labels" / f"{name}_centreline").read()[0]
                assert np.array_equal(found, middle)


def test_the_list_passes_the_audit_and_holds_back_whole_rounds(tmp_path: Path) -> None:
    recipe = SMALL.model_copy(update={"val_share": 0.5})
    table = simulate(tmp_path, recipe, count=8, seed=0, workers=1)
    assert not [found for found in audit(table).findings if found.severity == "error"]
    with open(table, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    held = [row["class"] for row in rows if row["split"] == "val"]
    assert sorted(held) == ["nuclei", "nuclei", "vessels", "vessels"]
    assert len({row["group"] for row in rows}) == 8


def test_refusals_lose_nothing(tmp_path: Path) -> None:
    precious = tmp_path / "notes.txt"
    precious.write_text("mine")
    with pytest.raises(InputError, match=r"not empty.*--overwrite"):
        simulate(tmp_path, SMALL, count=1, seed=0)
    assert sorted(tmp_path.iterdir()) == [precious]
    simulate(tmp_path, SMALL, count=1, seed=0, workers=1, overwrite=True)
    simulate(tmp_path, SMALL, count=1, seed=0, workers=1, overwrite=True)
    assert precious.read_text() == "mine"
    for count, seed in ((0, 0), (1, -1)):
        with pytest.raises(InputError, match="at least 1"):
            simulate(tmp_path / "new", SMALL, count=count, seed=seed)
    huge = SMALL.model_copy(update={"size": (40_000, 4000, 4000)})
    with pytest.raises(InputError, match="GiB"):
        simulate(tmp_path / "new", huge, count=1, seed=0)
    with pytest.raises(InputError, match="cannot be written"):
        simulate(precious / "below", SMALL, count=1, seed=0)


def test_a_size_is_read_with_and_without_brackets() -> None:
    for size in ("size=8,24,16", "size=[8,24,16]", "size=8, 24, 16"):
        assert load_recipe("brain", SimulateRecipe, [size]).size == (8, 24, 16)
    with pytest.raises(InputError, match=r"size"):
        load_recipe("brain", SimulateRecipe, ["size=8,x,16"])


def test_a_sheet_thinner_than_a_voxel_is_warned_of(tmp_path: Path, capsys) -> None:
    words = ["size=[4,8,8]", "optics.sheet_waist_um=[0.2,0.4]"]
    with pytest.warns(UserWarning, match="thinner than the planes"):
        simulate_command(tmp_path, count=1, seed=0, overrides=words, workers=1)
    assert "thinner than voxels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optics.na=[0.2,1.5]"], "refractive index"),
        (["optics.wavelength_um=[0,0.5]"], "wavelength"),
        (["optics.na=[0.5,0.2]"], "smaller number first"),
        (["opticss.na=[0.2,0.5]"], "did you mean 'optics'"),
        (["structures=[vesels]"], "did you mean 'vessels'"),
        (["size=[0,8,8]"], "at least 1"),
        (["optics.photons=[0,5]"], "photons is 0 to 5, expected above 0"),
        (["optics.read_noise=[-1,5]"], "read_noise is -1 to 5, expected at least 0"),
        (["pixel_um=[0,1]"], "pixel_um is 0 to 1"),
        (["nodes=[0,1,1]"], "nodes"),
        (["structures=[nuclei]", "structure.nuclei.per_mm3=[0,1]"], "drawn by ratio"),
    ],
)
def test_wrong_recipes_are_refused(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate_command(tmp_path / "out", count=1, seed=0, overrides=words, workers=1)
    assert not (tmp_path / "out" / "dataset.csv").exists()
