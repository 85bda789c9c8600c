"""One file over HTTP: resumed where it was cut, checked, and in place only when it is whole.

pooch compares checksums and renames; what it cannot do, going on where the line was cut, is here.
"""

from __future__ import annotations

import errno
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configs.errors import InputError
from ..configs.explain import one_line
from .hub_source import shown

if TYPE_CHECKING:
    import requests

Progress = Callable[[str, int, int | None], None]
"""Told (name, bytes so far, bytes in all or None) as it goes."""

TRIES = 5  # in a row that bring the file no further
_PAUSE = 1.0  # seconds before the second try, doubled with each
_TIMEOUT = (15, 60)  # seconds to connect, and without a byte
_PIECE = 1 << 14  # bytes; what is read of a piece when the line is cut is lost
_AGAIN = {408, 425, 429, 500, 502, 503, 504}  # states of a server that may pass


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server.

    Attributes:
        name: under which it is kept.
        url: where it lies.
        checksum: "sha256:..." or "md5:..."; None = not known.
        size: bytes; None = not known.
    """

    name: str
    url: str
    checksum: str | None = None
    size: int | None = None


class MissingFileError(InputError):
    """The server has no such file."""


class CutShortError(InputError):
    """The network failed; what came is kept, and the same call goes on from there."""


class _CutError(Exception):
    """An attempt that ended early; the next may go on."""


def fetch_file(file: RemoteFile, folder: Path, progress: Progress | None = None) -> Path:
    """Download into `folder / file.name`; what came of an earlier, interrupted call is used.

    Args:
        file: what, from where.
        folder: made if need be; parts are kept in it as `.NAME.part`.
        progress: told how far it is.

    Returns:
        The file, whole, its checksum compared.

    Raises:
        MissingFileError: no such file there.
        CutShortError: the network fails again and again.
        InputError: wrong bytes, no permission, a full disk. No file is in place then.
    """
    import pooch

    pooch.get_logger().setLevel("ERROR")  # it would say in two lines what we say in one
    part = folder / f".{file.name}.part"
    for last in (False, True):
        download: Any = partial(_download, file=file, part=part, progress=progress)
        try:
            name = pooch.retrieve(
                file.url, file.checksum, fname=file.name, path=folder, downloader=download
            )
            return Path(name)
        except InputError:
            raise
        except ValueError as error:  # pooch's word for another checksum
            # Pieces of two versions may have met: once more, from the first byte.
            if last:
                found = re.search(r"but got (\w+)", str(error))
                raise InputError(
                    f"{shown(file.url)}: checksum {found[1] if found else 'of something else'}, "
                    f"expected {file.checksum}; it was thrown away; ask who published it, or give "
                    "the right checksum"
                ) from error
        except OSError as error:
            _forget(part)
            raise _disk(error, folder) from error
    raise AssertionError("unreachable")


def _download(
    url: str,
    output_file: str,
    _pooch: Any,
    *,
    file: RemoteFile,
    part: Path,
    progress: Progress | None,
) -> None:
    """A downloader as pooch calls it: tries until the file is whole, or no try helps any more."""
    import requests

    furthest, idle = _size(part), 0
    with requests.Session() as session:
        while True:
            try:
                _go_on(session, url, file, part, progress)
                break
            except (requests.RequestException, _CutError) as error:
                if isinstance(error, requests.exceptions.InvalidURL):
                    raise InputError(f"{shown(url)}: no URL ({one_line(error)})") from error
                came = _size(part)
                # A server that ignores ranges starts anew each time: that alone is no progress.
                idle = 0 if came > furthest else idle + 1
                furthest = max(furthest, came)
                if idle >= TRIES:
                    raise CutShortError(
                        f"{shown(url)}: no way to get it whole, {furthest} bytes came "
                        f"({reason(error)}); check the network and the proxy, then run the same "
                        "command again: it goes on from there"
                    ) from error
                time.sleep(_PAUSE * 2**idle / 2)
    _note(part).unlink(missing_ok=True)
    part.replace(output_file)


def _go_on(
    session: requests.Session, url: str, file: RemoteFile, part: Path, progress: Progress | None
) -> None:
    """One request for what is missing; returns when the part is whole."""
    have = _size(part)
    if have and have == file.size:
        return
    version = _note(part).read_text(encoding="utf-8") if have and _note(part).is_file() else ""
    headers = {"Accept-Encoding": "identity"}  # ranges and checksums speak of the bytes as they lie
    if have and (version or file.checksum):
        headers["Range"] = f"bytes={have}-"
        if version:
            headers["If-Range"] = version
    with session.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as reply:
        _check_reply(reply, url)
        if reply.status_code == 416:
            _forget(part)
            raise _CutError("the range was refused")
        start, total = _extent(reply)
        if start not in (0, have):
            _forget(part)
            raise _CutError("another range was sent than asked for")
        _check_length(reply, total, file, url)
        if not start:
            _note(part).write_text(_version(reply), encoding="utf-8")
        _check_space(part, (total or file.size or 0) - start)
        with part.open("r+b" if start else "wb") as out:
            out.seek(start)
            for piece in reply.iter_content(_PIECE):
                out.write(piece)
                if file.size is not None and out.tell() > file.size:
                    break
                if progress:
                    progress(file.name, out.tell(), total or file.size)
            reached = out.tell()
            out.truncate()
    if total is not None and reached < total:
        raise _CutError(f"cut after {reached} of {total} bytes")
    if file.size is not None and reached != file.size:
        _forget(part)
        raise InputError(
            f"{shown(url)}: {'more than ' * (reached > file.size)}{file.size} bytes expected, "
            f"{reached} came; it was thrown away; ask who published it"
        )


def _check_reply(reply: requests.Response, url: str) -> None:
    if url.startswith("https:") and not reply.url.startswith("https:"):
        raise InputError(f"{shown(url)}: leads to {shown(reply.url)}, which anyone could change")
    code = reply.status_code
    if code in _AGAIN:
        raise _CutError(f"the server answers {code} {reply.reason}")
    if code in (404, 410):
        raise MissingFileError(f"{shown(url)}: not there ({code}); check the name and the revision")
    if code in (401, 403, 407):
        raise InputError(f"{shown(url)}: refused ({code} {reply.reason}); it needs permission")
    if code not in (200, 206, 416):
        raise InputError(f"{shown(url)}: the server answers {code} {reply.reason}; check the URL")


def _extent(reply: requests.Response) -> tuple[int, int | None]:
    """First byte that is sent, and how many the whole file has; None = not said."""
    if reply.status_code == 206:
        found = re.match(r"bytes (\d+)-(\d+)/(\d+|\*)", reply.headers.get("Content-Range", ""))
        if found is None:
            return -1, None
        return int(found[1]), None if found[3] == "*" else int(found[3])
    length = reply.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _check_length(reply: requests.Response, total: int | None, file: RemoteFile, url: str) -> None:
    if file.size is not None and total is not None and total != file.size:
        raise InputError(
            f"{shown(url)}: {total} bytes there, expected {file.size}; another file lies there now"
        )
    ends = "chunked" in reply.headers.get("Transfer-Encoding", "").lower()
    if total is None and file.size is None and file.checksum is None and not ends:
        raise InputError(
            f"{shown(url)}: the server does not say how long it is, so that a cut would not be "
            "seen; give its --sha256"
        )


def _check_space(part: Path, needed: int) -> None:
    part.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise InputError(
            f"{part.parent}: {free} bytes free, {needed} needed; free some, or set LUXVOX_HOME to "
            "a larger disk"
        )


def _version(reply: requests.Response) -> str:
    """What tells this version of the file from another; "" where the server says nothing."""
    tag = reply.headers.get("ETag", "")
    # A weak tag stands for "much the same", which is not enough to put pieces together.
    return tag if tag and not tag.startswith("W/") else reply.headers.get("Last-Modified", "")


def reason(error: BaseException) -> str:
    """The innermost cause, which says most, in few words."""
    inner: object = error
    while isinstance(inner, BaseException):  # urllib3 keeps the cause of its errors as `reason`
        error = inner
        inner = error.args[0] if error.args else None
        if not isinstance(inner, BaseException):
            inner = getattr(error, "reason", None)
    return f"{type(error).__name__.removeprefix('_')}: {one_line(error)}"[:160]


def _disk(error: OSError, folder: Path) -> InputError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    why = "the disk is full" if full else error.strerror or one_line(error)
    return InputError(
        f"{folder}: cannot be written ({why}); nothing was put in place; free some space, or set "
        "LUXVOX_HOME to another disk"
    )


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".version")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
