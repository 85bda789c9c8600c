"""Batches do not depend on workers, ranks or restarts; a loader ends cleanly whatever happens."""

import gc
import pickle
import threading

import numpy as np
import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.data.crops import CropConfig, CropSource
from luxvox.data.loader import collate, decode, make_loader
from luxvox.data.row import Row
from luxvox.data.save import save_volume

CONFIG = CropConfig(shape=(16, 16, 16), patch=(8, 8, 8))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    rows = []
    for number in range(4):
        rng = np.random.default_rng(number)
        array = rng.normal(500, 40, (12 if number == 3 else 24, 32, 32)).astype(np.uint16)
        path = save_volume(array, folder / f"v{number}.ome.zarr", voxel_size_um=(1, 1, 1))
        rows.append(
            Row(id=f"v{number}", image=path, group=f"g{number}", caption=f"Number {number}.")
        )
    return CropSource(rows, CONFIG)


def batches(source, **more):
    options = {"seed": 5, "batch_size": 4, "num_steps": 3, **more}
    with make_loader(source, **options) as loader:
        return list(loader)


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def test_batch_has_every_entry_with_its_shape_and_type(source):
    (batch,) = batches(source, num_steps=1)
    shapes = {name: (tuple(value.shape), value.dtype) for name, value in batch.items()}
    assert shapes == {
        "crop": ((4, 1, 16, 16, 16), torch.float32),
        "scale": ((4,), torch.float32),
        "offset": ((4,), torch.float32),
        "extent": ((4, 3), torch.int64),
        "voxel_size_um": ((4, 3), torch.float32),
        "spacing_known": ((4,), torch.bool),
        "noise": ((4,), torch.float32),
        "variance": ((4,), torch.float32),
        "volume_id": ((4,), torch.int64),
        "caption_id": ((4,), torch.int64),
        "structure_id": ((4,), torch.int64),
        "index": ((4,), torch.int64),
    }
    assert sorted(batch["caption_id"].tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_anything(source, workers):
    for one, two in zip(batches(source), batches(source, workers=workers), strict=True):
        assert_equal(one, two)


def test_two_ranks_together_are_one_rank(source):
    one = batches(source, batch_size=4)
    ranks = [batches(source, batch_size=2, rank=rank, world_size=2) for rank in (0, 1)]
    for step, whole in enumerate(one):
        parts = [ranks[0][step], ranks[1][step]]
        assert_equal(whole, {name: torch.cat([p[name] for p in parts]) for name in whole})


def test_restart_goes_on_with_the_same_batches(source):
    whole = batches(source, num_steps=5)
    rest = batches(source, num_steps=2, start_step=3)
    for one, two in zip(whole[3:], rest, strict=True):
        assert_equal(one, two)
    assert whole[3]["index"].tolist() == [12, 13, 14, 15]
    assert not torch.equal(whole[0]["crop"], whole[1]["crop"])


def test_seed_changes_the_crops(source):
    one, two = batches(source, num_steps=1)[0], batches(source, num_steps=1, seed=6)[0]
    assert not torch.equal(one["crop"], two["crop"])


class Broken:
    """A source that fails at one index."""

    rows = captions = structures = skipped = ()
    voxel_sizes_um = ()

    def __init__(self, error):
        self.error = error

    def choose(self, seed, step, count):
        return np.zeros(count, dtype=np.int64)

    def sample(self, index, seed, volume=None):
        if index >= 8:
            raise self.error
        return {"crop": np.zeros((1, 2, 2, 2), np.float32), "index": np.int64(index)}

    def fixed(self, volume, number, seed):
        raise NotImplementedError


def crop_threads():
    return [thread for thread in threading.enumerate() if thread.name == "luxvox-crops"]


@pytest.mark.parametrize("workers", [0, 1])
def test_error_while_cutting_arrives_as_it_was_raised(workers):
    loader = make_loader(
        Broken(InputError("a.tif: cut short")), seed=0, batch_size=4, num_steps=9, workers=workers
    )
    assert [next(loader)["index"][0].item() for _ in range(2)] == [0, 4]
    with pytest.raises(InputError) as error:
        next(loader)
    assert str(error.value) == "a.tif: cut short"
    with pytest.raises(StopIteration):
        next(loader)
    assert not crop_threads()


def test_closing_early_leaves_no_thread(source):
    loader = make_loader(source, seed=0, batch_size=2, num_steps=1000)
    next(loader)
    assert crop_threads()
    loader.close()
    assert not crop_threads()
    loader.close()  # a second time does no harm


def test_interrupt_in_the_training_closes_the_loader(source):
    def train():
        with make_loader(source, seed=0, batch_size=2, num_steps=1000) as loader:
            next(loader)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert not crop_threads()


def test_source_travels_to_a_new_process(source):
    copy = pickle.loads(pickle.dumps(source))
    assert_equal(collate([copy.sample(3, 0)]), collate([source.sample(3, 0)]))


def test_decode_leaves_streams_as_they_are_and_turns_codes_into_values():
    codes = torch.tensor([[0, 65535], [1000, 7]], dtype=torch.uint16).view(2, 1, 1, 1, 2)
    batch = {
        "crop": codes,
        "scale": torch.tensor([0.5, 2.0]),
        "offset": torch.tensor([-3.0, 1.0]),
        "extent": torch.tensor([[1, 1, 2], [1, 1, 1]]),
    }
    decoded = decode(batch, "cpu")
    values = [-3.0, 65535 * 0.5 - 3, 2001.0, 0.0]  # the last voxel is padding
    assert decoded["crop"].flatten().tolist() == values
    assert batch["crop"].dtype == torch.uint16
    again = decode(decoded, "cpu")
    assert torch.equal(again["crop"], decoded["crop"])


def test_waiting_is_counted(source):
    with make_loader(source, seed=0, batch_size=2, num_steps=2) as loader:
        next(loader)
        assert loader.waited_s > 0


def test_a_forgotten_loader_stops(source):
    loader = make_loader(source, seed=0, batch_size=2, num_steps=1000)
    next(loader)
    del loader
    gc.collect()
    assert not crop_threads()
