"""Archives: what is right is unpacked, what is evil or broken leaves nothing behind."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from luxvox.configs.errors import InputError
from luxvox.models.hub_archive import unpack


def _zip(path: Path, *members: tuple[str, bytes], mode: int | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as held:
        for name, content in members:
            entry = zipfile.ZipInfo(name)
            if mode is not None:
                entry.external_attr = mode << 16
            held.writestr(entry, content)
    return path


def _tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as held:
        for entry, content in members:
            entry.size = len(content)
            held.addfile(entry, io.BytesIO(content))
    return path


def _link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry, b""


def test_files_and_folders_are_unpacked(tmp_path: Path) -> None:
    a = _zip(tmp_path / "a.zip", ("in/x.txt", b"one"), ("y.txt", b"two"))
    b = _tar(tmp_path / "b.tar.gz", (tarfile.TarInfo("in/x.txt"), b"one"))
    assert (unpack(a, tmp_path / "a") / "in" / "x.txt").read_bytes() == b"one"
    assert (tmp_path / "a" / "y.txt").read_bytes() == b"two"
    assert (unpack(b, tmp_path / "b") / "in" / "x.txt").read_bytes() == b"one"
    with pytest.raises(InputError, match="stands there already"):
        unpack(a, tmp_path / "a")


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "in/../../evil", "..\\evil", "C:evil", "C:\\evil"]
)
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    before = ("good.txt", b"good")
    archives = [
        _zip(tmp_path / "a.zip", before, (name, b"evil")),
        _tar(tmp_path / "a.tar", (tarfile.TarInfo("good.txt"), b""), (tarfile.TarInfo(name), b"")),
    ]
    for archive in archives:
        with pytest.raises(InputError, match=r"leads out of the folder .* nothing was unpacked"):
            unpack(archive, tmp_path / "deep" / "out")
    assert {path.name for path in tmp_path.rglob("*")} <= {"a.zip", "a.tar", "deep"}


def test_links_devices_and_doubles_are_refused(tmp_path: Path) -> None:
    archives = [
        _tar(tmp_path / "s.tar", _link("x", "/etc")),
        _tar(tmp_path / "h.tar", _link("x", "../y", tarfile.LNKTYPE)),
        _tar(tmp_path / "f.tar", _link("x", "", tarfile.FIFOTYPE)),
        _zip(tmp_path / "s.zip", ("x", b"/etc"), mode=stat.S_IFLNK | 0o777),
    ]
    for archive in archives:
        with pytest.raises(InputError, match="a link or a device"):
            unpack(archive, tmp_path / "out")
    with pytest.raises(InputError, match="a name twice"):
        unpack(_zip(tmp_path / "t.zip", ("x", b"1"), ("X", b"2")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bomb_and_a_broken_archive_leave_nothing(tmp_path: Path) -> None:
    bomb = _zip(tmp_path / "bomb.zip", ("big", bytes(5_000_000)))
    with pytest.raises(InputError, match="more than 1000000 bytes"):
        unpack(bomb, tmp_path / "out", most_bytes=1_000_000)
    good = _tar(tmp_path / "cut.tar.gz", (tarfile.TarInfo("x"), bytes(range(256)) * 400))
    good.write_bytes(good.read_bytes()[:150])
    flipped = bytearray(_zip(tmp_path / "flip.zip", ("x", bytes(range(256)) * 4)).read_bytes())
    flipped[60] ^= 255
    (tmp_path / "flip.zip").write_bytes(flipped)
    (tmp_path / "no.zip").write_bytes(b"no zip at all")
    for name in ("cut.tar.gz", "flip.zip", "no.zip"):
        with pytest.raises(InputError, match="nothing was unpacked") as caught:
            unpack(tmp_path / name, tmp_path / "out")
        assert "\n" not in str(caught.value)
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]
