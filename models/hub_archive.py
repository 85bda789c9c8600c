"""Archives unpacked safely: nothing outside the folder, no links, no bombs; whole or not at all."""

from __future__ import annotations

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ..configs.errors import InputError
from ..configs.explain import one_line

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

_MOST_BYTES = 200 * 10**9
_MOST_FILES = 1_000_000
_PIECE = 1 << 20
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
)


@dataclass(frozen=True)
class _Member:
    """A file in an archive."""

    name: str
    size: int
    entry: Any


def is_archive(name: str) -> bool:
    """Whether a file is an archive that `unpack` knows, by its ending."""
    return name.lower().endswith(ENDINGS)


def unpack(archive: Path, out: Path, most_bytes: int = _MOST_BYTES) -> Path:
    """Unpack an archive into a new folder.

    Args:
        archive: ends in one of `ENDINGS`.
        out: must not exist, or be empty.
        most_bytes: the unpacked files together may not have more.

    Returns:
        `out`, which holds all files, or does not exist.

    Raises:
        InputError: damaged, encrypted, a path that leads out of the folder, a link or a device,
            more bytes or files than allowed, no space.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: something stands there already; remove it, or unpack elsewhere")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with _opened(archive) as (members, read):
            # All names first: an archive with one bad path is not half unpacked.
            files = list(_checked(archive, members, most_bytes))
            partial.mkdir(parents=True)
            left = most_bytes
            for member in files:
                target = partial.joinpath(*PurePosixPath(member.name).parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with read(member.entry) as source, target.open("xb") as file:
                    left = _copied(source, file, left, archive)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except _DAMAGED as error:
        raise InputError(
            f"{archive}: damaged or encrypted ({one_line(error)}); nothing was unpacked; download "
            "it again"
        ) from error
    except OSError as error:
        raise InputError(
            f"{archive}: cannot be unpacked into {out} ({error.strerror or one_line(error)}); "
            "nothing was put in place"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[Iterator[_Member], Any]]:
    """Members one by one, and a function that opens one of them for reading."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as held:
            yield _zip_members(archive, held), held.open
    else:
        with tarfile.open(archive) as held:
            yield _tar_members(archive, held), held.extractfile


def _zip_members(archive: Path, held: zipfile.ZipFile) -> Iterator[_Member]:
    for entry in held.infolist():
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(archive, entry.filename, "a link or a device")
        if not entry.is_dir():
            # ZipInfo turns the backslashes of some systems into slashes; we want to see them.
            yield _Member(entry.orig_filename, entry.file_size, entry)


def _tar_members(archive: Path, held: tarfile.TarFile) -> Iterator[_Member]:
    for entry in held:
        if entry.isfile():
            yield _Member(entry.name, entry.size, entry)
        elif not entry.isdir():
            raise _refused(archive, entry.name, "a link or a device")


def _checked(archive: Path, members: Iterator[_Member], most: int) -> Iterator[_Member]:
    seen: set[str] = set()
    total = 0
    for member in members:
        name = member.name
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
            raise _refused(archive, name, "a path that leads out of the folder")
        # Where upper and lower case are one, the second would replace the first.
        if not path.parts or (lower := str(path).lower()) in seen:
            raise _refused(archive, name, "a name twice")
        seen.add(lower)
        total += member.size
        if total > most or len(seen) > _MOST_FILES:
            raise InputError(
                f"{archive}: more than {most} bytes or {_MOST_FILES} files when unpacked; nothing "
                "was unpacked; look at it, and unpack it yourself if it is right"
            )
        yield member


def _copied(source: IO[bytes], out: IO[bytes], left: int, archive: Path) -> int:
    """Copy a member; gives how many bytes may still come. Sizes in an archive may lie."""
    while piece := source.read(_PIECE):
        left -= len(piece)
        if left < 0:
            raise InputError(f"{archive}: holds more bytes than it says; nothing was unpacked")
        out.write(piece)
    return left


def _refused(archive: Path, name: str, what: str) -> InputError:
    return InputError(f"{archive}: holds {what} ({name!r}); nothing was unpacked; do not trust it")
