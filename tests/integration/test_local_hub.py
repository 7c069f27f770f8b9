"""The hub of the tests is one to its clients: huggingface_hub downloads from it as it stands."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest
from fakes import local_hub
from fakes.hub_repos import HubRepo, git_sha1
from fakes.local_hub import Fault, LocalHub
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

WEIGHTS = bytes(range(256)) * 1000
FILES = {"config.json": "{}", "sub/a.txt": "text", "model.safetensors": WEIGHTS}


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub(page=2) as hub:
        yield hub


@pytest.fixture
def repo(hub: LocalHub) -> HubRepo:
    return hub.add("org/name", FILES)


def fetch(
    hub: LocalHub, path: str, method: str = "GET", **headers: str
) -> tuple[int, Message, bytes]:
    request = urllib.request.Request(f"{hub.url}{path}", headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def test_a_snapshot_is_downloaded(hub: LocalHub, repo: HubRepo, tmp_path: Path) -> None:
    folder = Path(snapshot_download("org/name", cache_dir=tmp_path, endpoint=hub.url))

    found = {one.relative_to(folder).as_posix(): one for one in folder.rglob("*") if one.is_file()}
    assert found.keys() == FILES.keys()
    assert found["model.safetensors"].read_bytes() == WEIGHTS
    blobs = {path.name for path in (tmp_path / "models--org--name" / "blobs").iterdir()}
    assert blobs == {blob.etag for blob in repo.files.values()}
    assert folder.name == repo.head
    assert hub.payload_bytes == len(WEIGHTS) + len("{}") + len("text")


def test_a_second_download_carries_nothing(hub: LocalHub, repo: HubRepo, tmp_path: Path) -> None:
    snapshot_download("org/name", cache_dir=tmp_path, endpoint=hub.url)
    hub.forget()

    snapshot_download("org/name", cache_dir=tmp_path, endpoint=hub.url)

    assert hub.payload_bytes == 0


def test_a_file_on_disk_is_served_without_being_read_first(hub: LocalHub, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "model.bin").write_bytes(WEIGHTS)
    hub.add_folder(folder, "org/disk")

    path = hf_hub_download("org/disk", "model.bin", cache_dir=tmp_path / "c", endpoint=hub.url)

    assert Path(path).read_bytes() == WEIGHTS
    assert hub.payload_bytes == len(WEIGHTS)


def test_the_api(hub: LocalHub, repo: HubRepo) -> None:
    first = repo.head
    repo.tag("v1")
    second = repo.commit({"new.txt": "n"}, removed=("sub/a.txt",))
    api = HfApi(endpoint=hub.url)

    assert api.model_info("org/name").sha == second
    assert api.model_info("org/name", files_metadata=True).siblings[0].size == 2
    tree = {item.path: item for item in api.list_repo_tree("org/name", recursive=True)}
    assert tree.keys() == {"config.json", "model.safetensors", "new.txt"}
    assert tree["config.json"].blob_id == git_sha1(b"{}")
    assert tree["model.safetensors"].lfs.sha256 == repo.files["model.safetensors"].sha256
    old = api.list_repo_tree("org/name", revision="v1", expand=True)
    assert [item.path for item in old] == ["config.json", "model.safetensors", "sub"]
    assert [ref.target_commit for ref in api.list_repo_refs("org/name").tags] == [first]
    assert [item.commit_id for item in api.list_repo_commits("org/name")] == [second, first]
    assert [item.path for item in api.get_paths_info("org/name", ["new.txt"])] == ["new.txt"]


def test_headers(hub: LocalHub, repo: HubRepo) -> None:
    status, headers, body = fetch(hub, "/org/name/resolve/main/model.safetensors", "HEAD")

    assert (status, body) == (200, b"")
    assert headers["X-Repo-Commit"] == repo.head
    assert headers["X-Linked-Size"] == headers["Content-Length"] == str(len(WEIGHTS))
    assert headers["X-Linked-Etag"] == f'"{repo.files["model.safetensors"].sha256}"'
    assert "X-Xet-Hash" not in headers
    _, headers, _ = fetch(hub, "/org/name/resolve/main/none", "HEAD")
    assert (headers["X-Error-Code"], headers["X-Repo-Commit"]) == ("EntryNotFound", repo.head)


@pytest.mark.parametrize(("first", "last"), [("10", ""), ("10", "19"), ("", "5"), ("0", "0")])
def test_ranges(hub: LocalHub, repo: HubRepo, first: str, last: str) -> None:
    path, size = "/org/name/resolve/main/model.safetensors", len(WEIGHTS)
    start = int(first) if first else size - int(last)
    stop = int(last) + 1 if first and last else size

    status, headers, body = fetch(hub, path, Range=f"bytes={first}-{last}")

    assert (status, headers["Content-Range"]) == (206, f"bytes {start}-{stop - 1}/{size}")
    assert body == WEIGHTS[start:stop]
    assert hub.log[-1].range == f"bytes={first}-{last}"


def test_a_range_behind_the_end(hub: LocalHub, repo: HubRepo) -> None:
    path, size = "/org/name/resolve/main/model.safetensors", len(WEIGHTS)

    status, headers, _ = fetch(hub, path, Range=f"bytes={size}-")

    assert (status, headers["Content-Range"]) == (416, f"bytes */{size}")


def test_who_may_read_what(hub: LocalHub, tmp_path: Path) -> None:
    hub.add("org/private", FILES, private=True)
    hub.add("org/gated", FILES, gated=True)
    first = "hf_a"
    hub.tokens = {first: frozenset({"org/private"}), "hf_b": frozenset({"org/gated"})}

    def download(name: str, token: str | bool) -> str:
        return hf_hub_download(
            name, "config.json", cache_dir=tmp_path, endpoint=hub.url, token=token
        )

    assert download("org/private", "hf_a")
    assert download("org/gated", "hf_b")
    for name, token in (("org/private", False), ("org/private", "hf_b"), ("org/none", "hf_a")):
        with pytest.raises(RepositoryNotFoundError):
            HfApi(endpoint=hub.url, token=token).model_info(name)
    for token in (False, "hf_a"):
        with pytest.raises(GatedRepoError):
            HfApi(endpoint=hub.url, token=token).auth_check("org/gated")
    assert HfApi(endpoint=hub.url, token=first).whoami()["name"] == "someone"
    assert "hf_a" not in str(hub.log)


def test_faults(hub: LocalHub, repo: HubRepo) -> None:
    path = "/org/name/resolve/main/sub/a.txt"
    hub.faults["a.txt"] = Fault(wrong_bytes=True, times=1)
    assert fetch(hub, path)[2] == b"te\x87t"
    assert fetch(hub, path)[2] == b"text"
    hub.faults["a.txt"] = Fault(status=429, retry_after=3)
    status, headers, _ = fetch(hub, path)
    assert (status, headers["Retry-After"]) == (429, "3")
    hub.faults["a.txt"] = Fault(missing=True)
    assert fetch(hub, path)[1]["X-Error-Code"] == "EntryNotFound"
    hub.faults["a.txt"] = Fault(no_range=True, no_commit=True)
    status, headers, body = fetch(hub, path, Range="bytes=2-")
    assert (status, body, headers["X-Repo-Commit"]) == (200, b"text", None)
    hub.faults["a.txt"] = Fault(redirect="bare")
    assert fetch(hub, path)[1]["X-Repo-Commit"] is None
    hub.faults = {"safetensors": Fault(linked_size=3, tree_size=5, extra_length=-1)}
    _, headers, _ = fetch(hub, "/org/name/resolve/main/model.safetensors", "HEAD")
    assert (headers["X-Linked-Size"], int(headers["Content-Length"])) == ("3", len(WEIGHTS) - 1)
    [told] = HfApi(endpoint=hub.url).get_paths_info("org/name", ["model.safetensors"])
    assert told.size == told.lfs.size == 5


def test_the_same_history_has_the_same_hashes() -> None:
    def history() -> list[str]:
        repo = HubRepo(id="org/name")
        return [repo.commit({"a": "1"}), repo.commit({"a": "2"}), repo.commit({"b": "1"})]

    assert history() == history()
    assert len(set(history())) == 3


def test_run_as_a_program(tmp_path: Path) -> None:
    folder = tmp_path / "served" / "datasets--org--data"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "x.txt").write_text("x")
    command = [sys.executable, local_hub.__file__, str(tmp_path / "served")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            path = hf_hub_download(
                "org/data", "sub/x.txt", repo_type="dataset", cache_dir=tmp_path, endpoint=url
            )
        finally:
            server.terminate()

    assert Path(path).read_text() == "x"
