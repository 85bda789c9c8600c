"""Records of Zenodo: which files they hold, with size and md5, as the record itself says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..configs.errors import InputError
from ..configs.explain import one_line
from .hub_file import CutShortError, RemoteFile, reason
from .hub_source import is_plain

API = "https://zenodo.org/api/records"
_PAGE = "https://zenodo.org/records"
_TIMEOUT = (15, 60)  # seconds


def record_files(number: str) -> list[RemoteFile]:
    """Files of a record.

    Args:
        number: of the record, as in 10.5281/zenodo.NUMBER.

    Returns:
        At least one, each with its md5 and size.

    Raises:
        InputError: no such record, no network, or an answer without files.
    """
    import requests

    where = f"doi:10.5281/zenodo.{number}"
    try:
        reply = requests.get(f"{API}/{number}", timeout=_TIMEOUT)
        if reply.status_code in (404, 410):
            raise InputError(f"{where}: Zenodo has no such record; check the number")
        reply.raise_for_status()
        files = [_file(number, entry) for entry in reply.json()["files"]]
    except requests.RequestException as error:
        raise CutShortError(
            f"{where}: Zenodo cannot be asked ({reason(error)}); check the network and the "
            "proxy, or use luxvox weights import"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{where}: Zenodo's answer lists no files that can be checked ({one_line(error)}); "
            "access may be restricted: open the record in a browser"
        ) from error
    if not files:
        raise InputError(f"{where}: a record without files; open it in a browser")
    return files


def _file(number: str, entry: Mapping[str, Any]) -> RemoteFile:
    """One entry of the answer, in the older or the newer form of the API."""
    name = str(entry["key"] if "key" in entry else entry["filename"])
    if not is_plain(name.replace(" ", "_")):
        raise InputError(f"doi:10.5281/zenodo.{number}: a file called {name!r}; it was not fetched")
    checksum = str(entry["checksum"])
    url = f"{_PAGE}/{number}/files/{quote(name)}?download=1"
    if "key" in entry:
        url = str(entry["links"]["self"])
    size = int(entry["size"] if "size" in entry else entry["filesize"])
    return RemoteFile(name, url, checksum if ":" in checksum else f"md5:{checksum}", size)
