"""Where weights may come from beside this machine, read out of one string.

hf:owner/name@revision          a model of the Hugging Face hub
https://host/folder/            a folder with config.json and model.safetensors, or an archive
doi:10.5281/zenodo.20146516     a record of Zenodo, as are https://zenodo.org/records/20146516 ...
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from ..configs.errors import InputError

PUBLISHED = {
    "lsmfm-checkpoints": "doi:10.5281/zenodo.20146516",
    "lsmfm-data": "doi:10.5281/zenodo.20149070",
}
"""Names of what others published: four checkpoints and five data archives of LSM-FM (Scheinfeld et
al., arXiv 2605.26026). File names, sizes and checksums are those that the record itself gives."""

_HUB = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_RECORD = re.compile(
    r"(doi:|https?://(dx\.)?doi\.org/)10\.5281/zenodo\.(?P<doi>\d+)"
    r"|https?://(www\.)?zenodo\.org/records?/(?P<page>\d+)/?"
)
_PLAIN = re.compile(r"[A-Za-z0-9][\w.@+-]*")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Source:
    """A place on the network.

    Attributes:
        text: as the user gave it.
        kind: hub (Hugging Face), url, or record (Zenodo).
        place: owner/name, the URL, or the number of the record.
        revision: branch, tag or commit of the hub; None elsewhere.
    """

    text: str
    kind: Literal["hub", "url", "record"]
    place: str
    revision: str | None = None

    @property
    def key(self) -> str:
        """Name of its folder in the cache: the same for the same source, and a plain word."""
        if self.kind == "record":
            return f"zenodo-{self.place}"
        if self.kind == "hub":
            revision = (self.revision or "main").replace("/", "--")
            return f"hf--{self.place.replace('/', '--')}@{revision}"
        last = unquote(urlsplit(self.place).path).rstrip("/").rpartition("/")[2]
        word = re.sub(r"[^\w.-]+", "-", last).strip(".-") or "weights"
        return f"{word[:60]}-{hashlib.sha256(self.place.encode()).hexdigest()[:10]}"


def read_source(text: str) -> Source | None:
    """The source that a string names; None of a name or a path, which are no sources.

    Raises:
        InputError: it begins like one, but is none.
    """
    text = PUBLISHED.get(text, text)
    if found := _RECORD.fullmatch(text):
        return Source(text, "record", found["doi"] or found["page"])
    if text.startswith("hf:"):
        found = _HUB.fullmatch(text)
        if found is None or ".." in text:
            raise InputError(f"{text}: expected hf:owner/name or hf:owner/name@revision")
        return Source(text, "hub", found["repo"], found["revision"] or "main")
    if text.startswith("doi:"):
        raise InputError(f"{text}: expected the DOI of a Zenodo record, doi:10.5281/zenodo.NUMBER")
    if text.startswith(("https://", "http://")):
        parts = urlsplit(text)
        if not parts.hostname:
            raise InputError(f"{text}: no host in it, expected https://host/folder/")
        return Source(text, "url", text)
    if re.match(r"[a-z][a-z0-9+.-]+://", text):
        raise InputError(f"{text}: expected https://, hf:owner/name or doi:10.5281/zenodo.NUMBER")
    return None


def is_plain(name: str) -> bool:
    """Whether a name is safe as that of one file or folder: nothing in it leads elsewhere."""
    return _PLAIN.fullmatch(name) is not None and ".." not in name


def is_plain_path(name: str) -> bool:
    """Whether a name is safe as that of a file in a folder, or in a folder of that."""
    parts = name.split("/")
    return len(parts) <= 2 and all(is_plain(part) for part in parts)


def is_open_to_others(url: str) -> bool:
    """Whether others on the way could change what is sent: http, not on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in _LOOPBACK


def shown(url: str) -> str:
    """A URL for messages: without passwords and without signed queries."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
