"""Weights from a URL, a record and a folder: placed whole and loadable, or the cache as it was."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.models import catalog, hub_file, hub_record
from luxvox.models.checkpoint import load_weights
from luxvox.models.hub import fetch, import_folder
from luxvox.models.hub_cache import (
    ORIGIN,
    copy_folder,
    placed,
    placed_keys,
    read_origin,
    verify,
    weights_home,
)
from luxvox.models.hub_source import read_source
from luxvox.models.shards import write_shards

from .loopback import Loopback


def _serve(server: Loopback, folder: Path, at: str = "/toy/") -> str:
    for path in (path for path in folder.rglob("*") if path.is_file()):
        server.files[at + path.relative_to(folder).as_posix()] = path.read_bytes()
    return server.url + at


def _archive(folder: Path, inside: str = "toy/") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as held:
        for path in (path for path in folder.rglob("*") if path.is_file()):
            held.write(path, inside + path.relative_to(folder).as_posix())
    return out.getvalue()


def _left() -> list[str]:
    """What lies in the cache, without what an interrupted download has left to go on from."""
    return [
        str(p) for p in weights_home().rglob("*") if p.is_file() and ".downloads" not in p.parts
    ]


def test_sources_are_told_apart_from_names_and_paths() -> None:
    for name in ("luxvox-tiny", "runs/first", "./x", "C:/weights"):
        assert read_source(name) is None
    hub = read_source("hf:lab/vessels@v1.2")
    assert hub is not None
    assert (hub.kind, hub.place, hub.revision) == ("hub", "lab/vessels", "v1.2")
    texts = ("doi:10.5281/zenodo.77", "https://doi.org/10.5281/zenodo.77")
    for text in (*texts, "https://zenodo.org/records/77"):
        record = read_source(text)
        assert record is not None
        assert (record.kind, record.key) == ("record", "zenodo-77")
    keys = {source.key for text in ("https://a/w", "https://b/w") if (source := read_source(text))}
    assert len(keys) == 2
    for wrong in ("hf:lab", "hf:../x", "doi:10.1000/1", "s3://bucket/x", "https:///x"):
        with pytest.raises(InputError, match="expected"):
            read_source(wrong)


def test_a_folder_on_a_server_is_fetched_once_and_loads(server: Loopback, weights: Path) -> None:
    url = _serve(server, weights)
    folder = catalog.find_folder(url)
    assert torch.equal(load_weights(folder)[0]["a"], load_weights(weights)[0]["a"])
    asked = len(server.asked)
    assert catalog.find_folder(url) == folder
    assert len(server.asked) == asked
    assert all(finding.right for finding in verify(folder))
    model = folder / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-4] + b"\0\0\0\0")
    assert [finding.name for finding in verify(folder) if not finding.right] == [model.name]


def test_shards_are_checked_one_by_one(server: Loopback, weights: Path, tmp_path: Path) -> None:
    write_shards(weights, tmp_path / "cut", max_bytes=3000, dtype=torch.float32)
    url = _serve(server, tmp_path / "cut")
    assert torch.equal(load_weights(fetch(url))[0]["a"], load_weights(weights)[0]["a"])
    shard = next(name for name in server.files if "00001" in name)
    server.files[shard] = server.files[shard][:-1] + b"!"
    with pytest.raises(InputError, match="checksum"):
        fetch(url, again=True)
    assert all(finding.right for finding in verify(fetch(url)))  # the older one still lies there


def test_an_archive_needs_its_checksum_to_be_the_one_given(server: Loopback, weights: Path) -> None:
    server.files["/w.zip"] = content = _archive(weights)
    url, right = f"{server.url}/w.zip", hashlib.sha256(content).hexdigest()
    with pytest.raises(InputError, match=f"{right}, expected sha256:{'0' * 64}"):
        fetch(url, sha256="0" * 64)
    with pytest.raises(InputError, match="expected 64 hexadecimal digits"):
        fetch(url, sha256="123")
    assert not _left()
    assert load_weights(fetch(url, sha256=right))[1]["structures"] == ["vessels"]


def test_an_evil_archive_is_refused(server: Loopback, weights: Path) -> None:
    server.files["/w.zip"] = _archive(weights, "../../")
    with pytest.raises(InputError, match=r"^http.*w\.zip: not kept: .*leads out of the folder"):
        fetch(f"{server.url}/w.zip")
    assert not [path for path in weights_home().parent.rglob("*") if path.is_file()]


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("evil"),))  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("what", ["pickle", "torch", "cut", "html", "future", "config"])
def test_what_is_no_weights_is_refused_and_nothing_is_kept(
    server: Loopback, weights: Path, what: str
) -> None:
    url = _serve(server, weights)
    held, name = server.files, "/toy/model.safetensors"
    saved = io.BytesIO()
    torch.save({"a": torch.ones(3)}, saved)
    if what == "future":
        name = "/toy/config.json"
        held[name] = held[name].replace(b'"format_version": 1', b'"format_version": 99')
    elif what == "config":
        name, held["/toy/config.json"] = "/toy/config.json", b"[1, 2"
    else:
        held[name] = {
            "pickle": pickle.dumps({"a": 1}), "torch": saved.getvalue(),
            "cut": held[name][:200], "html": b"<html>please log in</html>",
        }[what]  # fmt: skip
    expected = {"future": "format_version 99", "config": "JSON"}.get(what, "no safetensors file")
    with pytest.raises(InputError, match=expected) as caught:
        catalog.find_folder(url)
    assert "\n" not in str(caught.value)
    assert not _left()
    assert not placed_keys()
    with pytest.raises(InputError, match="a pickle by its name"):
        fetch(f"{server.url}/model.ckpt")


@pytest.mark.usefixtures("online")
def test_http_beyond_this_machine_needs_a_checksum() -> None:
    with pytest.raises(InputError, match="use https, or give --sha256"):
        fetch("http://example.invalid/toy/")


def test_a_cut_line_leaves_the_cache_as_it_was_and_the_next_call_goes_on(
    server: Loopback, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_file, "TRIES", 1)
    url = _serve(server, weights)
    cuts = iter([1000, 0])
    server.cut = lambda length: next(cuts, None) if length > 1400 else None
    with pytest.raises(InputError, match="goes on from there"):
        fetch(url)
    assert not _left()
    server.cut = lambda _: None
    server.asked.clear()
    assert placed(fetch(url).name) is not None
    assert ("GET", "/toy/model.safetensors", "bytes=1000-") in server.asked
    assert not list((weights_home() / ".downloads").iterdir())


def _record(server: Loopback, files: dict[str, bytes]) -> str:
    entries = []
    for name, content in files.items():
        server.files[f"/files/{name}"] = content
        md5 = hashlib.md5(content).hexdigest()
        link = {"self": f"{server.url}/files/{name}"}
        entries.append({"key": name, "size": len(content), "checksum": f"md5:{md5}", "links": link})
    body = json.dumps({"id": 20146516, "files": entries}).encode()
    server.answers["/api/20146516"] = lambda _: (200, {}, body)
    return "lsmfm-checkpoints"


def test_a_record_brings_its_own_checksums(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_record, "API", f"{server.url}/api")
    name = _record(server, {"unet.ckpt": b"unet" * 500, "swin.ckpt": b"swin" * 900})
    folder = fetch(name, only=["unet*"])
    assert {path.name for path in folder.iterdir()} == {"unet.ckpt", ORIGIN}
    assert fetch(name) == folder
    assert (folder / "swin.ckpt").read_bytes() == b"swin" * 900
    asked = len(server.asked)
    assert fetch(name, only=["swin.ckpt"]) == fetch(name) == folder
    assert len(server.asked) == asked
    with pytest.raises(InputError, match=r"no luxvox weights.*load_reference"):
        catalog.find_folder(name)
    with pytest.raises(InputError, match=r"no file like nosuch; the record has unet\.ckpt"):
        fetch(name, only=["nosuch"])
    server.files["/files/swin.ckpt"] = b"SWIN" * 900
    with pytest.raises(InputError, match=r"checksum \w+, expected md5:"):
        fetch(name, again=True)
    assert (folder / "swin.ckpt").read_bytes() == b"swin" * 900
    with pytest.raises(InputError, match="no such record"):
        fetch("doi:10.5281/zenodo.1")
    server.answers["/api/2"] = lambda _: (200, {}, b'{"message": "restricted"}')
    with pytest.raises(InputError, match="lists no files"):
        fetch("doi:10.5281/zenodo.2")


def test_the_newer_form_of_the_answer_is_read_and_evil_names_are_refused(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_record, "API", f"{server.url}/api")
    entry = {"filename": "a b.zip", "filesize": 3, "checksum": "0" * 32}
    server.answers["/api/3"] = lambda _: (200, {}, json.dumps({"files": [entry]}).encode())
    (file,) = hub_record.record_files("3")
    assert (file.checksum, file.size) == ("md5:" + "0" * 32, 3)
    assert file.url == "https://zenodo.org/records/3/files/a%20b.zip?download=1"
    entry["filename"] = "../a.zip"
    with pytest.raises(InputError, match=r"'\.\./a\.zip'; it was not fetched"):
        hub_record.record_files("3")


def test_a_copy_is_imported_where_there_is_no_network(
    server: Loopback, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = _serve(server, weights)
    copy_folder(fetch(url), tmp_path / "stick")
    monkeypatch.setenv("LUXVOX_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = len(server.asked)
    with pytest.raises(InputError, match=r"network is off .* weights import"):
        catalog.find_folder(url)
    damaged = tmp_path / "damaged"
    shutil.copytree(tmp_path / "stick", damaged)
    (damaged / "README.md").write_text("other")
    with pytest.raises(InputError, match=r"README\.md: sha256"):
        import_folder(damaged)
    assert not placed_keys()
    import_folder(tmp_path / "stick")
    assert load_weights(catalog.find_folder(url))[1]["structures"] == ["vessels"]
    assert len(server.asked) == asked


def test_a_folder_and_an_archive_are_imported_under_a_name(
    server: Loopback, weights: Path, tmp_path: Path
) -> None:
    import_folder(weights)
    (tmp_path / "axons.zip").write_bytes(_archive(weights))
    import_folder(tmp_path / "axons.zip")
    import_folder(weights, "vessels-v2")
    assert placed_keys() == ["axons", "toy", "vessels-v2"]
    origin = read_origin(catalog.find_folder("axons"))
    assert origin["source"] == str(tmp_path / "axons.zip")  # not where it was unpacked
    assert (catalog.find_folder("axons") / "model.safetensors").is_file()
    with pytest.raises(InputError, match=r"vesels-v2: no such folder.*did you mean vessels-v2\?"):
        catalog.find_folder("vesels-v2")
    for path, name, words in (
        (tmp_path / "none", None, "no such file"), (weights, "../x", "no name for weights"),
        (tmp_path, None, "nothing to verify"), (weights / "config.json", None, "expected a folder"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            import_folder(path, name)


def test_a_full_disk_leaves_nothing_of_an_import(
    server: Loopback, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(InputError, match=r"No space left on device\); free some space"):
        import_folder(weights)
    assert not [path for path in weights_home().rglob("*") if path.is_file()]


def test_where_nothing_came_nothing_is_left(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_file, "TRIES", 1)
    for source in ("http://127.0.0.1:9/w/", "http://127.0.0.1:9/w.zip"):
        with pytest.raises(InputError, match="Connection refused"):
            fetch(source)
    assert not [path for path in weights_home().rglob("*") if path.is_file()]


def test_an_evil_list_of_files_is_refused(server: Loopback, weights: Path) -> None:
    said = {"key": "toy", "files": {"../x": {"sha256": "0"}}}
    (weights / ORIGIN).write_text(json.dumps(said))
    with pytest.raises(InputError, match="no list of files that luxvox wrote"):
        import_folder(weights)


@pytest.mark.parametrize("way", ["folder", "shards", "archive", "flat archive", "import"])
def test_a_focus_head_comes_with_the_weights(
    server: Loopback, with_head: Path, tmp_path: Path, way: str
) -> None:
    if way == "folder":
        folder = fetch(_serve(server, with_head))
    elif way == "shards":
        write_shards(with_head, tmp_path / "cut", max_bytes=3000, dtype=torch.float32)
        write_shards(with_head / "focus", tmp_path / "cut" / "focus", dtype=torch.float32)
        folder = fetch(_serve(server, tmp_path / "cut"))
    elif way == "import":
        folder = import_folder(with_head)
    else:
        server.files["/w.zip"] = _archive(with_head, "" if "flat" in way else "toy/")
        folder = fetch(f"{server.url}/w.zip")
    assert load_weights(folder / "focus")[0]["c"].sum() == 5
    assert load_weights(folder)[0].keys() == {"a", "b"}
    findings = {finding.name: finding for finding in verify(folder)}
    assert "focus/config.json" in findings
    assert findings["weights"].words.startswith("3 tensors")
    again = import_folder(copy_folder(folder, tmp_path / "stick"), "again")
    assert (again / "focus" / "config.json").is_file()
    (again / "focus" / "README.md").write_text("other")
    assert [f.name for f in verify(again) if not f.right] == ["focus/README.md"]


def test_a_pickle_posing_as_the_head_is_refused(server: Loopback, with_head: Path) -> None:
    url = _serve(server, with_head)
    server.files["/toy/focus/model.safetensors"] = pickle.dumps(_Evil())
    with pytest.raises(InputError, match="no safetensors file"):
        fetch(url)
    assert not placed_keys()
    assert not Path("evil").exists()


def test_two_processes_do_not_write_the_same_download(server: Loopback, weights: Path) -> None:
    import subprocess
    import sys

    url = _serve(server, weights)
    source = read_source(url)
    assert source is not None
    code = (
        "import sys; from luxvox.models.hub_cache import staging\n"
        "with staging(sys.argv[1]): print('in', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, source.key]
    other = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "in\n"
    with pytest.raises(InputError, match="another process is downloading it"):
        fetch(url)
    other.communicate("")
    assert fetch(url).is_dir()


def test_shipped_weights_are_copied_with_their_focus_head(tmp_path: Path) -> None:
    from luxvox.models.catalog import SHIPPED, find_folder

    copied = copy_folder(find_folder("luxvox-tiny"), tmp_path / "stick")
    assert all((copied / name).is_file() for name in SHIPPED["luxvox-tiny"])
    assert (copied / "focus" / "config.json").is_file()
