"""Many files at once into the store, by a transfer that a test steers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes.installing import RecordingReporter
from fakes.prefilling import contents, is_clean, sha256, wanted

from envforge.adapters.store.arriving.fetching import Fetcher, Stop, is_held
from envforge.adapters.store.arriving.parts import Part, Stopped
from envforge.adapters.store.store import Store
from envforge.errors import FileNotUsable, Unreachable, WrongBytes
from envforge.model.fetching import Fetched, Wanted

DATA = {f"{number}.safetensors": bytes([number]) * (1000 + number) for number in range(20)}
ALL = [wanted(data, path) for path, data in DATA.items()]


@dataclass
class Shelf:
    """A transfer that has the bytes; `at` is called before each piece."""

    store: Store
    at: Callable[[Wanted, Part], None] = lambda *_: None
    asked: list[str] = field(default_factory=list)

    def get(self, wanted: Wanted, part: Part) -> None:
        self.asked.append(wanted.path)
        data = DATA[wanted.path]
        while not part.is_whole:
            self.at(wanted, part)
            part.write(data[part.size : part.size + 400])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    tmp_path.chmod(0o755)
    return Store.create(tmp_path / "store")


def fetch(shelf: Shelf, files: list[Wanted] = ALL, **about: object) -> Fetched:
    reporter = RecordingReporter()
    return Fetcher(shelf.store, shelf, reporter, **about).fetch(files)  # type: ignore[arg-type]


@pytest.mark.parametrize("jobs", [1, 8, 64])
def test_all_come_and_are_counted(store: Store, jobs: int) -> None:
    shelf = Shelf(store)

    fetched = fetch(shelf, jobs=jobs)

    assert fetched == Fetched(files=20, payload=sum(map(len, DATA.values())))
    assert sorted(shelf.asked) == sorted(DATA)
    assert len(contents(store.root)) == 20
    assert is_clean(store.root)


def test_nothing_to_do(store: Store) -> None:
    assert fetch(Shelf(store), []) == Fetched()


def test_a_file_that_has_come_meanwhile_is_not_fetched(store: Store) -> None:
    fetch(Shelf(store), ALL[:1])

    assert fetch(Shelf(store), ALL[:1]) == Fetched(by_others=1)


def test_a_refused_file_keeps_no_other_away(store: Store) -> None:
    def damage(wanted: Wanted, part: Part) -> None:
        if wanted.path in {"3.safetensors", "4.safetensors"} and not part.size:
            part.write(b"x")

    with pytest.raises(WrongBytes):
        fetch(Shelf(store, damage), jobs=2)

    assert len(contents(store.root)) == 18
    assert len(list((store.root / "quarantine").iterdir())) == 2


def test_where_nothing_more_can_come_the_others_end(store: Store) -> None:
    began = threading.Barrier(2)

    def fail(wanted: Wanted, part: Part) -> None:
        if part.size == 400 and wanted.path in {"0.safetensors", "1.safetensors"}:
            began.wait(10)
        if wanted.path == "1.safetensors" and part.size == 800:
            raise Unreachable(url="http://hub", reason="gone")
        if wanted.path == "0.safetensors" and part.size == 800:
            threading.Event().wait(0.3)

    shelf = Shelf(store, fail)
    with pytest.raises(Unreachable):
        fetch(shelf, jobs=2)

    assert len(shelf.asked) < 20
    left = [path.name for path in (store.root / "parts").iterdir()]
    assert len(left) == 2
    assert all(name.endswith(".left.part") for name in left)


def test_a_bug_keeps_its_traceback(store: Store) -> None:
    def crash(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fetch(Shelf(store, crash))


def test_whoever_is_told_to_stop_waits_no_longer() -> None:
    stop = Stop()
    stop.check()
    stop.pause(0)
    stop.now()
    for call in (stop.check, lambda: stop.pause(60)):
        with pytest.raises(Stopped):
            call()


def test_who_has_lost_its_claim_looks_again(store: Store) -> None:
    """It was asleep for so long that another process has fetched the file meanwhile."""
    [item] = ALL[:1]
    other = "0123456789abcdef-7-7-00000000"

    def sleep(_: Wanted, part: Part) -> None:
        claim = store.root / "parts" / f"{item.key}.claim"
        if part.size == 400 and not claim.readlink().name.startswith("0123456789abcdef"):
            claim.unlink()
            claim.symlink_to(other)
            theirs = store.root / "parts" / f"{item.key}.{other}.part"
            theirs.write_bytes(DATA[item.path])
            store.insert(theirs, item.sha256)
            for claims in known:
                for held in tuple(claims._held):
                    held.beat()

    from envforge.adapters.store.arriving import fetching

    known = []
    real = fetching.Claims

    def remembered(folder: Path) -> object:
        known.append(real(folder))
        return known[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetching, "Claims", remembered)
        assert fetch(Shelf(store, sleep), [item]) == Fetched(by_others=1)

    assert (store.root / "parts" / f"{item.key}.claim").readlink().name == other


def test_a_disk_that_refuses(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.link", refuse)

    with pytest.raises(FileNotUsable):
        fetch(Shelf(store), ALL[:1])

    monkeypatch.undo()
    shelf = Shelf(store)
    assert fetch(shelf, ALL[:1]).payload == 0
    assert is_clean(store.root)


def test_git_names_prove_what_has_no_other(store: Store) -> None:
    DATA["x.json"] = b"{}"
    item = wanted(b"{}", "x.json", known=False)
    assert not is_held(store, item)

    fetch(Shelf(store), [item])

    assert is_held(store, item)
    assert store.named(item.blob) == sha256(b"{}")
    DATA["x.json"] = b"[]"
    other = wanted(b"{ }", "x.json", known=False)
    DATA["x.json"] = b"[ ]"
    with pytest.raises(WrongBytes, match="git's sha1"):
        fetch(Shelf(store), [other])
