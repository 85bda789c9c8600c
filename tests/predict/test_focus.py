"""Stacks of slices judged: the best slice of a sweep, refusals, tables, the command."""

from __future__ import annotations

import csv
import json
import math
import tracemalloc
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import imagecodecs
import numpy as np
import pytest
import tifffile
from scipy import ndimage

from luxvox.__main__ import run_command
from luxvox.configs.errors import InputError
from luxvox.data.draws import keyed_rng
from luxvox.predict.focus import SliceFocus, score_image, score_stack, support_of, survey_image
from luxvox.predict.focus_peak import find_peak
from luxvox.predict.focus_stack import FocusStack, open_stacks, z_numbers
from luxvox.predict.focus_table import COLUMNS, summary, teach_result
from luxvox.predict.focus_teacher import teach

Z, FOCUS, SIDE = 15, 9, 128


def sweep(focus: float = FOCUS, side: int = SIDE, count: int = Z, seed: int = 0) -> np.ndarray:
    """[Z, Y, X] uint16 counts of points, in focus at `focus`."""
    rng = keyed_rng("focus test", seed, 0)
    sharp = np.zeros((side, side))
    places = rng.integers(0, side, (side, 2))
    sharp[places[:, 0], places[:, 1]] = rng.uniform(500, 3000, side)
    planes = []
    for z in range(count):
        light = ndimage.gaussian_filter(sharp, math.hypot(1.2, 0.9 * (z - focus)), mode="wrap")
        planes.append(rng.poisson(light + 5) + rng.normal(100, 2, light.shape))
    return np.stack(planes).round().astype(np.uint16)


def stack_of(array: np.ndarray, z: tuple[int, ...] | None = None) -> FocusStack:
    return FocusStack(
        image_paths=("a.tif",) * len(array),
        stack_id="a",
        channel="",
        t=0,
        z_index=z or tuple(range(len(array))),
        voxel_size_um=(2.0, 0.5, 0.5),
        shape=(array.shape[1], array.shape[2]),
        largest=65535.0,
        notes=(),
        load=lambda place: array[place],
    )


def write_slices(folder: Path, array: np.ndarray, first: int) -> Path:
    folder.mkdir()
    for place, plane in enumerate(array):
        tifffile.imwrite(folder / f"{folder.name}_z{first + place}.tif", plane)
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# The best slice


@pytest.mark.parametrize("focus", [4.0, 7.4, 9.0])
def test_a_sweep_is_best_where_it_is_in_focus(focus):
    found = score_stack(stack_of(sweep(focus)), "sweep")
    assert found.peak is not None
    assert found.peak.best_z == pytest.approx(focus, abs=0.5)
    assert found.peak.reason == ""
    assert len(found.peak.peaks) == 1
    assert not found.peak.boundary


def test_bleaching_reversal_and_windows_do_not_move_it():
    array = sweep()
    fading = np.linspace(1, 0.4, Z)[:, None, None]
    cases = {
        "bleached": (array * fading, FOCUS),
        "bleached above the offset": ((array - 100.0) * fading + 100, FOCUS),
        "reversed": (array[::-1], Z - 1 - FOCUS),
        "window": (array[5:], FOCUS - 5),
    }
    for name, (changed, wanted) in cases.items():
        peak = score_stack(stack_of(changed), "sweep").peak
        assert peak is not None, name
        assert peak.best_z == pytest.approx(wanted, abs=0.7), name


def test_real_sweep_with_known_focus(shared_data):
    path = shared_data / "focus/dfnn_mitochondria/stack_order32-65.tif"
    stack = open_stacks(path)[0]
    array = stack.read(range(34)).numpy()
    fading = np.linspace(1, 0.4, 34)[:, None, None]
    for first, changed in {
        32: array,
        132: array[:21],
        144: array[12:],
        232: array * fading,
        332: array * fading[::-1],
        432: (array - 95) * fading + 95,
    }.items():
        peak = score_stack(stack_of(changed), "sweep").peak
        assert peak is not None
        assert peak.best_z is not None
        assert 49 <= first % 100 + peak.best_z <= 52
    back = score_stack(stack_of(array[::-1]), "sweep").peak
    assert back is not None
    assert back.best_z is not None
    assert 49 <= 65 - back.best_z <= 52


def test_focus_at_an_end_is_flagged():
    peak = score_stack(stack_of(sweep()[: FOCUS - 2]), "sweep").peak
    assert peak is not None
    assert peak.boundary


def test_two_focal_planes_are_counted():
    z = np.arange(30)
    curve = np.exp(-(((z - 8) / 2) ** 2)) + 0.8 * np.exp(-(((z - 21) / 2) ** 2))
    found = find_peak(z.tolist(), curve)
    assert found.best_z == pytest.approx(8, abs=0.2)
    assert found.peaks == pytest.approx([8, 21], abs=0.2)
    assert found.fwhm == pytest.approx(3.5, abs=0.6)


def test_gaps_keep_their_places():
    z = [0, 1, 2, 3, 4, 8, 9, 10, 11]
    curve = [math.exp(-(((at - 3.3) / 2) ** 2)) for at in z]
    assert find_peak(z, curve).best_z == pytest.approx(3.3, abs=0.3)


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([math.nan] * 6, "empty"),
        ([0.3], "one_slice"),
        ([0.2] * 12, "flat"),
        (keyed_rng("flat", 0, 0).normal(1, 0.1, 40).tolist(), "flat"),
    ],
)
def test_no_best_slice_where_there_is_none(scores, reason):
    found = find_peak(list(range(len(scores))), scores)
    assert found.reason == reason
    assert found.best_z is None


# What never scores


def test_empty_slices_have_no_score_and_say_why():
    array = sweep()
    rng = keyed_rng("focus test", 0, 1)
    array[2] = rng.normal(105, 3, array[2].shape).round()
    found = score_stack(stack_of(array), "sweep")
    assert found.reasons[2] == "empty"
    assert math.isnan(found.scores[2])
    assert math.isnan(found.measures["dcts"][2])
    assert np.isfinite(found.scores[6:13]).all()
    black = score_stack(stack_of(np.zeros_like(array)), "sweep")
    assert np.isnan(black.scores).all()
    assert black.peak is not None
    assert black.peak.reason == "empty"
    assert summary(black)["best_z"] is None


def test_volume_mode_has_no_best_slice_but_a_map():
    found = score_stack(stack_of(sweep()), "volume")
    assert found.peak is None
    assert found.tile_scores.shape == (Z, 2, 2)
    assert "best_z" not in summary(found)


def test_one_slice_and_short_stacks_work():
    one = score_stack(stack_of(sweep()[FOCUS : FOCUS + 1]), "sweep")
    assert np.isfinite(one.scores).all()
    assert summary(one)["no_best_slice"] == "one_slice"
    assert "no best slice" in one.notes[0]
    assert score_stack(stack_of(sweep()[7:11]), "sweep").peak.place == FOCUS - 7


def test_memory_does_not_grow_with_the_number_of_slices():
    plane = sweep(side=256, count=1, focus=0)[0]

    def peak_of(count: int) -> int:
        stack = replace(
            stack_of(np.broadcast_to(plane, (count, 256, 256))), load=lambda _: plane.copy()
        )
        tracemalloc.start()
        score_stack(stack, "sweep")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak_of(8)
    assert peak_of(160) - peak_of(40) < 120 * plane.nbytes / 20


def test_a_scorer_takes_the_place_of_the_default_behind_the_gate():
    class ByPlace:
        model_id, calib_id = "by place", "none"

        def begin(self, sample, stack, stain, mode):
            assert (sample.slices.shape, stain, mode) == ((Z, SIDE, SIDE), "DAPI", "sweep")

            def answer(slices, places):
                assert len(slices) == len(places)
                return [SliceFocus(-abs(p - 4), defocus_um=abs(p - 4) * 2.0) for p in places]

            return answer

    array = sweep()
    array[4] = 0
    found = score_stack(stack_of(array), "sweep", "DAPI", ByPlace())
    assert found.model_id == "by place"
    assert found.reasons[4] == "empty"  # the gate comes first
    assert math.isnan(found.scores[4])
    assert found.slices[6].defocus_um == 4.0


# Teacher


def test_teacher_agrees():
    taught = teach_result(score_stack(stack_of(sweep()), "sweep"))
    assert taught.refusal == ""
    assert taught.best_z == pytest.approx(FOCUS, abs=0.6)
    assert 0 <= taught.spread <= 1


def test_teacher_says_when_it_will_not():
    z = list(range(20))
    bump = [np.exp(-(((np.arange(20) - at) / 3) ** 2)) for at in (8, 12, 0)]
    keep = [True] * 20
    apart = teach(z, {"a": bump[0], "b": bump[1]}, keep)
    assert apart.best_z is None
    assert apart.spread == pytest.approx(4, abs=0.1)
    assert "apart" in apart.refusal
    assert "end of the sweep" in teach(z, {"a": bump[0], "b": bump[2]}, keep).refusal
    assert "no peak" in teach(z, {"a": np.ones(20)}, keep).refusal
    assert "valid slices" in teach(z, {"a": bump[0]}, [True] * 3 + [False] * 17).refusal


# A control loop


def test_score_image_ranks_images_of_one_scene():
    array = sweep()
    survey = survey_image(array[0])
    scores = [score_image(plane, survey).score for plane in array]
    assert abs(int(np.argmax(scores)) - FOCUS) <= 1
    assert score_image(np.full((64, 64), 7)).reason == "empty"
    with pytest.raises(InputError, match="new survey"):
        score_image(array[0][:64], survey)
    with pytest.raises(InputError, match="expected \\(y, x\\)"):
        score_image(array)


def test_images_are_not_changed():
    array = sweep()
    before = array.copy()
    score_image(array[0])
    score_stack(stack_of(array), "sweep")
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize(
    ("na", "nm", "pixel", "wanted"),
    [(None, 520.0, 0.1, 3.0), (0.4, 520.0, 0.1, 6.5), (0.4, 520.0, 1.0, 3.0)],
)
def test_support_follows_the_lens_where_it_is_known(na, nm, pixel, wanted):
    assert support_of(na, nm, pixel) == pytest.approx(wanted)


# Input


def test_slices_are_sorted_by_the_signed_number(tmp_path):
    folder = write_slices(tmp_path / "S001", sweep()[:, :64, :64], -9)
    stack = open_stacks(folder)[0]
    assert stack.z_index == tuple(range(-9, 6))
    assert stack.stack_id == "S001"
    assert stack.largest == 65535
    np.testing.assert_array_equal(stack.read([FOCUS])[0], sweep()[FOCUS, :64, :64])
    (folder / "S001_z2.tif").unlink()
    assert "z 2" in open_stacks(folder)[0].notes[0]


def test_doubled_numbers_sizes_and_names_are_named(tmp_path):
    folder = write_slices(tmp_path / "S001", sweep()[:3], -1)
    tifffile.imwrite(folder / "S001_z+1.tif", sweep()[0])
    with pytest.raises(InputError, match=r"slice 1 stands in .* already"):
        open_stacks(folder)
    (folder / "S001_z+1.tif").unlink()
    tifffile.imwrite(folder / "S001_z7.tif", sweep()[0, :50])
    with pytest.raises(InputError, match="50 x 128 pixels"):
        open_stacks(folder)
    with pytest.raises(InputError, match="no number in its name"):
        z_numbers([Path("a_1.tif"), Path("b.tif")])


def test_numbers_without_z_are_the_last_ones():
    assert z_numbers([Path("run2_0010.tif"), Path("run2_0002.tif")]) == [10, 2]
    assert z_numbers([Path("stack-12.tif"), Path("stack-13.tif")]) == [12, 13]
    assert z_numbers([Path("z0010_t003.tif"), Path("S001_z-10_c1.tif")]) == [10, -10]


def test_colours_by_luminance_or_channel(tmp_path):
    folder = tmp_path / "rgb"
    folder.mkdir()
    grey = (sweep()[:3, :64, :64] % 256).astype(np.uint8)
    for place, plane in enumerate(grey):
        colour = np.stack([plane, 0 * plane, 0 * plane], -1)
        (folder / f"s_z{place}.png").write_bytes(imagecodecs.png_encode(colour))
    red = open_stacks(folder, "red")[0].read([1])
    np.testing.assert_array_equal(red[0], grey[1])
    np.testing.assert_allclose(open_stacks(folder)[0].read([1])[0], 0.2126 * grey[1], rtol=1e-4)


def test_every_channel_of_a_volume_is_a_stack(tmp_path):
    path = tmp_path / "two.ome.tif"
    tifffile.imwrite(path, np.stack([sweep(), sweep(4)], 1), metadata={"axes": "ZCYX"})
    stacks = open_stacks(path)
    assert [stack.channel for stack in stacks] == ["0", "1"]
    peaks = [score_stack(stack, "sweep").peak for stack in stacks]
    assert [round(peak.best_z) for peak in peaks] == [FOCUS, 4]
    assert len(open_stacks(path, "1")) == 1


# The command


def test_command_writes_table_summary_page_and_sidecar(tmp_path, capsys):
    folder = write_slices(tmp_path / "S001", sweep(), -9)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    out, page = tmp_path / "o.csv", tmp_path / "o.html"
    words = ["focus", str(folder), "--mode", "sweep", "--csv", str(out), "--stain", "DAPI"]
    assert run_command([*words, "--report", str(page), "--sidecar", "ome"]) == 0
    rows = read(out)
    assert tuple(rows[0]) == COLUMNS
    assert [int(row["z_index"]) for row in rows] == list(range(-9, 6))
    assert [row["z_index"] for row in rows if row["is_best"] == "true"] == ["0"]
    scores = [float(row["focus_score"]) for row in rows]
    assert int(np.argmax(scores)) == FOCUS
    assert len(set(scores)) == Z
    assert {row["z_um"] for row in rows} == {""}  # no spacing: no micrometres
    assert {(row["mode"], row["stain"], row["valid"]) for row in rows} == {
        ("sweep", "DAPI", "true")
    }
    told = json.loads(out.with_suffix(".stacks.json").read_text())
    assert told[0]["best_z"] == pytest.approx(0, abs=0.5)
    assert "<img" in page.read_text()
    notes = ElementTree.parse(out.with_suffix(".ome.xml")).getroot()
    assert [entry.text for entry in notes.iter() if entry.get("K") == "best_slice"] == ["0"]
    shown = capsys.readouterr()
    assert "best z" in shown.out
    assert shown.err.count("no z spacing known") == 1
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_command_in_volume_mode_writes_tiles(tmp_path):
    path, out = tmp_path / "v.tif", tmp_path / "o.csv"
    tifffile.imwrite(path, sweep(), metadata={"axes": "ZYX"})
    size = ["--voxel-size", "2 .5 .5", "--sidecar", "zarr"]
    assert run_command(["focus", str(path), "--mode", "volume", "--csv", str(out), *size]) == 0
    rows = read(out)
    assert len(rows) == Z * 5
    assert {row["is_best"] for row in rows} == {""}
    assert float(rows[-1]["z_um"]) == 2 * (Z - 1)
    told = json.loads(out.with_suffix(".attributes.json").read_text())["luxvox/focus/1"]
    assert len(told[0]["scores"]) == Z


def test_command_repeats_itself(tmp_path):
    folder = write_slices(tmp_path / "S001", sweep(), -9)
    texts = []
    for name in ("a.csv", "b.csv"):
        assert (
            run_command(["focus", str(folder), "--mode", "sweep", "--csv", str(tmp_path / name)])
            == 0
        )
        texts.append((tmp_path / name).read_text())
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--mode", "sweep"], "Missing option '--csv'"),
        (["x.tif", "--csv", "o.csv"], "Missing option '--mode'"),
        (["--mode", "sweep", "--csv", "o.csv"], "no volume given"),
        (["no.tif", "--mode", "sweep", "--csv", "o.csv"], "no such file"),
        (["v.tif", "v.tif", "--mode", "sweep", "--csv", "o.csv"], "already"),
        (["v.tif", "--mode", "sweep", "--csv", "no/o.csv"], "does not exist"),
        (["v.tif", "--mode", "sweep", "--csv", "."], "a folder stands there"),
        (["v.tif", "--mode", "sweep", "--csv", "o.csv", "--report", "no/r.html"], "does not exist"),
        (["v.tif", "--mode", "sweep", "--csv", "o.csv", "--report", "r.pdf"], "in .html"),
        (["v.tif", "--mode", "sweep", "--csv", "o.csv", "--objective", "20x"], "focus-fit wrote"),
        (["tiny.tif", "--mode", "sweep", "--csv", "o.csv"], "tiny.tif: slices of 9 x 12 pixels"),
        (["v.tif", "--mode", "sweep", "--csv", "o.csv", "--weights", "w"], "no weights of that"),
        (["v.tif", "--mode", "sweep", "--csv", "o.csv", "--watch", "f"], "leave volumes out"),
        (["--mode", "sweep", "--csv", "o.csv", "--watch", "f"], "no such folder"),
        (["v.tif", "--mode", "sweep", "--csv", "o.csv", "--idle", "1"], "--idle ends --watch"),
    ],
)
def test_mistakes_are_one_line(words, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("v.tif", sweep()[:5, :32, :32], metadata={"axes": "ZYX"})
    tifffile.imwrite("tiny.tif", sweep()[:5, :9, :12], metadata={"axes": "ZYX"})
    assert run_command(["focus", *words]) == 2
    shown = capsys.readouterr().err
    assert expected in shown
    assert shown.count("\n") == 1
