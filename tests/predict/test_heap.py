"""Memory that was freed goes back to the system, also while blocks are predicted."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from luxvox.predict.heap import apart, trim_heap


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what is freed")
def test_what_is_freed_between_kept_pieces_goes_back():
    freed, kept = [], []
    for _ in range(2000):
        freed.append(bytearray(60_000))
        kept.append(bytearray(60_000))  # as large: smaller ones would fill holes left by others
    freed.clear()
    before = resident_bytes()
    trim_heap()
    assert before - resident_bytes() > 60e6
    assert len(kept) == 2000


def test_blocks_trim_the_heap_now_and_then(blocks, image, tmp_path, monkeypatch):
    trims = []
    monkeypatch.setattr("luxvox.predict.run.trim_heap", lambda: trims.append(1))
    blocks.predict_blocks(blocks.request_of(image, tmp_path / "seldom.ome.zarr"))
    seldom = len(trims)
    assert 1 <= seldom < 12
    monkeypatch.setattr("luxvox.predict.run._TRIM_SECONDS", -1.0)
    blocks.predict_blocks(blocks.request_of(image, tmp_path / "often.ome.zarr"))
    assert len(trims) - seldom == 12 + 1


def test_what_lies_apart_goes_back_whole():
    kept, sizes = [], []
    for _ in range(8):
        piece = apart(1, 8, 512, 2048)
        assert not piece[0, 0].any()
        piece.fill_(1.0)
        kept.append(bytearray(600))
        del piece
        sizes.append(resident_bytes())
    assert sizes[-1] - sizes[0] < 16e6  # each was 34 MB
    assert tuple(apart(2, 3).shape) == (2, 3)
