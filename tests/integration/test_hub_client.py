"""What a hub tells, truthfully or not, through huggingface_hub over loopback HTTP."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.hub_repos import HubRepo, git_sha1
from fakes.installing import make_settings
from fakes.local_hub import Fault, LocalHub
from huggingface_hub import HfApi
from huggingface_hub.hf_api import RepoFile

from envforge.adapters.hub.client import HubClient
from envforge.errors import EnvforgeError, HostileRepo, NoSuchModel, Unreachable, WrongBytes
from envforge.formats.models import model_spec
from envforge.model.models import HubFile, HubSnapshot

WEIGHTS = bytes(range(256)) * 40
FILES = {"config.json": '{"a": 1}', "onnx/model.onnx": b"onnx", "model.safetensors": WEIGHTS}

needs_xet = pytest.mark.skipif(
    "xet_hash" not in RepoFile.__annotations__,
    reason="this huggingface_hub does not tell Xet hashes",
)


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub(page=2) as hub:
        yield hub


@pytest.fixture
def repo(hub: LocalHub) -> HubRepo:
    return hub.add("org/name", FILES)


@pytest.fixture
def waits() -> list[str]:
    return []


@pytest.fixture
def client(hub: LocalHub, tmp_path: Path, waits: list[str]) -> HubClient:
    settings = make_settings(tmp_path, environment={"HF_ENDPOINT": hub.url}, timeout=2)
    return HubClient(settings, waiting=waits.append)


def ask(client: HubClient, word: str) -> HubSnapshot:
    return client.snapshot(model_spec.parse(word))


def small(client: HubClient, path: str = "config.json") -> bytes:
    snapshot = ask(client, "org/name")
    file = next(item for item in snapshot.files if item.path == path)
    return client.small_file(snapshot.repo, snapshot.commit, file)


# --- snapshots ------------------------------------------------------------------------------


def test_a_snapshot_over_several_pages(client: HubClient, hub: LocalHub, repo: HubRepo) -> None:
    snapshot = ask(client, "org/name")

    config = FILES["config.json"].encode()
    assert snapshot.commit == repo.head
    assert [item.path for item in snapshot.files] == sorted(FILES)
    assert snapshot.files[0] == HubFile(path="config.json", size=8, blob=git_sha1(config))
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    assert snapshot.files[1] == HubFile(
        path="model.safetensors", size=len(WEIGHTS), blob=digest, sha256=digest
    )
    assert hub.payload_bytes == 0


def test_revisions(client: HubClient, repo: HubRepo) -> None:
    first = repo.head
    repo.tag("v1")
    second = repo.commit({"new.txt": "n"})
    third = repo.commit({"pr.txt": "n"}, branch="refs/pr/1")

    commits = {
        word: ask(client, f"org/name@{word}").commit
        for word in ("v1", "main", first, second[:8], "refs/pr/1")
    }

    assert commits == {
        "v1": first,
        "main": second,
        first: first,
        second[:8]: second,
        "refs/pr/1": third,
    }


@pytest.mark.parametrize("kind", ["dataset", "space"])
def test_other_kinds(client: HubClient, hub: LocalHub, kind: str) -> None:
    repo = hub.add("org/other", {"a.txt": "text"}, kind=kind)

    snapshot = ask(client, f"{kind}:org/other")

    assert (snapshot.repo.kind, snapshot.commit) == (kind, repo.head)
    assert client.small_file(snapshot.repo, snapshot.commit, snapshot.files[0]) == b"text"


def test_a_repository_that_has_moved(client: HubClient, hub: LocalHub, repo: HubRepo) -> None:
    hub.rename("old-name", "org/name")

    snapshot = ask(client, "old-name")

    assert (snapshot.repo.id, snapshot.commit) == ("old-name", repo.head)
    assert client.small_file(snapshot.repo, snapshot.commit, snapshot.files[0])


def test_patterns_choose(client: HubClient, repo: HubRepo) -> None:
    request = replace(model_spec.parse("org/name"), allow=("*",), ignore=("onnx/", "*.safetensors"))

    assert [item.path for item in client.snapshot(request).files] == ["config.json"]


@needs_xet
def test_xet_hashes_are_told(client: HubClient, hub: LocalHub) -> None:
    repo = hub.add("org/xet", {"model.safetensors": WEIGHTS}, xet=True)

    [file] = ask(client, "org/xet").files

    assert file.xet == repo.files["model.safetensors"].xet


# --- refusals -------------------------------------------------------------------------------


def refused(client: HubClient, word: str) -> EnvforgeError:
    with pytest.raises(EnvforgeError) as caught:
        ask(client, word)
    return caught.value


@pytest.mark.parametrize("word", ["org/none", "org/private", "dataset:org/none"])
def test_no_such_repository(client: HubClient, hub: LocalHub, repo: HubRepo, word: str) -> None:
    hub.add("org/private", FILES, private=True)

    error = refused(client, word)

    assert isinstance(error, NoSuchModel)
    assert (
        error.what == f"{'dataset' if ':' in word else 'model'} `{word.removeprefix('dataset:')}`"
    )
    assert "hf auth login" in str(error.hint)


@pytest.mark.parametrize(
    ("word", "meant"), [("dataset:org/name", "org/name"), ("org/corpus", "dataset:org/corpus")]
)
def test_another_kind_of_repository(
    client: HubClient, hub: LocalHub, repo: HubRepo, word: str, meant: str
) -> None:
    hub.add("org/corpus", FILES, kind="dataset")

    hint = str(refused(client, word).hint)

    assert hint.endswith(f" of that name: `{meant}`")


def test_no_such_revision_names_those_that_are(client: HubClient, repo: HubRepo) -> None:
    repo.tag("v1.0")

    error = refused(client, "org/name@v1")

    assert isinstance(error, NoSuchModel)
    assert "no revision `v1`" in str(error)
    assert error.hint == "it has `main`, `v1.0`"


def test_the_other_revisions_cannot_be_had(client: HubClient, hub: LocalHub, repo: HubRepo) -> None:
    hub.faults["/refs"] = Fault(status=418)

    error = refused(client, "org/name@v1")

    assert isinstance(error, NoSuchModel)
    assert error.hint is None


def test_private_with_a_token(
    client: HubClient, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/private", FILES, private=True)
    hub.tokens["hf_secret"] = frozenset({"org/private"})
    monkeypatch.setenv("HF_TOKEN", "hf_secret")

    assert len(ask(client, "org/private").files) == len(FILES)

    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    error = refused(client, "org/private")
    assert "does not accept our token" in str(error)
    assert "hf_wrong" not in f"{error} {error.hint}"


def test_gated(client: HubClient, hub: LocalHub) -> None:
    hub.add("org/gated", FILES, gated=True)
    snapshot = ask(client, "org/gated")  # its list is open, its files are not

    with pytest.raises(NoSuchModel, match="grants access") as caught:
        client.small_file(snapshot.repo, snapshot.commit, snapshot.files[0])
    assert "ask for access" in str(caught.value.hint)


def test_nothing_left_by_the_patterns(client: HubClient, repo: HubRepo) -> None:
    request = replace(model_spec.parse("org/name"), allow=("*.gguf",))

    with pytest.raises(NoSuchModel, match="leave out all that it has: 3 files"):
        client.snapshot(request)


def test_an_empty_repository(client: HubClient, hub: LocalHub) -> None:
    hub.add("org/empty", {})

    assert "it has no files at `main`" in str(refused(client, "org/empty"))


def test_offline_opens_no_socket(client: HubClient, hub: LocalHub, repo: HubRepo) -> None:
    client = HubClient(replace(client._settings, offline=True))

    with pytest.raises(Unreachable, match="--offline"):
        ask(client, "org/name")
    assert hub.log == []


# --- hostile repositories -------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "a/../../b", "a\\b", "a\nb", "a\udcff", "C:/x", "x" * 300, "a//b"],
)
def test_paths_that_would_leave(client: HubClient, hub: LocalHub, path: str) -> None:
    hub.add("org/hostile", {path: "x", "good.txt": "y"})

    error = refused(client, "org/hostile")

    assert isinstance(error, HostileRepo)
    assert error.path == path
    request = replace(model_spec.parse("org/hostile"), allow=("good.txt",))
    assert [item.path for item in client.snapshot(request).files] == ["good.txt"]


def entry(**given: Any) -> dict[str, Any]:
    return {"type": "file", "path": "x", "size": 1, "oid": "a" * 40, **given}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (entry(path="config.json"), "stands there twice"),
        (entry(path="config.json/x"), "is a file and a folder"),
        (entry(size=-1), "has the size '-1'"),
        (entry(size="12"), "has the size '12'"),
        (entry(size=10**30), "has the size"),
        (entry(size=True), "has the size 'True'"),
        (entry(oid="../../etc"), "has the hash '../../etc'"),
        (entry(oid=None), "has the hash 'None'"),
        (entry(oid="A" * 40), "has the hash"),
        (entry(lfs={"oid": "x/../..", "size": 1, "pointerSize": 1}), "has the hash"),
        pytest.param(
            entry(lfs={"oid": "b" * 64, "size": 1, "pointerSize": 1}, xetHash="../x"),
            "has the hash",
            marks=needs_xet,
        ),
    ],
)
def test_a_tree_of_lies(client: HubClient, repo: HubRepo, raw: dict[str, Any], reason: str) -> None:
    repo.raw_tree.append(raw)

    error = refused(client, "org/name")

    assert isinstance(error, HostileRepo)
    assert reason in str(error)


@pytest.mark.parametrize(
    "answer",
    [{"id": "org/name", "sha": "../../x"}, {"id": "org/name"}, {"id": "org/name", "sha": 3}],
)
def test_a_commit_that_is_none(
    client: HubClient, hub: LocalHub, repo: HubRepo, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setattr("fakes.local_hub._info", lambda *_, **__: answer)

    error = refused(client, "org/name")

    assert isinstance(error, Unreachable)
    assert "it names no commit" in str(error)


# --- small files ----------------------------------------------------------------------------


def test_a_small_file(client: HubClient, hub: LocalHub, repo: HubRepo) -> None:
    assert json.loads(small(client)) == {"a": 1}
    assert hub.payload_bytes == len(FILES["config.json"])


def test_other_bytes_are_refused(client: HubClient, hub: LocalHub, repo: HubRepo) -> None:
    hub.faults["config.json"] = Fault(wrong_bytes=True)

    with pytest.raises(WrongBytes) as caught:
        small(client)
    assert caught.value.file == "org/name/config.json"
    assert caught.value.expected == git_sha1(FILES["config.json"].encode())


def test_more_bytes_than_told_are_not_read(client: HubClient, hub: LocalHub, repo: HubRepo) -> None:
    hub.faults["config.json"] = Fault(tree_size=3)

    with pytest.raises(WrongBytes, match="expected 3 bytes, got more than 3"):
        small(client)


def test_fewer_bytes_than_told(client: HubClient, hub: LocalHub, repo: HubRepo) -> None:
    hub.faults["config.json"] = Fault(tree_size=300)

    with pytest.raises(WrongBytes):
        small(client)


@pytest.mark.parametrize("redirect", ["same-host", "other-host"])
def test_redirects_are_followed_and_tokens_stay(
    client: HubClient,
    hub: LocalHub,
    repo: HubRepo,
    monkeypatch: pytest.MonkeyPatch,
    redirect: Any,
) -> None:
    hub.tokens["hf_secret"] = frozenset()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.faults["config.json"] = Fault(redirect=redirect, times=1)

    assert small(client)

    elsewhere = [one for one in hub.log if one.host == "localhost"]
    assert len(elsewhere) == (redirect == "other-host")
    assert not any(one.with_token for one in elsewhere)


def test_a_connection_that_is_cut_once(client: HubClient, hub: LocalHub, repo: HubRepo) -> None:
    hub.faults["config.json"] = Fault(cut_after=3, times=1)

    assert small(client) == FILES["config.json"].encode()


def test_a_connection_that_is_always_cut(client: HubClient, hub: LocalHub, repo: HubRepo) -> None:
    hub.faults["config.json"] = Fault(cut_after=3)

    with pytest.raises(Unreachable):
        small(client)


def test_a_file_that_has_gone(client: HubClient, hub: LocalHub, repo: HubRepo) -> None:
    hub.faults["config.json"] = Fault(missing=True)

    with pytest.raises(NoSuchModel, match=r"file `config.json`"):
        small(client)


# --- a hub that fails -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [Fault(status=503, times=1), Fault(status=429, retry_after=0.7, times=1)]
)
def test_asked_again(
    client: HubClient, hub: LocalHub, repo: HubRepo, waits: list[str], fault: Fault
) -> None:
    hub.faults["*/api/models/*"] = replace(fault)

    assert ask(client, "org/name").commit == repo.head
    assert len(waits) == (fault.status == 429)


def test_too_long_a_pause_is_told_instead(client: HubClient, hub: LocalHub, repo: HubRepo) -> None:
    hub.faults["*/api/models/*"] = Fault(status=429, retry_after=3600)
    began = time.monotonic()

    assert "429" in str(refused(client, "org/name"))
    assert time.monotonic() - began < 2


def test_a_status_that_waiting_does_not_mend(
    client: HubClient, hub: LocalHub, repo: HubRepo
) -> None:
    hub.faults["*/api/models/*"] = Fault(status=418)

    assert isinstance(refused(client, "org/name"), Unreachable)
    assert hub.count() == 1


def test_a_hub_that_does_not_answer(client: HubClient, hub: LocalHub, repo: HubRepo) -> None:
    hub.faults["*/api/models/*"] = Fault(delay=1.5)
    client = HubClient(replace(client._settings, timeout=0.2))

    assert isinstance(refused(client, "org/name"), Unreachable)


def test_nobody_is_there(client: HubClient) -> None:
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    client = HubClient(replace(client._settings, environment=nowhere))
    began = time.monotonic()

    error = refused(client, "org/name")

    assert isinstance(error, Unreachable)
    assert error.url == "http://127.0.0.1:9"
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "answer", [b"<!doctype html><title>Log in</title>", b"[1, 2]", b'"ok"', b"null", b"\xff"]
)
def test_something_else_answers(
    client: HubClient, monkeypatch: pytest.MonkeyPatch, repo: HubRepo, answer: bytes
) -> None:
    def login_page(self: Any, *_: object) -> None:
        self._head(200, len(answer), {"Content-Type": "text/html"})
        self.wfile.write(answer)

    monkeypatch.setattr("fakes.local_hub._Handler._send_json", login_page)

    error = refused(client, "org/name")

    assert isinstance(error, Unreachable)
    assert "no hub's answer" in str(error)


def test_a_bug_keeps_its_traceback(
    client: HubClient, repo: HubRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(HfApi, "repo_info", broken)

    with pytest.raises(ZeroDivisionError):
        ask(client, "org/name")


def test_credentials_in_the_address_are_not_told(client: HubClient) -> None:
    named = {"HF_ENDPOINT": "http://user:secret@127.0.0.1:9"}
    client = HubClient(replace(client._settings, environment=named))

    error = refused(client, "org/name")

    assert "secret" not in f"{error} {error.hint}"
