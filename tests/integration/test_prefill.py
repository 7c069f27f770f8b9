"""Prefills from a hub over HTTP: whole, interrupted, killed, many at once, lied to."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import prefill_child
from fakes.hub_repos import HubRepo
from fakes.local_hub import Fault, LocalHub
from fakes.prefilling import FILES, REPO, WEIGHTS, PrefillWorld, contents, is_clean, sha256

from envforge.adapters.store.arriving import parts
from envforge.adapters.store.arriving.claims import Claims
from envforge.adapters.store.arriving.fetching import Stop
from envforge.errors import (
    FileNotUsable,
    HostileRepo,
    NoSuchEnvironment,
    NoSuchModel,
    NotCached,
    StoreFull,
    Unreachable,
    WrongBytes,
)

ALL = sum(map(len, FILES.values()))
Job = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    with LocalHub() as hub:
        yield hub


@pytest.fixture
def repo(hub: LocalHub) -> HubRepo:
    hub.faults.clear()
    hub.repos.clear()
    hub.forget()
    return hub.add(REPO, FILES)


@pytest.fixture
def world(tmp_path: Path, hub: LocalHub, repo: HubRepo) -> PrefillWorld:
    world = PrefillWorld(tmp_path, hub)
    world.env("e", repo)
    return world


@pytest.fixture(scope="module")
def children(hub: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """Runs prefills in processes of their own."""
    home = str(tmp_path_factory.mktemp("home"))
    with subprocess.Popen(
        [sys.executable, prefill_child.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOME": home, "HF_HOME": home, "HF_ENDPOINT": hub.url},
    ) as process:
        assert process.stdin
        assert process.stdout

        def ask(world: PrefillWorld, **job: Any) -> list[dict[str, Any]]:
            document = {"environ": world.environ, "names": ["e"], **job}
            process.stdin.write(json.dumps(document) + "\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            answer: list[dict[str, Any]] = json.loads(process.stdout.readline())  # type: ignore[union-attr]
            return answer

        yield ask
        process.stdin.close()


# --- what it is for -------------------------------------------------------------------------


def test_everything_that_is_locked_comes_once(world: PrefillWorld, hub: LocalHub) -> None:
    done = world.cache.prefill(["e"], view=False)
    again = world.cache.prefill(["e"], view=False)

    assert (done.fetched.files, done.fetched.payload) == (len(FILES), ALL)
    assert (again.fetched.files, len(again.plan.present)) == (0, len(FILES))
    assert hub.payload_bytes == ALL
    assert {name for name in contents(world.store.root) if not name.startswith("index")} == {
        f"{sha256(data)[:2]}/{sha256(data)}" for data in FILES.values()
    }
    assert is_clean(world.store.root)


def test_files_are_read_only_and_found_by_the_hubs_names(
    world: PrefillWorld, repo: HubRepo
) -> None:
    world.cache.prefill(["e"], view=False)

    assert {mode for mode, _ in contents(world.store.root).values()} >= {0o444}
    for blob in repo.files.values():
        assert world.store.named(blob.etag) == blob.sha256
        assert world.store.path(blob.sha256).stat().st_mode & 0o777 == 0o444


def test_without_names_every_environment_is_meant(world: PrefillWorld, hub: LocalHub) -> None:
    other = hub.add("org/other", {"config.json": b"[]"})
    world.env("f", other)
    world.env("empty")

    done = world.cache.prefill(view=False)

    assert done.fetched.files == len(FILES) + 1
    assert not hub.count("/api/models/org/name")


def test_a_repository_that_no_environment_locks(world: PrefillWorld, repo: HubRepo) -> None:
    repo.tag("v1")

    done = world.cache.prefill([f"{REPO}@v1"], view=False)
    again = world.cache.prefill([f"{REPO}@{repo.head}"], view=False)

    assert done.fetched.payload == ALL
    assert again.fetched.files == 0
    assert is_clean(world.store.root)


def test_equal_files_of_two_repositories_come_once(world: PrefillWorld, hub: LocalHub) -> None:
    world.env("f", hub.add("org/fork", {**FILES, "README.md": b"forked"}))

    done = world.cache.prefill(["e", "f"], view=False)

    assert done.fetched.payload == ALL + len(b"forked")


def test_the_views_are_made(world: PrefillWorld, repo: HubRepo) -> None:
    done = world.cache.prefill(["e"])

    [view] = done.views
    shown = Path(view) / repo.folder / "snapshots" / repo.head / "model.safetensors"
    assert shown.samefile(world.store.path(sha256(WEIGHTS)))


def test_a_dry_run_fetches_and_writes_nothing(world: PrefillWorld, hub: LocalHub) -> None:
    before = sorted(world.root.rglob("*"))

    done = world.cache.prefill(["e"], dry_run=True)

    assert (done.plan.missing_bytes, hub.log) == (ALL, [])
    assert sorted(world.root.rglob("*")) == before


def test_progress_is_told(world: PrefillWorld) -> None:
    world.cache.prefill(["e"], view=False)

    assert world.reporter.reports[-1] == (ALL, ALL, "bytes", f"{len(FILES)} of {len(FILES)} files")
    assert f"fetching {len(FILES)} files" in world.reporter.steps


def test_a_token_is_shown_to_the_hub_and_kept_nowhere(
    tmp_path: Path, hub: LocalHub, repo: HubRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.private = True
    hub.tokens["hf_secret"] = frozenset({REPO})
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    world = PrefillWorld(tmp_path, hub)
    world.env("e", repo)

    world.cache.prefill(["e"], view=False)

    assert all(one.with_token for one in hub.log)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"hf_secret" in path.read_bytes() for path in files)


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "ENVFORGE_OFFLINE"])
def test_offline_opens_no_socket(tmp_path: Path, hub: LocalHub, repo: HubRepo, name: str) -> None:
    world = PrefillWorld(tmp_path, hub, **{name: "1"})
    world.env("e", repo)

    with pytest.raises(NotCached, match="and 2 more") as caught:
        world.cache.prefill(["e"])

    assert "offline" in str(caught.value.hint)
    assert hub.log == []


def test_offline_is_no_matter_where_all_is_there(world: PrefillWorld, hub: LocalHub) -> None:
    world.cache.prefill(["e"], view=False)
    world.environ["HF_HUB_OFFLINE"] = "1"

    assert world.cache.prefill(["e"], view=False).fetched.files == 0


def test_an_unknown_name_is_asked_for_once(world: PrefillWorld) -> None:
    with pytest.raises(NoSuchModel) as caught:
        world.cache.prefill(["ee"])
    assert "did you mean `e`" in str(caught.value.hint)
    with pytest.raises(NoSuchEnvironment):
        world.cache.prefill(["./nowhere/at/all"])


def test_a_gated_repository_says_how_to_get_in(world: PrefillWorld, repo: HubRepo) -> None:
    repo.gated = True

    with pytest.raises(NoSuchModel, match="grants access") as caught:
        world.cache.prefill(["e"], view=False)

    assert "HF_TOKEN" in str(caught.value.hint)


def test_a_hostile_lock_is_refused_before_anything_is_written(
    world: PrefillWorld, hub: LocalHub
) -> None:
    lock = world.root / "envs/e/models-lock.yml"
    lock.write_text(lock.read_text().replace("tokenizer/vocab.txt", "../../vocab.txt"))

    with pytest.raises(HostileRepo):
        world.cache.prefill(["e"])

    assert hub.log == []


def test_who_does_not_own_the_store_reads_it_only(
    world: PrefillWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.cache.prefill(["e"], view=False)
    world.env("f")
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    before = contents(world.store.root)

    assert world.cache.prefill(["e"], view=False).fetched.files == 0
    world.store.path(sha256(WEIGHTS)).unlink()
    with pytest.raises(NotCached, match=r"model\.safetensors") as caught:
        world.cache.prefill(["e"], view=False)

    assert "run it as" in str(caught.value.hint)
    assert len(contents(world.store.root)) == len(before) - 1


# --- a hub that fails or lies ---------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault(cut_after=300_000),
        Fault(cut_after=300_000, no_range=True, times=2),
        Fault(status=503, times=2),
        Fault(status=429, retry_after=0, times=1),
        Fault(redirect="same-host"),
        Fault(redirect="bare"),
        Fault(redirect="other-host"),
        Fault(delay=0.2, chunk_delay=0.01),
    ],
    ids=["cut", "cut-no-range", "503", "429", "same-host", "bare", "other-host", "slow"],
)
def test_what_passes_is_put_up_with(
    world: PrefillWorld, hub: LocalHub, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    real = Stop.pause
    monkeypatch.setattr(Stop, "pause", lambda stop, seconds: real(stop, min(seconds, 0.05)))
    hub.faults["model.safetensors"] = fault

    world.cache.prefill(["e"], view=False)

    assert is_clean(world.store.root)
    assert world.store.holds(sha256(WEIGHTS), len(WEIGHTS))


def test_wrong_bytes_never_show_and_the_rest_comes(world: PrefillWorld, hub: LocalHub) -> None:
    hub.faults["model.safetensors"] = Fault(wrong_bytes=True)

    with pytest.raises(WrongBytes) as caught:
        world.cache.prefill(["e"], view=False)

    kept = Path(caught.value.kept)
    assert kept.parent == world.store.root / "quarantine"
    assert kept.read_bytes() != WEIGHTS
    assert len(kept.read_bytes()) == len(WEIGHTS)
    assert world.store.size(sha256(WEIGHTS)) is None
    assert len(contents(world.store.root)) == len(FILES) - 1 + 3
    hub.faults.clear()
    assert world.cache.prefill(["e"], view=False).fetched.files == 1
    assert is_clean(world.store.root)


def test_a_hub_that_sends_more_than_the_lock_says(
    world: PrefillWorld, hub: LocalHub, repo: HubRepo
) -> None:
    """It may send without end: no more than was locked is ever written."""
    repo.commit({"model.safetensors": WEIGHTS * 3})
    lock = world.root / "envs/e/models-lock.yml"
    first = next(iter(repo.commits))
    lock.write_text(lock.read_text().replace(first, repo.head))

    with pytest.raises(WrongBytes, match="700000 bytes, got more"):
        world.cache.prefill(["e"], view=False)

    [kept] = (world.store.root / "quarantine").iterdir()
    assert kept.stat().st_size <= len(WEIGHTS)


def test_a_hub_that_has_less_than_the_lock_says(
    world: PrefillWorld, hub: LocalHub, repo: HubRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.commit({"model.safetensors": WEIGHTS[:1000]})
    lock = world.root / "envs/e/models-lock.yml"
    lock.write_text(lock.read_text().replace(next(iter(repo.commits)), repo.head))

    with pytest.raises(WrongBytes, match="got 1000 bytes"):
        world.cache.prefill(["e"], view=False)


def test_a_missing_file_does_not_keep_the_others_away(world: PrefillWorld, hub: LocalHub) -> None:
    hub.faults["model.safetensors"] = Fault(missing=True)
    hub.faults["small.safetensors"] = Fault(missing=True)

    with pytest.raises(NoSuchModel, match="no such file"):
        world.cache.prefill(["e"], view=False)

    assert len(world.reporter.warnings) == 1
    assert len(contents(world.store.root)) == len(FILES) - 2 + 3


def test_what_came_is_kept_when_the_hub_goes_away(
    world: PrefillWorld, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next prefill, of another process, asks for what is missing only."""
    monkeypatch.setattr("envforge.adapters.hub.transfer._TRIES", 0)
    hub.faults["model.safetensors"] = Fault(cut_after=600_000, times=1)
    hub.faults["*/resolve/*/model.safetensors"] = Fault(status=500)

    with pytest.raises(Unreachable, match="500") as caught:
        world.cache.prefill(["e"], view=False)

    assert "goes on where it stopped" in str(caught.value.hint)
    assert parts.at_hand(world.store.root / "parts") == {sha256(WEIGHTS): 2 * 2**18}
    hub.faults.clear()
    hub.forget()
    planned = world.cache.prefill(["e"], dry_run=True)
    assert planned.plan.at_hand == 2 * 2**18
    world.cache.prefill(["e"], view=False)
    assert f"bytes={2 * 2**18}-" in {one.range for one in hub.log}
    assert is_clean(world.store.root)


def test_what_was_left_and_is_wrong_is_fetched_again(world: PrefillWorld, hub: LocalHub) -> None:
    """A power cut can leave zeros: no fault of the hub's, and nobody is bothered with it."""
    left = world.store.root / "parts" / f"{sha256(WEIGHTS)}.left.part"
    left.write_bytes(bytes(300_000))

    world.cache.prefill(["e"], view=False)

    assert hub.payload_bytes == ALL - 300_000 + len(WEIGHTS)
    assert list((world.store.root / "quarantine").iterdir()) == []
    assert is_clean(world.store.root)


def test_a_broken_disk_is_not_blamed_on_the_hub(
    world: PrefillWorld, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)

    with pytest.raises(FileNotUsable, match="no space left"):
        world.cache.prefill(["e"], view=False)

    assert hub.count("model.safetensors") <= 1


# --- room -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "resource"), [("size=600k", "bytes"), ("size=4m,nr_inodes=30", "inodes")]
)
def test_too_little_room_is_seen_before_anything_is_fetched(
    hub: LocalHub,
    repo: HubRepo,
    small_disk: Callable[[str], Path],
    options: str,
    resource: str,
) -> None:
    world = PrefillWorld(small_disk(options), hub)
    world.env("e", repo)

    with pytest.raises(StoreFull) as caught:
        world.cache.prefill(["e"], view=False)

    assert caught.value.resource == resource
    assert hub.log == []


def test_a_disk_that_fills_up_meanwhile(
    hub: LocalHub, repo: HubRepo, small_disk: Callable[[str], Path]
) -> None:
    """Somebody else's file takes the room; once it is gone, the same command goes on."""
    disk = small_disk("size=1m")
    world = PrefillWorld(disk, hub)
    world.env("e", repo)
    hub.faults["model.safetensors"] = Fault(delay=0.3)
    cache = world.cache
    plan = cache.prefill(["e"], dry_run=True)
    assert plan.plan.missing
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr("envforge.cache.fetch_plan.check_room", lambda *_: None)
        (disk / "in the way").write_bytes(bytes(600_000))
        with pytest.raises(FileNotUsable, match="no space left"):
            world.cache.prefill(["e"], view=False)
    (disk / "in the way").unlink()

    world.cache.prefill(["e"], view=False)

    assert is_clean(world.store.root)
    assert hub.payload_bytes < ALL + len(WEIGHTS)


# --- kills ----------------------------------------------------------------------------------


def undisturbed(tmp_path: Path, hub: LocalHub, repo: HubRepo, children: Job) -> Any:
    folder = tmp_path / "undisturbed"
    folder.mkdir()
    world = PrefillWorld(folder, hub)
    world.env("e", repo)
    began = time.monotonic()
    [answer] = children(world, jobs=1)
    return contents(world.store.root), answer["steps"], time.monotonic() - began


def see_that_it_ends(world: PrefillWorld, expected: Any, children: Job) -> None:
    """Nothing half is visible now; after a second run all is as if nothing had happened."""
    assert contents(world.store.root).items() <= expected.items()
    [answer] = children(world, jobs=1)
    assert "fetched" in answer, answer
    assert contents(world.store.root) == expected
    assert is_clean(world.store.root)


@pytest.mark.parametrize("half", range(2))
def test_killed_at_every_step(
    tmp_path: Path, hub: LocalHub, repo: HubRepo, children: Job, half: int
) -> None:
    small = {"config.json": b"{}", "model.safetensors": WEIGHTS[:300_000]}
    repo = hub.add(REPO, small)
    expected, steps, _ = undisturbed(tmp_path, hub, repo, children)
    assert {"create", "os.symlink", "pwrite", "fsync", "os.link", "os.remove"} <= set(steps)

    for number in range(half, len(steps), 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        world = PrefillWorld(folder, hub)
        world.env("e", repo)
        [answer] = children(world, jobs=1, kill_at=number)
        assert answer == {"signal": 9}, (number, steps[number], answer)
        see_that_it_ends(world, expected, children)


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment(
    tmp_path: Path, hub: LocalHub, repo: HubRepo, children: Job, seed: int
) -> None:
    """Again and again, with several files at once, until one run is let through."""
    hub.faults["*/resolve/*"] = Fault(chunk_delay=0.01)
    expected, _, seconds = undisturbed(tmp_path, hub, repo, children)
    world = PrefillWorld(tmp_path, hub)
    world.env("e", repo)
    moments = random.Random(seed)

    for _ in range(6):
        children(world, kill_after=moments.uniform(0, seconds))
        assert contents(world.store.root).items() <= expected.items()

    see_that_it_ends(world, expected, children)


def test_an_interruption_gives_its_claims_back(
    world: PrefillWorld, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.faults["*/resolve/*"] = Fault(chunk_delay=0.05)
    calls = iter(range(1000))

    def interrupted(*_: Any) -> None:
        if next(calls) > 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(world.reporter, "progress", lambda *_: None)
    monkeypatch.setattr("threading.Thread.is_alive", lambda _: interrupted() or True)

    with pytest.raises(KeyboardInterrupt):
        world.cache.prefill(["e"], view=False)

    monkeypatch.undo()
    assert not list((world.store.root / "parts").glob("*.claim"))


# --- many at once ---------------------------------------------------------------------------


@pytest.mark.parametrize("flock", ["works", "absent", "does nothing"])
def test_eight_processes_fetch_once(
    world: PrefillWorld, hub: LocalHub, children: Job, flock: str
) -> None:
    hub.faults["model.safetensors"] = Fault(chunk_delay=0.02)

    answers = children(world, children=8, flock=flock)

    assert hub.payload_bytes == ALL
    assert sum(answer["fetched"][0] for answer in answers) == len(FILES)
    assert sum(answer["fetched"][1] for answer in answers) == ALL
    assert is_clean(world.store.root)


def test_when_the_one_that_fetches_dies_another_goes_on(
    world: PrefillWorld, hub: LocalHub, children: Job
) -> None:
    children(world, jobs=1, kill_at_write=2)
    kept = parts.at_hand(world.store.root / "parts")
    assert kept[sha256(WEIGHTS)] == 2 * 2**18
    hub.forget()

    answers = children(world, children=4)

    assert hub.payload_bytes == ALL - kept[sha256(WEIGHTS)]
    assert all("fetched" in answer for answer in answers)
    assert is_clean(world.store.root)


def test_one_waits_for_another_machine_and_sees_it_finish(
    world: PrefillWorld, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim tells a process that cannot be seen from here; its file appears, then."""
    other = WorldOfAnotherMachine(world, WEIGHTS)
    monkeypatch.setattr("envforge.adapters.store.arriving.fetching._LONGEST_LOOK", 0.05)
    monkeypatch.setattr(world.reporter, "progress", other.finish)

    done = world.cache.prefill(["e"], view=False)

    assert done.fetched.by_others == 1
    assert hub.count("model.safetensors") == 0


class WorldOfAnotherMachine:
    """A claim of a process that no process here can look at."""

    def __init__(self, world: PrefillWorld, data: bytes) -> None:
        self.store, self.data = world.store, data
        self.claim = world.store.root / "parts" / f"{sha256(data)}.claim"
        self.claim.symlink_to("0123456789abcdef-1-1-01234567")
        (world.store.root / "parts" / f"{sha256(data)}.0123-1-1-0.part").write_bytes(data[:9])
        self.looks = 0

    def finish(self, *_: object) -> None:
        """Called as progress is shown; after a while the other machine is done."""
        self.looks += 1
        if self.looks == 2:
            part = self.store.root / "parts" / f"{sha256(self.data)}.0123-1-1-0.part"
            part.write_bytes(self.data)
            self.store.insert(part, sha256(self.data))
            self.claim.unlink()


def test_a_claim_of_another_machine_that_is_silent_is_taken_over(
    world: PrefillWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    WorldOfAnotherMachine(world, WEIGHTS)
    quick = lambda folder: Claims(folder, silent=0.2)  # noqa: E731
    monkeypatch.setattr("envforge.adapters.store.arriving.fetching.Claims", quick)

    done = world.cache.prefill(["e"], view=False)

    assert done.fetched.files == len(FILES)
    assert done.fetched.payload == ALL - 9
    assert is_clean(world.store.root)
