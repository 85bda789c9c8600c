"""Crop banks: what goes in comes out, nothing of the rows is lost, damage is noticed."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from luxvox.configs.errors import InputError
from luxvox.data.bank import BankSource, bank_rows, is_bank
from luxvox.data.bank_pack import bank_command, crops_wanted, encode, write_bank
from luxvox.data.crops import CropConfig, CropSource, fixed_crops
from luxvox.data.loader import collate, decode, make_loader
from luxvox.data.row import Row
from luxvox.data.save import save_volume

PACKED = CropConfig(shape=(24, 24, 24), patch=(1, 1, 1), min_foreground=0)
TRAINED = CropConfig(shape=(16, 16, 16), patch=(8, 8, 8), min_foreground=0)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    rows = []
    for number, depth in enumerate((40, 24, 15)):
        rng = np.random.default_rng(number)
        array = rng.normal(500, 40, (depth, 40, 40)).astype(np.uint16)
        array[:, 10:20, 10:20] += 4000
        size = (3.0, 1.0, 1.0) if number else None
        path = save_volume(array, folder / f"v{number}.ome.zarr", voxel_size_um=size)
        rows.append(
            Row(
                id=f"v{number}",
                image=path,
                group=f"g{number}",
                group_stated=True,
                split="val" if number == 2 else "train",
                caption=f"Number {number}.",
                structure="blocks",
                stain="dye",
                voxel_size_um=size,
                ignore_label=(0, 4),
            )
        )
    return CropSource(rows, PACKED)


@pytest.fixture(scope="module")
def bank(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("bank") / "bank.safetensors"
    return write_bank(source, out, crops_per_volume=3, seed=2)


def test_codes_use_their_range_and_decode_to_the_crop():
    crop = np.random.default_rng(0).normal(0, 2, (6, 7, 8)).astype(np.float32)
    codes, scale, offset = encode(crop, (6, 7, 4))
    assert codes.dtype == np.uint16
    assert codes.min() == 0
    assert codes.max() == 65535
    inside = codes[:, :, :4].astype(np.float64) * scale + offset
    assert np.abs(inside - crop[:, :, :4]).max() <= scale * 0.5001
    assert (codes[:, :, 4:] == 0).all()
    constant, scale, offset = encode(np.full((2, 2, 2), 1.5, np.float32), (2, 2, 2))
    assert constant.astype(np.float64).max() * scale + offset == 1.5


def test_bank_holds_the_crops_of_its_source(source, bank):
    """At the bank's own size, what is decoded are the crops that were packed."""
    same = BankSource(bank, PACKED)
    packed = decode(collate(fixed_crops(same, 3, seed=0)), "cpu")
    cut = collate(fixed_crops(source, 3, seed=2))
    for name in ("extent", "voxel_size_um", "spacing_known", "noise", "variance", "volume_id"):
        assert torch.equal(packed[name], cut[name]), name
    torch.testing.assert_close(packed["crop"], cut["crop"], atol=1e-4, rtol=0)
    assert cut["crop"].std() > 0.5
    padding = packed["crop"][-1, 0, 15:]
    assert (padding == 0).all()


def test_smaller_crops_lie_inside_the_packed_ones(bank):
    whole = decode(collate(fixed_crops(BankSource(bank, PACKED), 3, seed=0)), "cpu")["crop"][:, 0]
    small = BankSource(bank, TRAINED)
    starts = set()
    for index in range(20):
        batch = decode(collate([small.sample(index, 1)]), "cpu")
        z, y, x = batch["extent"][0].tolist()
        assert (z, y, x) == ((8, 16, 16) if batch["volume_id"] == 2 else (16, 16, 16))
        piece = batch["crop"][0, 0, :z, :y, :x]
        windows = whole.unfold(1, z, 1).unfold(2, y, 1).unfold(3, x, 1)
        same = ((windows[..., 0, :, 0] - piece[0, :, 0]).abs().amax(-1) < 1e-6).nonzero()
        places = [tuple(p) for p in same.tolist() if torch.equal(windows[tuple(p)], piece)]
        assert places, "not a piece of any packed crop"
        starts.update(places)
        assert (batch["crop"][0, 0, z:] == 0).all()
    assert len(starts) > 12


def test_rows_keep_their_words_groups_and_splits(source, bank):
    assert is_bank(bank)
    rows = bank_rows(bank)
    for kept, row in zip(rows, source.rows, strict=True):
        for name in ("id", "group", "group_stated", "split", "caption", "structure", "stain"):
            assert getattr(kept, name) == getattr(row, name)
        assert kept.voxel_size_um == row.voxel_size_um
        assert kept.ignore_label == (0, 4)
        assert str(kept.image) == row.image.name, "machine paths do not belong into a bank"
    assert BankSource(bank, TRAINED).voxel_sizes_um == [None, (3, 1, 1), (3, 1, 1)]


def test_one_split_with_the_numbering_of_the_whole(bank):
    rows = bank_rows(bank)
    val = BankSource(bank, TRAINED, rows=[r for r in rows if r.split == "val"], vocabulary=rows)
    assert [row.id for row in val.rows] == ["v2"]
    assert val.caption_ids == [2]
    sample = val.sample(0, 0)
    assert sample["volume_id"] == 0
    assert sample["caption_id"] == 2
    assert sample["extent"].tolist() == [8, 16, 16]


@pytest.mark.parametrize("workers", [0, 1])
def test_loader_draws_from_a_bank_as_from_volumes(bank, workers):
    source = BankSource(bank, TRAINED)
    with make_loader(source, seed=0, batch_size=3, num_steps=2, workers=workers) as loader:
        batches = list(loader)
    expected = collate([source.sample(i, 0, v) for i, v in enumerate(source.choose(0, 0, 3))])
    assert all(torch.equal(batches[0][name], expected[name]) for name in expected)
    assert batches[0]["crop"].dtype == torch.uint16
    assert sorted(batches[0]["caption_id"].tolist()) == [0, 1, 2]


def test_gate_prefers_pieces_with_structure(tmp_path):
    array = np.random.default_rng(0).normal(500, 40, (24, 64, 64)).astype(np.uint16)
    array[:16, :16, :16] += 4000
    path = save_volume(array, tmp_path / "a.ome.zarr", voxel_size_um=None)
    config = CropConfig(shape=(24, 64, 64), min_foreground=0)
    bank = write_bank(
        CropSource([Row(id="a", image=path, group="a")], config), tmp_path / "b.safetensors"
    )
    share = {}
    for tries in (1, 10):
        source = BankSource(bank, CropConfig(shape=(16, 16, 16), min_foreground=0.1, tries=tries))
        crops = decode(collate([source.sample(i, 0) for i in range(60)]), "cpu")["crop"]
        share[tries] = ((crops > 3).float().flatten(1).mean(1) > 0.05).float().mean()
    assert share[10] > 2 * share[1] > 0


def test_file_is_plain_safetensors(bank):
    tensors = load_file(bank)
    assert tensors["codes"].dtype == np.uint16
    assert tensors["codes"].shape[1:] == (24, 24, 24)
    assert len(tensors["scale"]) == len(tensors["codes"])


def test_small_volumes_give_few_crops(source):
    plans = [item.plan for item in source.opened]
    assert [crops_wanted(plan, 100) for plan in plans] == [10, 6, 6]
    assert crops_wanted(plans[0], 2) == 2


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_bank_cut_short_is_refused(bank, tmp_path, share):
    cut = tmp_path / "cut.safetensors"
    whole = bank.read_bytes()
    cut.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(
        InputError, match=r"cut\.safetensors: .*(cut short|not a crop bank)"
    ) as error:
        BankSource(cut, TRAINED)
    assert "\n" not in str(error.value)


def test_other_files_and_wishes_are_refused(bank, tmp_path):
    for name, content in (("a.safetensors", b"\x10" + b"\0" * 40), ("b.safetensors", b"\xff" * 40)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="not a crop bank"):
            BankSource(tmp_path / name)
    with pytest.raises(InputError, match="cannot be read"):
        BankSource(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match=r"\(24, 24, 24\).*crop\.shape \(32, 16, 16\)"):
        BankSource(bank, CropConfig(shape=(32, 16, 16)))
    with pytest.raises(InputError, match="voxel_size_um"):
        BankSource(bank, CropConfig(shape=(16, 16, 16), voxel_size_um=(2, 2, 2)))
    with pytest.raises(InputError, match=r"v2.*\(15, 24, 24\).*patch"):
        BankSource(bank, CropConfig(shape=(16, 16, 16), patch=(16, 16, 16)))


def test_nothing_half_written_stays(source, tmp_path):
    out = tmp_path / "bank.safetensors"

    def fail(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_bank(source, out, crops_per_volume=2, progress=fail)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"ends in \.safetensors"):
        write_bank(source, tmp_path / "bank.npz")
    with pytest.raises(InputError, match="cannot be written"):
        write_bank(source, tmp_path / "no" / "such" / "bank.safetensors")
    assert not list(tmp_path.iterdir())


def test_command_packs_a_list(simulated, tmp_path, capsys):
    out = tmp_path / "crops.safetensors"
    bank_command(str(simulated), str(out), shape=(24, 24, 24), crops=2)
    said = capsys.readouterr().out
    assert "48 crops of 24 volumes, 0.00 GB" in said
    source = BankSource(out, TRAINED)
    assert source.num_crops == 48
    assert {row.split for row in source.rows} == {"train", "val"}
    with pytest.raises(InputError, match=r"exists already.*--overwrite"):
        bank_command(str(simulated), str(out))


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"U16"', b'"X16"'), (b'"data_offsets"', b'"data_offsetz"'), (b'"__metadata__"', b'"meta"')],
)
def test_a_bent_header_is_refused_by_name(bank, tmp_path, old, new):
    content = bank.read_bytes()
    (tmp_path / "bent.safetensors").write_bytes(content.replace(old, new, 1))
    with pytest.raises(InputError, match=r"bent\.safetensors: not a crop bank"):
        BankSource(tmp_path / "bent.safetensors", TRAINED)


@pytest.mark.parametrize("name", [b'"counts"', b'"rows"', b'"codes"'])
def test_a_bank_without_one_of_its_parts_says_which(bank, tmp_path, name):
    (tmp_path / "odd.safetensors").write_bytes(
        bank.read_bytes().replace(name, name[:-2] + b'X"', 1)
    )
    with pytest.raises(
        InputError, match=r"odd\.safetensors: a bank without " + name[1:-1].decode()
    ):
        BankSource(tmp_path / "odd.safetensors", TRAINED)


def test_a_header_that_is_a_list_is_refused_by_name(tmp_path):
    (tmp_path / "list.safetensors").write_bytes((8).to_bytes(8, "little") + b"[1,2,3] ")
    with pytest.raises(InputError, match=r"list\.safetensors: not a crop bank"):
        BankSource(tmp_path / "list.safetensors", TRAINED)
