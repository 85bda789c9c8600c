"""One file over a line that is cut: the right bytes in the end, or a clear error."""

from __future__ import annotations

import errno
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from luxvox.configs.errors import InputError
from luxvox.models import hub_file
from luxvox.models.hub_file import CutShortError, MissingFileError, RemoteFile, fetch_file

from .loopback import Loopback

CONTENT = np.random.default_rng(0).bytes(30_000)
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


def _remote(server: Loopback, checksum: str | None = SHA256, size: int | None = None) -> RemoteFile:
    return RemoteFile("w.bin", f"{server.url}/w.bin", checksum, size)


@pytest.fixture(autouse=True)
def _served(server: Loopback) -> None:
    server.files["/w.bin"] = CONTENT


def test_two_hundred_interrupted_downloads_end_right_or_in_a_clear_error(
    server: Loopback, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    right = resumed = in_place = 0
    refused: list[str] = []
    for number in range(200):
        folder = tmp_path / "place"
        server.ranges, server.tags = bool(rng.random() < 0.7), bool(rng.random() < 0.7)
        good = rng.random() < 0.9
        server.files["/w.bin"] = CONTENT if good else CONTENT[:-1] + b"?"
        chance = rng.random()
        server.cut = lambda n, p=chance: int(rng.integers(0, n)) if rng.random() < p else None
        # A third of the files have no checksum here: then their length alone tells a cut.
        checksum = SHA256 if number % 3 or not good else None
        server.asked.clear()
        try:
            assert fetch_file(_remote(server, checksum), folder).read_bytes() == CONTENT
            right += 1
            resumed += any(span for _, _, span in server.asked)
        except InputError as error:
            refused.append(str(error))
            in_place += (folder / "w.bin").exists()
        if number % 2:  # every other one goes on from what the one before has left
            shutil.rmtree(folder)
        else:
            (folder / "w.bin").unlink(missing_ok=True)
    assert right + len(refused) == 200
    assert in_place == 0  # where it was refused
    assert not any("\n" in message for message in refused)
    assert right > 100
    assert len(refused) > 10
    assert resumed > 30


def test_a_later_call_goes_on_where_the_line_was_cut(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_file, "TRIES", 1)
    cuts = iter([20_000, 0])
    server.cut = lambda _: next(cuts, None)
    with pytest.raises(CutShortError, match=r"20000 bytes came .* goes on from there"):
        fetch_file(_remote(server), tmp_path)
    assert not (tmp_path / "w.bin").exists()
    server.asked.clear()
    assert fetch_file(_remote(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [("GET", "/w.bin", "bytes=20000-")]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["w.bin"]


def test_pieces_of_two_versions_are_not_put_together(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_file, "TRIES", 1)
    for tags in (True, False):  # told by the tag, or found out by the checksum
        server.files["/w.bin"], server.tags = CONTENT[::-1], tags
        cuts = iter([9000, 0])
        server.cut = lambda _, cuts=cuts: next(cuts, None)
        with pytest.raises(CutShortError):
            fetch_file(_remote(server), tmp_path)
        server.files["/w.bin"] = CONTENT
        assert fetch_file(_remote(server), tmp_path).read_bytes() == CONTENT
        (tmp_path / "w.bin").unlink()


def test_wrong_bytes_are_thrown_away_and_both_checksums_told(
    server: Loopback, tmp_path: Path
) -> None:
    server.files["/w.bin"] = bad = b"x" * 30_000
    found = hashlib.sha256(bad).hexdigest()
    with pytest.raises(InputError, match=rf"{found}, expected {SHA256}"):
        fetch_file(_remote(server), tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    with pytest.raises(InputError, match="30000 bytes there, expected 7"):
        fetch_file(_remote(server, None, size=7), tmp_path)
    md5 = "md5:" + hashlib.md5(bad).hexdigest()
    assert fetch_file(_remote(server, md5), tmp_path).read_bytes() == bad


def test_a_redirect_is_followed_and_a_busy_server_is_asked_again(
    server: Loopback, tmp_path: Path
) -> None:
    server.redirects["/old"] = "/w.bin"
    server.status["/w.bin"] = [503, 429]
    file = RemoteFile("w.bin", f"{server.url}/old", SHA256)
    assert fetch_file(file, tmp_path).read_bytes() == CONTENT


def test_what_the_server_refuses_is_said(server: Loopback, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere: not there \(404\)"):
        fetch_file(RemoteFile("n", f"{server.url}/nowhere?token=secret"), tmp_path)
    server.status["/w.bin"] = [403]
    with pytest.raises(InputError, match="needs permission"):
        fetch_file(_remote(server), tmp_path)
    server.status["/w.bin"] = [500] * 9
    with pytest.raises(CutShortError, match="answers 500"):
        fetch_file(_remote(server), tmp_path)
    # Nobody listens on port 9 of this machine.
    with pytest.raises(CutShortError, match="check the network"):
        fetch_file(RemoteFile("n", "http://127.0.0.1:9/x?token=secret"), tmp_path)
    assert not list(tmp_path.glob("n"))


def test_a_file_of_unknown_length_needs_a_checksum(server: Loopback, tmp_path: Path) -> None:
    server.length = False
    with pytest.raises(InputError, match="give its --sha256"):
        fetch_file(_remote(server, None), tmp_path)
    assert fetch_file(_remote(server), tmp_path).read_bytes() == CONTENT
    (tmp_path / "w.bin").unlink()
    server.cut = lambda n: n - 1
    with pytest.raises(InputError, match="checksum"):
        fetch_file(_remote(server), tmp_path)
    assert not (tmp_path / "w.bin").exists()


def test_a_full_disk_is_said_before_or_while_it_fills(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda p: real(p)._replace(free=100))
    with pytest.raises(InputError, match=r"100 bytes free, 30000 needed.*LUXVOX_HOME"):
        fetch_file(_remote(server), tmp_path)
    monkeypatch.undo()

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hub_file, "_PAUSE", 0.0)
    fetched = fetch_file(_remote(server), tmp_path, progress=None)
    fetched.unlink()
    with pytest.raises(InputError, match="the disk is full"):
        fetch_file(_remote(server), tmp_path, progress=full)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_progress_is_told(server: Loopback, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    fetch_file(_remote(server), tmp_path, lambda *words: told.append(words))
    assert told[-1] == ("w.bin", 30_000, 30_000)
