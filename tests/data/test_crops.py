"""Crops: physical size, padding, the foreground gate, and samples as functions of (seed, index)."""

import numpy as np
import pytest
from pydantic import ValidationError

from luxvox.configs.errors import InputError
from luxvox.data.crop_plan import CropConfig, plan_crops, resample_box, resampling_matrix
from luxvox.data.crops import CropSource, fixed_crops
from luxvox.data.draws import keyed_rng
from luxvox.data.open import open_volume
from luxvox.data.row import Row
from luxvox.data.save import save_volume
from luxvox.data.strata import Strata


def noise(shape, seed=0, level=500.0):
    return np.random.default_rng(seed).normal(level, 40, shape).clip(0).astype(np.uint16)


def saved(folder, name, array, size=(2.0, 1.0, 1.0), **about):
    path = save_volume(array, folder / f"{name}.ome.zarr", voxel_size_um=size)
    return Row(id=name, image=path, **{"group": name, "voxel_size_um": size, **about})


def small(**more):
    return CropConfig(**{"shape": (16, 16, 16), "patch": (8, 8, 8), **more})


def test_native_crop_is_a_normalised_piece_of_the_volume(tmp_path):
    """Every crop is found again in the normalised volume, at some place."""
    array = noise((32, 40, 48))
    source = CropSource([saved(tmp_path, "a", array)], small())
    stats = source.opened[0].stats[0]
    whole = np.arcsinh((array - stats.level) / stats.spread)
    places = set()
    for index in range(6):
        sample = source.sample(index, seed=1)
        crop = sample["crop"][0]
        hits = np.argwhere(np.isclose(whole, crop[0, 0, 0], atol=1e-6))
        found = [
            (z, y, x)
            for z, y, x in hits
            if z <= 16
            and y <= 24
            and x <= 32
            and np.allclose(whole[z : z + 16, y : y + 16, x : x + 16], crop, atol=1e-5)
        ]
        assert len(found) == 1
        places.add(found[0])
        assert sample["voxel_size_um"].tolist() == [2, 1, 1]
        assert sample["extent"].tolist() == [16, 16, 16]
    assert len(places) == 6, "always the same place"


def test_unknown_voxel_size_is_said_and_never_guessed(tmp_path):
    row = saved(tmp_path, "a", noise((32, 32, 32)), size=None)
    for wanted in (None, (2.0, 2.0, 2.0)):
        sample = CropSource([row], small(voxel_size_um=wanted)).sample(0, 0)
        assert not sample["spacing_known"]
        assert sample["voxel_size_um"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("wanted", [(2.0, 2.0, 2.0), (4.0, 2.0, 2.0), (1.3, 1.7, 0.8)])
def test_wanted_voxel_size_is_what_comes_out(tmp_path, wanted):
    """A crop of a ramp in um shows the ramp's slope at the voxel size that the sample states."""
    z, y, x = np.meshgrid(np.arange(48) * 2.0, np.arange(80.0), np.arange(80.0), indexing="ij")
    ramp = (300 + 5 * z + 3 * y + 2 * x).astype(np.float32)
    row = saved(tmp_path, "a", ramp)
    source = CropSource([row], small(voxel_size_um=wanted))
    item, sample = source.opened[0], source.sample(3, seed=0)
    crop = np.sinh(sample["crop"][0].astype(np.float64)) * item.stats[0].spread
    inner = crop[3:-3, 3:-3, 3:-3]
    for axis, slope in enumerate((5, 3, 2)):
        step = np.diff(inner, axis=axis).mean()
        assert step == pytest.approx(slope * sample["voxel_size_um"][axis], rel=0.01)
        # One voxel of rounding in the box is the most that the true size may differ.
        assert sample["voxel_size_um"][axis] == pytest.approx(wanted[axis], rel=0.07)


def test_the_level_nearest_the_wanted_size_is_read(tmp_path):
    row = saved(tmp_path, "a", noise((160, 160, 160)), size=(1.0, 1.0, 1.0))
    volume = open_volume(row.image)
    sizes = [level.voxel_size_um[2] for level in volume.levels]
    assert len(sizes) > 1
    for wanted in (0.6, 1.3, 1.9, 2.5):
        plan = plan_crops(volume, small(voxel_size_um=(wanted,) * 3))
        nearest = min(range(len(sizes)), key=lambda i: abs(np.log(sizes[i] / wanted)))
        assert plan.level == nearest
        assert plan.voxel_size_um == pytest.approx((wanted,) * 3, rel=0.07)


def test_one_axis_can_be_kept_native(tmp_path):
    row = saved(tmp_path, "a", noise((32, 80, 80)), size=(6.0, 1.0, 1.0))
    plan = plan_crops(open_volume(row.image), small(voxel_size_um=(None, 2.0, 2.0)))
    assert plan.voxel_size_um == pytest.approx((6, 2, 2))
    assert plan.box[0] == 16


def test_thin_volume_gives_whole_patches_and_zeros_beyond(tmp_path):
    row = saved(tmp_path, "a", noise((15, 32, 32)))
    source = CropSource([row], small())
    starts = set()
    for index in range(24):
        sample = source.sample(index, 0)
        assert sample["extent"].tolist() == [8, 16, 16]
        assert (sample["crop"][0, 8:] == 0).all()
        assert np.abs(sample["crop"][0, :8]).mean() > 0.1
        starts.add(float(sample["crop"][0, 0].mean()))
    assert len(starts) > 8, "the real planes always start at the same depth"


def test_side_below_one_patch_is_refused_with_both_numbers(tmp_path):
    row = saved(tmp_path, "thin", noise((7, 32, 32)))
    with pytest.raises(InputError, match=r"7 voxels along z.*patch of 8"):
        CropSource([row], small())
    # 20 voxels of 2 um are 10 at the wanted 4 um: enough for one patch, not for two.
    other = saved(tmp_path, "a", noise((20, 32, 32)))
    plan = plan_crops(open_volume(other.image), small(voxel_size_um=(4.0, 1.0, 1.0)))
    assert plan.real == (8, 16, 16)


def test_foreground_gate_prefers_structure_and_ends_on_empty_volumes(tmp_path):
    array = noise((24, 128, 128))
    array[4:20, 96:124, 96:124] += 3000
    row = saved(tmp_path, "a", array)
    empty = saved(tmp_path, "empty", noise((24, 128, 128), seed=5))
    share = {}
    for tries in (1, 12):
        config = small(min_foreground=0.05, tries=tries)
        source = CropSource([row, empty], config)
        share[tries] = np.mean(
            [(source.sample(i, 0, volume=0)["crop"] > 2.5).mean() > 0.05 for i in range(40)]
        )
        assert source.sample(0, 0, volume=1)["crop"].shape == (1, 16, 16, 16)
    assert share[12] > 2.5 * share[1]


def test_sample_is_a_function_of_seed_and_index(tmp_path):
    rows = [saved(tmp_path, f"v{i}", noise((24, 40, 40), seed=i)) for i in range(3)]
    source, again = CropSource(rows, small()), CropSource(rows, small())
    for index in (0, 5, 1_000_000):
        one, two = source.sample(index, 7), again.sample(index, 7)
        assert all(np.array_equal(one[name], two[name]) for name in one)
    crops = {source.sample(i, seed)["crop"].tobytes() for i in range(10) for seed in (0, 1)}
    assert len(crops) == 20


def test_every_channel_is_drawn(tmp_path):
    both = np.stack([noise((24, 24, 24)), noise((24, 24, 24), seed=1)])
    both[1] //= 20  # much coarser steps: its normalised values are few
    path = save_volume(both, tmp_path / "two.ome.zarr", voxel_size_um=(1, 1, 1), axes="czyx")
    source = CropSource([Row(id="two", image=path, group="g")], small())
    values = [len(np.unique(source.sample(i, 0)["crop"])) for i in range(20)]
    assert min(values) < 30 < 100 < max(values)


def test_ids_are_shared_through_a_vocabulary(tmp_path):
    about = [
        ("A vessel.", "Vessels"),
        ("Nuclei.", "nuclei"),
        ("a  VESSEL.", "vessels"),
        (None, None),
    ]
    rows = [
        saved(tmp_path, f"v{i}", noise((16, 16, 16), i), caption=caption, structure=structure)
        for i, (caption, structure) in enumerate(about)
    ]
    train = CropSource(rows[:2], small(), vocabulary=rows)
    val = CropSource(rows[2:], small(), vocabulary=rows)
    assert train.captions == val.captions
    assert val.caption_ids == [train.caption_ids[0], -1]
    assert val.structure_ids == [train.structure_ids[0], -1]
    assert val.sample(0, 0, volume=1)["caption_id"] == -1


def test_all_unreadable_volumes_are_named_before_anything_starts(tmp_path):
    good = saved(tmp_path, "good", noise((16, 16, 16)))
    cut = tmp_path / "cut.tif"
    cut.write_bytes(b"II*\0\x08\0\0\0")
    rows = [
        good,
        Row(id="cut", image=cut, group="b", list_row=3),
        saved(tmp_path, "flat", np.full((16, 16, 16), 9, np.uint8)),
    ]
    with pytest.raises(InputError) as error:
        CropSource(rows, small())
    text = str(error.value)
    assert "\n" not in text
    assert all(
        part in text for part in ("2 of 3", "cut.tif", "flat", "constant", "skip_unreadable")
    )
    source = CropSource(rows, small(), skip_unreadable=True)
    assert [row.id for row in source.rows] == ["good"]
    assert [item.row.id for item in source.skipped] == ["cut", "flat"]
    assert "constant" in source.skipped[1].reason
    with pytest.raises(InputError, match="2 of 2"):
        CropSource(rows[1:], small(), skip_unreadable=True)


def test_fixed_crops_do_not_depend_on_the_rest_of_the_list(tmp_path):
    rows = [saved(tmp_path, f"v{i}", noise((24, 40, 40), seed=i)) for i in range(3)]
    all_three = fixed_crops(CropSource(rows, small()), per_volume=2, seed=4)
    last = fixed_crops(CropSource(rows[2:], small()), per_volume=2, seed=4)
    assert [int(s["index"]) for s in all_three] == list(range(6))
    assert [int(s["volume_id"]) for s in all_three] == [0, 0, 1, 1, 2, 2]
    for one, two in zip(all_three[4:], last, strict=True):
        np.testing.assert_array_equal(one["crop"], two["crop"])
    assert not np.array_equal(last[0]["crop"], last[1]["crop"])
    only = fixed_crops(CropSource(rows, small()), per_volume=2, seed=4, volumes=[2])
    np.testing.assert_array_equal(only[0]["crop"], last[0]["crop"])


@pytest.mark.parametrize("count", [1, 4, 7, 10, 16, 23])
def test_batch_holds_as_many_captions_as_it_can(count):
    captions = [i % 10 for i in range(40)]
    strata = Strata(captions, [f"g{i}" for i in range(40)])
    for step in range(12):
        drawn = strata.draw(3, step, count)
        assert len({captions[v] for v in drawn}) == min(count, 10)
        np.testing.assert_array_equal(drawn, strata.draw(3, step, count))
    many = np.concatenate([strata.draw(3, step, count) for step in range(600)])
    shares = np.bincount([captions[v] for v in many], minlength=10) / len(many)
    assert shares == pytest.approx(np.full(10, 0.1), abs=0.03)


def test_groups_share_a_caption_equally_however_many_volumes_they_have():
    groups = ["many"] * 9 + ["one"]
    strata = Strata([0] * 10, groups)
    drawn = np.concatenate([strata.draw(0, step, 8) for step in range(200)])
    assert np.mean(drawn == 9) == pytest.approx(0.5, abs=0.05)
    assert len(set(drawn)) == 10
    # Without captions, groups are the strata.
    strata = Strata([-1] * 10, groups)
    assert all((strata.draw(0, step, 2) == 9).sum() == 1 for step in range(20))


@pytest.mark.parametrize(("before", "after"), [(64, 64), (96, 64), (37, 64), (100, 8)])
def test_resampling_keeps_constants_and_ramps(before, after):
    matrix = resampling_matrix(before, after).astype(np.float64)
    np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-6)
    ramp = matrix @ np.arange(before)
    inner = slice(2, -2)
    expected = (np.arange(after) + 0.5) * before / after - 0.5
    np.testing.assert_allclose(ramp[inner], expected[inner], atol=0.02 * before / after)


def test_shrinking_averages_instead_of_picking():
    """Without anti-alias the noise would keep its sigma."""
    white = np.random.default_rng(0).normal(0, 1, (64, 64, 64)).astype(np.float32)
    small_box = resample_box(white, (32, 32, 32))
    gain = 1.0
    for _ in range(3):
        gain *= np.sqrt(np.square(resampling_matrix(64, 32)).sum() / 32)
    assert small_box.std() == pytest.approx(gain, rel=0.03)
    assert gain < 0.5


def test_noise_of_a_sample_follows_its_resampling(tmp_path):
    row = saved(tmp_path, "a", noise((64, 64, 64)), size=(1.0, 1.0, 1.0))
    native = CropSource([row], small()).sample(0, 0)
    shrunk = CropSource([row], small(voxel_size_um=(1.4, 1.4, 1.4))).sample(0, 0)
    assert shrunk["noise"] < 0.7 * native["noise"]
    assert shrunk["noise"] == pytest.approx(shrunk["crop"].std(), rel=0.25)


def test_config_refuses_what_cannot_be():
    with pytest.raises(ValidationError, match="no multiple of patch"):
        CropConfig(shape=(60, 64, 64))
    with pytest.raises(ValidationError, match="extra"):
        CropConfig(size=(64, 64, 64))  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        CropConfig(voxel_size_um=(1.0, 0.0, 1.0))


def test_draws_are_apart_by_purpose_seed_and_index():
    keys = [("crop", 0, 0), ("crop", 0, 1), ("crop", 1, 0), ("augment", 0, 0), ("crop", -1, 0)]
    numbers = [keyed_rng(*key).random() for key in keys]
    assert len(set(numbers)) == len(keys)
    assert numbers == [keyed_rng(*key).random() for key in keys]


def test_real_list_opens_with_every_thin_volume(shared_data):
    from luxvox.data.manifest import read_dataset

    rows = read_dataset(shared_data / "pretrain" / "dataset.csv").rows
    thin = [row for row in rows if "merck" in row.id or "embryo" in row.id]
    source = CropSource(thin, CropConfig(shape=(48, 48, 48)))
    for volume in range(len(thin)):
        sample = source.sample(volume, 0, volume)
        assert sample["extent"][0] in (8, 16)
        assert np.isfinite(sample["crop"]).all()
