"""The checks of an audit: from rows and what their files hold to findings. Nothing is read here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from .audit_report import Finding
from .audit_volume import RowFacts, VolumeFacts
from .captions import caption_ids, caption_key, missing_captions
from .manifest import Row, find_problems
from .stains import parse_stain
from .voxel import VoxelSize, format_voxel_size

SMALLEST_SIDE = 8  # voxels: one patch of the encoder
_PLAUSIBLE_UM = (0.01, 1000.0)
_FLAT_RATIO = 20.0  # no microscope in use has planes so far apart
_LONG_RATIO = 2.0


def check_list(rows: Sequence[Row]) -> list[Finding]:
    """Checks that need no file: ids, groups, splits, captions, stains."""
    findings = [
        Finding("error", problem.kind, problem.row.id, problem.what, problem.do)
        for problem in find_problems(rows)
    ]
    return [*findings, *_check_groups(rows), *_check_captions(rows), *_check_stains(rows)]


def _check_groups(rows: Sequence[Row]) -> Iterable[Finding]:
    usable = [row for row in rows if row.split != "test"]
    if not usable:
        yield Finding(
            "error", "split", "", "every row is of split test", "give some rows the split train"
        )
    elif all(row.split == "val" for row in usable):
        yield Finding("error", "split", "", "no row to train on", "give some rows the split train")
    if len({row.group for row in usable}) == 1:
        yield Finding(
            "warning",
            "one group",
            "",
            f"all rows belong to one group ({usable[0].group})",
            "nothing can be held back to validate on; state groups or set val_fraction to 0",
        )
    unstated = [row for row in usable if not row.group_stated]
    if len(unstated) > 1:
        yield Finding(
            "hint",
            "group not stated",
            "",
            f"{len(unstated)} rows have no group, so each file counts as its own",
            "fill the column group (animal or parent volume) where files belong together",
        )


def _check_captions(rows: Sequence[Row]) -> Iterable[Finding]:
    missing = missing_captions(rows)
    if len(missing) == len(rows):
        yield Finding(
            "hint",
            "caption missing",
            "",
            "no row has a caption",
            "write captions, or pretrain with objective.text=0",
        )
        return
    for row in missing:
        yield Finding(
            "warning",
            "caption missing",
            row.id,
            "no caption, though other rows have one",
            "write one, or pretrain with objective.text=0",
        )
    ids, captions = caption_ids(rows)
    if len(captions) == 1 and len(rows) > 1:
        yield Finding(
            "warning",
            "caption equal",
            "",
            "all captions are equal",
            "there is nothing to tell apart; pretrain with objective.text=0",
        )
    written: dict[str, str] = {}
    for caption in captions:
        # Two captions that differ in punctuation only would be negatives of each other.
        bare = re.sub(r"[\W_]+", " ", caption_key(caption)).strip()
        if bare in written:
            yield Finding(
                "warning",
                "caption spelling",
                "",
                f"two captions differ in punctuation only: '{written[bare]}', '{caption}'",
                "write them alike, so that they count as one",
            )
        written.setdefault(bare, caption)
    trained = {i for row, i in zip(rows, ids, strict=True) if row.split not in ("val", "test")}
    unseen = {i for row, i in zip(rows, ids, strict=True) if row.split == "val"} - trained - {-1}
    if unseen:
        yield Finding(
            "hint",
            "caption only in val",
            "",
            f"{len(unseen)} of {len(captions)} captions stand in split val only",
            "retrieval of these is zero-shot; read it apart from that of the others",
        )


def _check_stains(rows: Sequence[Row]) -> Iterable[Finding]:
    spellings: dict[str, set[str]] = {}
    for row in rows:
        if row.stain:
            stain = parse_stain(row.stain)
            spellings.setdefault(stain.key, set()).add(stain.name)
    for names in spellings.values():
        # "axon label" and "axon reporter" may be two things; only spelling is judged.
        plain = {re.sub(r"[\W_]+", "", name.casefold()) for name in names}
        if len(names) > 1 and len(plain) == 1:
            listing = ", ".join(f"'{name}'" for name in sorted(names))
            yield Finding(
                "hint", "stain spelling", "", f"one stain is spelled {listing}", "spell it alike"
            )


def check_duplicates(facts: Sequence[RowFacts]) -> list[Finding]:
    """The same file, the same bytes, or the same voxels in two rows."""
    ways: tuple[tuple[str, Callable[[RowFacts], str | None]], ...] = (
        ("the same file", lambda f: str(f.row.image.resolve())),
        ("the same bytes", lambda f: f.file_hash),
        ("the same voxels", _content),
    )
    findings = []
    told: set[tuple[str, str]] = set()
    for how, key_of in ways:
        first_with: dict[str, RowFacts] = {}
        for fact in facts:
            key = key_of(fact)
            if key is None:
                continue
            first = first_with.setdefault(key, fact)
            pair = (first.row.id, fact.row.id)
            if first is not fact and pair not in told:
                told.add(pair)
                findings.append(_duplicate(first.row, fact.row, how))
    return findings


def _content(fact: RowFacts) -> str | None:
    image = fact.image
    if isinstance(image, str) or len(image.constant_channels) == image.num_channels:
        return None  # empty volumes are all alike, which is another finding
    return image.content


def _duplicate(first: Row, row: Row, how: str) -> Finding:
    what = f"{how} as {first.where}"
    if first.group != row.group:
        what += f", under another group ('{row.group}', '{first.group}')"
        split = (first.split or "train", row.split or "train")
        if split[0] != split[1]:
            what += f" and in another split ({split[1]}, {split[0]})"
        return Finding(
            "error", "group leak", row.id, what, "give both rows one group, or take one out"
        )
    if how == "the same file" and (row.labels, row.target) != (first.labels, first.target):
        do = "right if the labels or targets differ on purpose"
        return Finding("hint", "duplicate", row.id, what, do)
    return Finding("warning", "duplicate", row.id, what, "take one out; it counts twice")


def check_row(fact: RowFacts) -> list[Finding]:
    """Checks of one row's files: readable, 3D, not empty, plausible sizes, labels that fit."""
    row, image = fact.row, fact.image
    if isinstance(image, str):
        return [_unreadable(row, "image", image)]
    findings = [*_check_voxels(row, image), *_check_sides(row, image), *_check_size_um(row, image)]
    for column, other in (("labels", fact.labels), ("target", fact.target)):
        if isinstance(other, str):
            findings.append(_unreadable(row, column, other))
        elif other is not None and other.shape != image.shape:
            what = f"{column} have (z, y, x) = {other.shape}, the image has {image.shape}"
            do = "pair the right files; check axes and crops"
            findings.append(Finding("error", f"{column} shape", row.id, what, do))
    if isinstance(fact.labels, VolumeFacts):
        findings += _check_label_values(row, fact.labels)
    return findings


def _unreadable(row: Row, column: str, reason: str) -> Finding:
    do = "repair or replace the file, correct its axes, or take the row out"
    return Finding("error", "unreadable", row.id, f"{column}: {reason}", do)


def _check_voxels(row: Row, image: VolumeFacts) -> Iterable[Finding]:
    share = image.nonfinite_share
    if share == 1:
        yield Finding("error", "nan", row.id, "every voxel is NaN or infinite", "take the row out")
        return
    if share > 0:
        what = f"{share:.2%} of the voxels are NaN or infinite"
        do = "they are left out of the statistics; mask or repair them if they are many"
        yield Finding("warning", "nan", row.id, what, do)
    missing, expected = image.missing_chunks
    if missing:
        what = f"{missing} of {expected} chunk files are missing and read as fill value"
        do = "right where a writer leaves empty chunks out; else copy the store again"
        yield Finding("warning", "missing chunks", row.id, what, do)
    if len(image.constant_channels) == image.num_channels:
        what = "all voxels have one value"
        if image.whole:
            yield Finding("error", "empty", row.id, what, "take the row out or export it anew")
        else:
            what += " in all that was read of it (a coarse level or 27 blocks)"
            yield Finding("warning", "empty", row.id, what, "look at it; it may be almost empty")
    elif image.constant_channels:
        channels = ", ".join(map(str, image.constant_channels))
        what = f"channel {channels} is constant"
        yield Finding("warning", "empty", row.id, what, "choose channels that hold a signal")


def _check_sides(row: Row, image: VolumeFacts) -> Iterable[Finding]:
    depth, height, width = image.shape
    if min(image.shape) < SMALLEST_SIDE:
        what = f"(z, y, x) = {image.shape}: a side is below one patch ({SMALLEST_SIDE} voxels)"
        do = "take the row out, or train with a smaller patch along this axis"
        yield Finding("error", "too small", row.id, what, do)
    if depth > _LONG_RATIO * max(height, width):
        what = f"(z, y, x) = {image.shape}: z is much the longest side"
        do = "check the column axes: it names the order in which the array lies in the file"
        yield Finding("hint", "axes", row.id, what, do)


def _check_size_um(row: Row, image: VolumeFacts) -> Iterable[Finding]:
    size = row.voxel_size_um or image.voxel_size_um
    if size is None:
        what = "voxel size unknown: neither the list nor the file states it"
        do = "fill voxel_size_um (z y x); else it trains in index units and gives no um"
        yield Finding("warning", "voxel size missing", row.id, what, do)
        return
    low, high = _PLAUSIBLE_UM
    if not all(low <= side <= high for side in size):
        what = f"voxel size {format_voxel_size(size)} is implausible"
        do = f"state it as z y x in um; expected {low:g} to {high:g}"
        yield Finding("error", "voxel size", row.id, what, do)
    elif max(size) / min(size) > _FLAT_RATIO or size[0] < 0.5 * min(size[1:]):
        what = f"voxel size {format_voxel_size(size)} is unusual for (z, y, x)"
        yield Finding("hint", "voxel size", row.id, what, "check the order: z first, then y and x")
    if row.voxel_size_um and image.voxel_size_um and not _close(size, image.voxel_size_um):
        found = format_voxel_size(image.voxel_size_um)
        what = f"the list says {format_voxel_size(size)}, the file {found}"
        do = "the list is used; correct it if the file is right"
        yield Finding("warning", "voxel size", row.id, what, do)


def _close(one: VoxelSize, other: VoxelSize) -> bool:
    return all(abs(a - b) <= 0.05 * max(a, b) for a, b in zip(one, other, strict=True))


def _check_label_values(row: Row, labels: VolumeFacts) -> Iterable[Finding]:
    values = set(labels.values or ())
    listing = ", ".join(f"{value:g}" for value in sorted(values)[:8])
    listing += ", ..." if len(values) > 8 else ""
    if any(value != int(value) or value < 0 for value in values if value == value):
        what = f"labels hold {listing}: expected whole numbers from 0"
        do = "export labels, not probabilities or a rescaled image"
        yield Finding("error", "label values", row.id, what, do)
        return
    ignored = set(row.ignore_label or ())
    wanted = row.foreground_label
    if wanted in ignored:
        what = f"foreground_label {wanted} is among the ignored values too"
        yield Finding("error", "label values", row.id, what, "take it out of ignore_label")
        return
    foreground = values - ignored - {0}
    if not foreground and not (wanted == 0 and 0 in values):
        where = "" if labels.whole else " in what was read of them (a coarse level or 27 blocks)"
        what = f"labels hold no foreground{where} (values: {listing})"
        do = "right for a negative example; else pair the right files"
        yield Finding("warning", "empty labels", row.id, what, do)
    elif wanted is not None and wanted not in values:
        what = f"foreground_label {wanted} is not among the label values ({listing})"
        do = "correct foreground_label, or the labels"
        severity = "error" if labels.whole and len(foreground) == 1 else "warning"
        yield Finding(severity, "label values", row.id, what, do)
    if ignored and not ignored & values:
        what = f"none of the ignored values ({', '.join(map(str, sorted(ignored)))}) occurs"
        yield Finding("hint", "label values", row.id, what, "check ignore_label")
