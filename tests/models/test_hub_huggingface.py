"""The Hugging Face hub, played by a server on loopback: revisions, checksums, refusals, a push.

What it answers was made up after huggingface_hub's own requests; the real hub is not asked.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from luxvox.configs.errors import InputError
from luxvox.models import catalog
from luxvox.models.checkpoint import load_weights
from luxvox.models.hub import fetch
from luxvox.models.hub_cache import placed_keys, read_origin
from luxvox.models.hub_huggingface import push_folder
from luxvox.models.shards import write_shards

from .loopback import Loopback

COMMIT = "c" * 40


@pytest.fixture
def hub(server: Loopback, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Loopback:
    """A hub with one model, lab/toy, of one revision, v1."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    publish(server, {path.name: path.read_bytes() for path in weights.iterdir()})
    return server


def publish(server: Loopback, files: dict[str, bytes]) -> None:
    siblings, tree = [], []
    for name, content in files.items():
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry = {"type": "file", "path": name, "size": len(content), "oid": git}
        sibling = {"rfilename": name, "size": len(content), "blobId": git}
        tag = git
        if name.endswith(".safetensors"):
            tag = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": tag, "size": len(content), "pointerSize": 1}
            sibling["lfs"] = {"sha256": tag, "size": len(content), "pointerSize": 1}
        tree.append(entry)
        siblings.append(sibling)
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}
        place = f"/lab/toy/resolve/{COMMIT}/{name}"
        server.files[place], server.headers[place] = content, headers
    info = {"id": "lab/toy", "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
    for revision in ("v1", "main", COMMIT):
        body = json.dumps(info).encode()
        server.answers[f"/api/models/lab/toy/revision/{revision}"] = lambda _, b=body: (200, {}, b)
        body = json.dumps(tree).encode()
        server.answers[f"/api/models/lab/toy/tree/{revision}"] = lambda _, b=body: (200, {}, b)
    missing = (404, {"X-Error-Code": "RevisionNotFound"}, b"{}")
    server.answers["/api/models/lab/toy/revision/v2"] = lambda _: missing
    missing_repo = (404, {"X-Error-Code": "RepoNotFound"}, b"{}")
    server.answers["/api/models/lab/no/revision/main"] = lambda _: missing_repo
    gated = (403, {"X-Error-Code": "GatedRepo"}, b"{}")
    server.answers["/api/models/lab/gated/revision/main"] = lambda _: gated


def test_weights_of_a_revision_are_fetched_and_their_commit_is_noted(
    hub: Loopback, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = catalog.find_folder("hf:lab/toy@v1")
    assert load_weights(folder)[1] == load_weights(weights)[1]
    assert read_origin(folder)["revision"] == COMMIT
    assert not [path for path in folder.iterdir() if path.is_dir()]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert catalog.find_folder("hf:lab/toy@v1") == folder
    with pytest.raises(InputError, match="network is off"):
        catalog.find_folder("hf:lab/toy")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("hf:lab/toy@v2", "no such revision"),
        ("hf:lab/no", "no such model"),
        ("hf:lab/gated", "behind a gate"),
    ],
)
def test_what_the_hub_refuses_is_one_line(hub: Loopback, source: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        fetch(source)
    assert str(caught.value).startswith(source)
    assert "\n" not in str(caught.value)
    assert not placed_keys()


def test_wrong_bytes_and_pickles_are_not_kept(hub: Loopback, weights: Path) -> None:
    place = f"/lab/toy/resolve/{COMMIT}/model.safetensors"
    hub.files[place] = hub.files[place][:-1] + b"!"
    with pytest.raises(InputError, match=r"model\.safetensors has not the checksum"):
        fetch("hf:lab/toy@v1")
    assert not placed_keys()
    publish(hub, {"config.json": b"{}", "pytorch_model.bin": b"\x80\x04"})
    with pytest.raises(InputError, match="a pickle, which is never opened"):
        fetch("hf:lab/toy@v1")


def test_lines_that_are_cut_are_taken_up_again(hub: Loopback, weights: Path) -> None:
    cuts = iter([900, None, 500])
    hub.cut = lambda length: next(cuts, None) if length > 1000 else None
    folder = fetch("hf:lab/toy@v1")
    right = (weights / "model.safetensors").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == right
    assert sum(m == "GET" and path.endswith("safetensors") for m, path, _ in hub.asked) > 1


def test_no_network_is_one_line(hub: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="cannot be reached"):
        fetch("hf:lab/toy@v1")


def test_a_focus_head_comes_with_the_weights(hub: Loopback, with_head: Path) -> None:
    files = {
        path.relative_to(with_head).as_posix(): path.read_bytes()
        for path in with_head.rglob("*")
        if path.is_file()
    }
    publish(hub, files | {"other/config.json": b"{}", "focus/notes.txt": b"not ours"})
    folder = fetch("hf:lab/toy@v1")
    assert load_weights(folder / "focus")[0].keys() == {"c"}
    assert read_origin(folder)["files"].keys() == files.keys()
    assert not (folder / "other").exists()


@pytest.fixture
def commits(hub: Loopback, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was pushed to lab/mine so far, as huggingface_hub sends it."""
    monkeypatch.setenv("HF_TOKEN", "made-up")
    commits: list[str] = []

    def create(_: str) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, json.dumps({"url": f"{hub.url}/lab/mine", "name": "lab/mine"}).encode()

    def preupload(body: str) -> tuple[int, dict[str, str], bytes]:
        files = [
            {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
            for file in json.loads(body)["files"]
        ]
        return 200, {}, json.dumps({"files": files}).encode()

    def commit(body: str) -> tuple[int, dict[str, str], bytes]:
        commits.append(body)
        url = f"{hub.url}/lab/mine/commit/{COMMIT}"
        return (
            200,
            {},
            json.dumps({"commitUrl": url, "commitOid": COMMIT, "hookOutput": ""}).encode(),
        )

    valid = (200, {}, b'{"isValid": true, "warnings": [], "errors": []}')
    hub.answers |= {
        "/api/repos/create": create,
        "/api/models/lab/mine/preupload/main": preupload,
        "/api/models/lab/mine/commit/main": commit,
        "/api/validate-yaml": lambda _: valid,
        "/api/models/lab/mine/revision/main": lambda _: (
            200, {}, json.dumps({"id": "lab/mine", "sha": COMMIT, "siblings": []}).encode()
        ),
    }  # fmt: skip
    return commits


def sent_files(commit: str) -> dict[str, bytes]:
    lines = [json.loads(line) for line in commit.splitlines()]
    return {
        line["value"]["path"]: base64.b64decode(line["value"]["content"])
        for line in lines
        if line["key"] == "file"
    }


def test_a_push_uploads_one_file_config_and_card_with_its_tags(
    commits: list[str], weights: Path, tmp_path: Path
) -> None:
    write_shards(weights, tmp_path / "cut", max_bytes=3000)
    assert push_folder(tmp_path / "cut", "lab/mine").endswith(f"/lab/mine/commit/{COMMIT}")
    sent = sent_files(commits[0])
    assert set(sent) == {"config.json", "model.safetensors", "README.md"}
    assert b"pytorch_model_hub_mixin" in sent["README.md"]
    assert sent["config.json"] == (weights / "config.json").read_bytes()
    for name, content in sent.items():
        (tmp_path / "back").mkdir(exist_ok=True)
        (tmp_path / "back" / name).write_bytes(content)
    assert load_weights(tmp_path / "back")[0].keys() == {"a", "b"}


def test_a_push_takes_the_focus_head_with_it(commits: list[str], with_head: Path) -> None:
    (with_head / "optimiser.bin").write_bytes(b"private")
    push_folder(with_head, "lab/mine")
    sent = sent_files(commits[0])
    names = ("config.json", "model.safetensors", "README.md")
    assert set(sent) == {*names, *(f"focus/{name}" for name in names)}
    head = (with_head / "focus" / "model.safetensors").read_bytes()
    assert sent["focus/model.safetensors"] == head


def test_a_push_without_permission_is_one_line(
    hub: Loopback, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "made-up")
    hub.answers["/api/repos/create"] = lambda _: (401, {}, b'{"error": "no"}')
    with pytest.raises(InputError, match="hf auth login"):
        push_folder(weights, "lab/mine")
