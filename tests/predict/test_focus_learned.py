"""The learned head as a scorer: scale, windows, levels, micrometres, neighbours, stains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from luxvox.configs.errors import InputError
from luxvox.data.sharpness import MEASURES
from luxvox.data.sharpness_survey import survey_slices
from luxvox.models.checkpoint import TENSORS, load_weights, save_weights
from luxvox.models.focus_bank import FocusBank
from luxvox.models.focus_config import FocusAnswer, FocusConfig, FocusFeatures
from luxvox.models.focus_levels import soft_labels
from luxvox.models.heads.focus import FocusHead
from luxvox.predict.focus import Sample, score_stack
from luxvox.predict.focus_calibration import Residuals
from luxvox.predict.focus_learned import MOST_TILES, LearnedScorer
from luxvox.predict.focus_measures import MEASURED
from luxvox.predict.focus_scorer import load_scorer
from luxvox.predict.focus_stack import FocusStack
from luxvox.predict.focus_weights import (
    MODES,
    LearnedFocus,
    is_learned,
    load_learned,
    save_learned,
)
from luxvox.predict.focus_windows import StackScale, cut_windows, undrifted, window_corners

SMALL = FocusConfig(channels=(4, 8, 16), width=16, stain_dim=8)


def counts(slices: int = 7, side: int = 128, seed: int = 0) -> np.ndarray:
    """[Z, Y, X] a sweep of points, in focus in the middle."""
    rng = np.random.default_rng(seed)
    dye = (rng.random((side, side)) < 0.02) * 2000.0
    planes = [gaussian_filter(dye, 0.8 + 0.7 * abs(z - slices // 2)) for z in range(slices)]
    return (rng.poisson(np.stack(planes) + 10) + 100).astype(np.float32)


def stack_of(array: np.ndarray, size: tuple[float, float, float] | None = (2.0, 0.8, 0.8)):
    return FocusStack(
        image_paths=("a.tif",) * len(array), stack_id="a", channel="", t=0,
        z_index=tuple(range(len(array))), voxel_size_um=size,
        shape=(array.shape[1], array.shape[2]), largest=None, notes=(),
        load=lambda place: array[place],
    )  # fmt: skip


def sample_of(stack: FocusStack, places: list[int] | None = None) -> Sample:
    places = list(range(len(stack))) if places is None else places
    slices = stack.read(places)
    return Sample(slices, places, survey_slices(iter(slices), [float(p) for p in places]))


def learned(stains: tuple[str, ...] = (), **changes) -> LearnedFocus:
    """A head of random weights whose gate is open."""
    torch.manual_seed(0)
    config = SMALL.model_copy(update={**changes, "stains": len(stains) or None})
    model = FocusHead(config).eval()
    with torch.no_grad():
        model.gate.bias += 4
        if stains:
            for buffer in (model.prototypes, model.stain_vectors):
                buffer.copy_(torch.nn.functional.normalize(torch.randn(buffer.shape), dim=-1))
    residuals = Residuals(np.linspace(-1, 1, 40), np.arange(40))
    return LearnedFocus(model, stains, None, dict.fromkeys(MODES, residuals), "runs/mine")


def scores(scorer: LearnedScorer, array: np.ndarray, mode="sweep", stain=None, **stack):
    return score_stack(stack_of(array, **stack), mode, stain, scorer)


def test_gain_and_offset_change_nothing():
    array, scorer = counts(), LearnedScorer(learned())
    plain = scores(scorer, array)
    for changed in (3.0 * array, array + 500, 0.5 * array - 20):
        assert scores(scorer, changed).scores == pytest.approx(plain.scores, abs=2e-3)
    assert np.ptp(plain.scores) > 1e-3


def test_one_scale_for_a_stack_and_nan_is_dark():
    sample = torch.from_numpy(counts())
    scale = StackScale.of(sample)
    assert scale.apply(sample).quantile(0.998) == pytest.approx(1.0, abs=0.05)
    dim = scale.apply(0.5 * (sample - 100) + 100)
    assert dim.quantile(0.998) == pytest.approx(0.5, abs=0.05)
    broken = sample.clone()
    broken[0, 0, 0] = torch.nan
    assert scale.apply(broken).isfinite().all()
    assert StackScale.of(torch.full((2, 32, 32), 7.0)).spread == 1.0


@pytest.mark.parametrize("shape", [(16, 16), (40, 130), (64, 64), (100, 300)])
def test_windows_are_whole_at_any_size(shape):
    corners = window_corners(shape)
    image = torch.arange(shape[0] * shape[1]).float().reshape(1, *shape)
    windows = cut_windows(image, corners.flatten(0, 1))
    assert windows.shape == (1, corners.shape[0] * corners.shape[1], 64, 64)
    y, x = corners[-1, -1].tolist()
    inside = image[0, y : y + 64, x : x + 64]
    assert torch.equal(windows[0, -1, : inside.shape[0], : inside.shape[1]], inside)
    if shape[0] < 64:  # mirrored, not repeated from the top
        assert torch.equal(windows[0, 0, shape[0]], windows[0, 0, shape[0] - 1])


def test_bleaching_is_taken_off():
    sharp, z = torch.from_numpy(counts(9)), torch.arange(9.0)
    fading = -0.1
    faded = (sharp - 100) * (fading * z).exp()[:, None, None] + (100 - 2 * z)[:, None, None]
    plain = survey_slices(iter(sharp), z.tolist())
    assert torch.equal(undrifted(sharp, z, plain, 0.0), sharp)
    survey = replace(plain, background=100.0, background_slope=-2.0, log_brightness_slope=fading)
    assert torch.allclose(undrifted(faded, z, survey, 0.0), sharp, atol=0.01)
    like_last = undrifted(faded, z, survey, 8.0)
    assert torch.allclose(like_last[8], faded[8], atol=0.01)
    assert torch.allclose(like_last, (sharp - 100) * np.exp(8 * fading) + 84, atol=0.01)


def test_what_was_never_seen_has_no_score():
    model = learned()
    found = scores(LearnedScorer(model), counts())
    assert found.reasons == [""] * 7
    tiles = texture_of(counts())
    model.model.strange.learn(tiles)
    model.model.strange.allow(torch.tensor([1.0, 3.0]))
    assert scores(LearnedScorer(model), counts()).reasons == [""] * 7
    board = 1000.0 * ((np.indices((128, 128)) // 2).sum(0) % 2)
    boards = counts() * 0.01 + board.astype(np.float32)
    strange = scores(LearnedScorer(model), boards, "volume")
    assert strange.reasons == ["ood"] * 7
    assert np.isnan(strange.scores).all()


def texture_of(array: np.ndarray) -> torch.Tensor:
    """[N, F] of the bank, of all tiles."""
    planes = torch.from_numpy(array)
    windows = cut_windows(planes, window_corners((128, 128)).flatten(0, 1))
    tiles = StackScale.of(planes).apply(windows).flatten(0, 1)
    return FocusBank(SMALL.rings)(tiles[None], torch.tensor([2.0]))[0].mean((-2, -1))


def test_micrometres_only_where_the_lens_is_known():
    model = learned()
    known = scores(LearnedScorer(model, 0.3, 0.52, 1.45), counts())
    unit = 0.52 * 1.45 / 0.3**2 + 1.45 * 0.8 / 0.3
    for found in known.slices:
        assert found.level is not None
        assert found.defocus_um == pytest.approx(found.level * unit, rel=1e-5)
        assert found.lo <= found.defocus_um <= found.hi
        assert found.level_probs is not None
        assert sum(found.level_probs) == pytest.approx(1.0, abs=1e-5)
    for without in (
        scores(LearnedScorer(model, 0.3, 0.52), counts()),
        scores(LearnedScorer(model, 0.3, 0.52, 1.45), counts(), size=None),
    ):
        assert all(found.defocus_um is None for found in without.slices)
        assert all(found.lo <= found.score <= found.hi for found in without.slices)


def test_intervals_and_chances_come_from_the_residuals():
    """Those of what moved: volumes are judged worse than sweeps."""
    model = learned()
    wide = Residuals(np.linspace(-3, 3, 40), np.arange(40))
    few = Residuals(np.zeros(3), np.arange(3))
    by_mode = replace(model, residuals={**model.residuals, "volume": wide})
    unknown = replace(model, residuals={"sweep": few, "volume": few})
    narrow, broad, endless = (
        scores(LearnedScorer(m, 0.3, 0.52, 1.45), counts(), mode).slices[3]
        for m, mode in ((by_mode, "sweep"), (by_mode, "volume"), (unknown, "sweep"))
    )
    assert broad.hi - broad.lo > narrow.hi - narrow.lo
    assert endless.hi == np.inf
    assert 0 <= narrow.p_in_dof <= 1


def test_runs_of_slices_do_not_change_a_mixed_answer():
    model = learned(mixer=True)
    torch.nn.init.normal_(model.model.mix.across.weight)
    scorer, array = LearnedScorer(model), counts(11)
    stack = stack_of(array)
    sample, planes = sample_of(stack), stack.read(range(11))
    whole = scorer.begin(sample, stack, None, "sweep")(planes, range(11))
    run = scorer.begin(sample, stack, None, "sweep")
    parts = [found for k in (0, 4, 8) for found in run(planes[k : k + 4], range(11)[k : k + 4])]
    assert [f.level for f in parts] == pytest.approx([f.level for f in whole], abs=1e-4)
    volume = scorer.begin(sample, stack, None, "volume")(planes, range(11))
    assert max(abs(a.level - b.level) for a, b in zip(volume, whole, strict=True)) > 1e-4


def test_measures_have_places_in_sweeps_and_volumes_mix_nothing():
    model = learned(measures=MEASURED)
    scorer, array = LearnedScorer(model), counts(11)
    stack = stack_of(array)
    sample, planes = sample_of(stack), stack.read(range(11))
    for mode in ("sweep", "volume"):
        whole = scorer.begin(sample, stack, None, mode)(planes, range(11))
        run = scorer.begin(sample, stack, None, mode)
        parts = [run(planes[k : k + 1], [k])[0].level for k in range(11)]
        assert parts == pytest.approx([f.level for f in whole], abs=1e-4)
    # Of a volume no slice knows the others: the same, whichever slices were looked at before.
    one = scorer.begin(sample, stack, None, "volume")(planes, range(11))
    with torch.no_grad():
        model.model.measured.weight[:, len(MEASURES) :] = 0
    without_places = scorer.begin(sample, stack, None, "volume")(planes, range(11))
    assert [f.level for f in one] == [f.level for f in without_places]
    assert [f.level for f in whole] == [f.level for f in one]
    assert np.ptp([f.level for f in one]) > 1e-4


def test_images_that_come_one_by_one_are_each_judged():
    """As `--watch` does it: the sample is of the first image, the stack is the next."""
    scorer = LearnedScorer(learned(measures=MEASURED, course=True))
    stacks = [stack_of(plane[None]) for plane in counts()[:4]]
    first = sample_of(stacks[0])
    levels = [
        scorer.begin(first, stack, None, "sweep")(stack.read([0]), [0])[0].level for stack in stacks
    ]
    assert len({round(level, 5) for level in levels}) == 4


def test_a_course_brings_slices_of_a_sweep_together():
    model = learned(course=True)
    scorer, array = LearnedScorer(model), counts(40, 64)

    def levels(mode: str) -> list[float]:
        stack = stack_of(array)
        sample = sample_of(stack, np.linspace(0, 39, 33).round().astype(int).tolist())
        run = scorer.begin(sample, stack, None, mode)
        return [found.level for found in run(stack.read(range(40)), range(40))]

    # Levels that are told: what the head says of each slice is made by hand.
    def told(found, *_):
        at = found.pooled[0, :, 0, 0]
        distance = 0.2 * (at - 21.4).abs() + 0.5 * (at % 2)
        logits = ((soft_labels(distance, model.model.values) + 0.02) / 1.2).log()
        one = torch.ones(1, len(at), 1)
        return FocusAnswer(
            distance[None], torch.zeros(1, len(at)), one, torch.zeros(1, len(at)), one,
            torch.zeros(1, len(at)), logits[None], logits[None, :, None],
        )  # fmt: skip

    def features(given):
        features.seen += 1
        at = given.z.float()[:, :, None, None]
        return FocusFeatures(at, torch.ones(1, 1, 1, 8, 8), torch.zeros(1, 1, 1))

    features.seen = 0
    model.model.answer, model.model.features = told, features
    own = np.array(levels("volume"))
    assert features.seen == 40
    sweep = np.array(levels("sweep"))
    assert features.seen == 40 + 40  # the surveyed ones are described once
    truth = np.abs(np.arange(40) - 21.4)
    assert np.corrcoef(sweep, truth)[0, 1] > 0.999 > np.corrcoef(own, truth)[0, 1] + 0.01


def test_large_slices_of_sweeps_are_judged_by_some_tiles_volumes_by_all():
    array = counts(3, 512)
    scorer = LearnedScorer(learned())
    sweep = scores(scorer, array).slices[1].tiles
    volume = scores(scorer, array, "volume").slices[1].tiles
    assert np.isfinite(sweep).sum() == MOST_TILES
    assert np.isfinite(volume).sum() > MOST_TILES


def test_an_unknown_stain_is_said_and_a_wrong_one_matters(capsys):
    scorer = LearnedScorer(learned(("DAPI", "lectin")))
    array = counts(5)
    known = scores(scorer, array, stain="lectin").scores
    assert capsys.readouterr().err == ""
    unknown = scores(scorer, array, stain="mystery").scores
    message = capsys.readouterr().err
    assert "'mystery' is not among those that runs/mine knows (DAPI, lectin)" in message
    assert scores(scorer, array).scores == pytest.approx(unknown)
    wrong = scores(scorer, array, stain="DAPI").scores
    assert np.abs(wrong - known).max() > 1e-4


def test_weights_come_back_as_they_were(tmp_path):
    model = learned(("DAPI",))
    none = Residuals(np.empty(0), np.empty(0, np.int64))
    model = replace(model, residuals={**model.residuals, "volume": none})
    save_learned(tmp_path / "run" / "weights", model, {"steps": 3}, ["animal 1"])
    assert is_learned(tmp_path / "run")
    again = load_learned(tmp_path / "run")
    assert again.stains == ("DAPI",)
    assert again.residuals["sweep"].radius() == pytest.approx(model.residuals["sweep"].radius())
    assert again.residuals["volume"].radius() == np.inf
    scorer = load_scorer(str(tmp_path / "run"), na=0.3, wavelength_nm=520, index=1.45)
    one, other = (scores(s, counts()).scores for s in (scorer, LearnedScorer(model)))
    assert scorer.model_id == "head:run"
    assert one.shape == other.shape
    assert scores(scorer, counts()).slices[0].defocus_um is not None
    # The lens steers nothing yet in a head that has not learnt.
    assert np.isfinite(one).all()


def test_a_head_may_ship_inside_of_other_weights(tmp_path):
    model = learned()
    config = {"architecture": {"kind": "other"}}
    names = ("normalisation", "voxel_size_range_um", "stains", "structures", "recipe", "data")
    config |= dict.fromkeys((*names, "licence"))
    save_weights(tmp_path / "all", {"x": torch.zeros(1)}, config, "# x\n")
    assert not is_learned(tmp_path / "all")
    save_learned(tmp_path / "all" / "focus", model, {}, [])
    assert is_learned(tmp_path / "all")
    found, same = (LearnedScorer(m) for m in (load_learned(tmp_path / "all"), model))
    assert found.model_id == "head:all"
    assert scores(found, counts()).scores == pytest.approx(scores(same, counts()).scores)


def test_other_weights_and_damaged_ones_are_refused(tmp_path):
    with pytest.raises(InputError, match="no weights in it"):
        load_scorer(str(tmp_path))
    save_learned(tmp_path / "torn", learned(), {}, [])
    (tmp_path / "torn" / TENSORS).write_bytes(b"cut short")
    with pytest.raises(InputError, match="cut short or no safetensors file"):
        load_scorer(str(tmp_path / "torn"))
    save_learned(tmp_path / "run", learned(), {}, [])
    tensors, config = load_weights(tmp_path / "run")
    config.pop("format_version")
    config["architecture"]["focus"]["width"] = 24
    save_weights(tmp_path / "run", tensors, config, "# x\n")
    with pytest.raises(InputError, match="weights of another architecture"):
        load_scorer(str(tmp_path / "run"))
    config["architecture"] = {"kind": "focus"}
    save_weights(tmp_path / "run", tensors, config, "# x\n")
    with pytest.raises(InputError, match="no focus head can be built"):
        load_scorer(str(tmp_path / "run"))


@pytest.mark.parametrize("name", ["strange.mean", "residuals_sweep"])
def test_a_head_of_an_earlier_version_is_named_as_such(tmp_path, name):
    save_learned(tmp_path / "run", learned(), {}, [])
    tensors, config = load_weights(tmp_path / "run")
    config.pop("format_version")
    tensors.pop(name)
    save_weights(tmp_path / "run", tensors, config, "# x\n")
    with pytest.raises(InputError, match=f"lacks {name}, as heads of an earlier luxvox do; train"):
        load_scorer(str(tmp_path / "run"))


def test_tokens_of_the_shipped_encoder_are_read_block_by_block():
    """A stack longer than a block; the encoder is asked once a block, whatever the runs."""
    from luxvox.predict.focus_tokens import FrozenEncoder

    class Counting(FrozenEncoder):
        def __init__(self) -> None:
            self.asked = []
            self.name, self.width, self.fingerprint = "stand-in", 6, ""

        def tokens(self, windows, stats):
            self.asked.append(len(windows))
            depth = -(-len(windows) // 8)
            return torch.full((windows.shape[1], depth, 8, 8, 6), float(len(self.asked)))

    encoder = Counting()
    scorer = LearnedScorer(replace(learned(context=6), encoder=encoder))
    found = scores(scorer, counts(70, 64))
    assert encoder.asked == [64, 6]
    assert len(found.slices) == 70
