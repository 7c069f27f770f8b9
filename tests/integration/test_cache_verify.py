"""`cache verify`: damage to a real store and real views, found and mended from a local hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fakes.command_line import Done, run_envforge
from fakes.local_hub import LocalHub
from fakes.viewing import sha256
from fakes.workplace import fake_forge, make_environment

from envforge.adapters.store.store import Store
from envforge.adapters.store.trees import registry
from envforge.cli import options
from envforge.forge import Forge
from envforge.model.health import StoreHealth

NAME = "p-torch27-cu126"
WEIGHTS = bytes(range(256)) * 40
FILES = {"config.json": b'{"a": 1}', "vocab.txt": b"a\nb\n", "model.safetensors": WEIGHTS}
SHA = sha256(WEIGHTS)


@dataclass
class World:
    """A hub, a filled store, and a view of an environment."""

    hub: LocalHub
    forge: Forge

    @property
    def store(self) -> Store:
        return self.forge.cache.store

    @property
    def blob(self) -> Path:
        return self.store.path(SHA)

    @property
    def view(self) -> Path:
        [view] = registry.views(self.store.root)
        return Path(view.path) / "models--org--name"

    def verify(self, *names: str, deep: bool = False, repair: bool = False) -> StoreHealth:
        return self.forge.cache.verify(names, deep=deep, repair=repair)

    def kinds(self, *names: str, deep: bool = False) -> list[str]:
        return [flaw.kind for flaw in self.verify(*names, deep=deep).flaws]

    def spoil(self, data: bytes = WEIGHTS[:-1] + b"!") -> None:
        """Other bytes, without a trace but the file's times: a failing disk."""
        self.blob.chmod(0o644)
        self.blob.write_bytes(data)
        self.blob.chmod(0o444)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with LocalHub() as hub:
        hub.add("org/name", FILES)
        environment = {"HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url}
        store = tmp_path / "store"
        forge = fake_forge(tmp_path, store=store, views=store / "views", environment=environment)
        make_environment(forge)
        forge.cache.init()
        forge.cache.lock(NAME, models=["org/name"])
        forge.cache.prefill([NAME])
        hub.forget()
        yield World(hub, forge)


def run(world: World, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Done:
    monkeypatch.setattr(options, "make_forge", lambda *_: world.forge)
    return run_envforge("cache", "verify", *arguments)


def test_what_was_fetched_is_right_and_the_hub_is_not_asked(world: World) -> None:
    report = world.verify(deep=True)

    assert report.passed, report.flaws
    assert report.flaws == ()
    assert (report.files, report.views, report.locks) == (3, 1, (NAME,))
    assert report.read == report.size == sum(map(len, FILES.values()))
    assert world.hub.log == []


def test_a_quick_look_reads_nothing(world: World) -> None:
    assert world.verify().read == 0


def test_wrong_bytes_are_found_by_a_deep_look_and_mended(world: World) -> None:
    world.spoil()
    assert world.kinds() == []
    assert world.kinds(deep=True) == ["wrong-bytes"]

    report = world.verify(deep=True, repair=True)

    assert report.passed, report.flaws
    assert [flaw.kind for flaw in report.mended] == ["wrong-bytes"]
    assert world.blob.read_bytes() == WEIGHTS
    assert (world.view / "blobs" / SHA).stat().st_ino == world.blob.stat().st_ino
    [kept] = (world.store.root / "quarantine").iterdir()
    assert kept.read_bytes() != WEIGHTS
    assert world.verify(deep=True).flaws == ()


def test_a_file_that_somebody_may_have_written_to_is_read_at_once(world: World) -> None:
    world.blob.chmod(0o644)
    world.blob.write_bytes(WEIGHTS[:-1] + b"!")

    assert sorted(world.kinds()) == ["writable", "wrong-bytes"]


def test_permissions_are_set_right(world: World) -> None:
    world.blob.chmod(0o644)
    other = world.store.path(sha256(FILES["vocab.txt"]))
    other.chmod(0o400)
    other.parent.chmod(0o700)
    assert sorted(world.kinds()) == ["unreadable", "unreadable", "writable"]

    report = world.verify(repair=True)

    assert report.passed
    assert world.blob.stat().st_mode & 0o777 == 0o444
    assert other.parent.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("damage", ["lost", "short", "folder"])
def test_a_file_that_is_lost_or_cut_is_fetched_again(world: World, damage: str) -> None:
    if damage == "short":
        world.spoil(WEIGHTS[:100])
    else:
        world.blob.unlink()
    if damage == "folder":
        world.blob.mkdir()
    expected = {"lost": "missing", "short": "wrong-size", "folder": "no-file"}[damage]
    assert expected in world.kinds()

    report = world.verify(repair=True)

    assert report.passed, (report.flaws, report.notes)
    assert world.blob.read_bytes() == WEIGHTS
    assert (world.view / "blobs" / SHA).stat().st_ino == world.blob.stat().st_ino


def test_what_cannot_be_fetched_stays_a_problem(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.spoil()
    world.hub.repos.clear()

    done = run(world, monkeypatch, "--deep", "--repair")

    assert done.status == 1
    assert "missing: 1" in done.out
    assert "lies in quarantine" in done.out
    assert "was not fetched" in done.out
    assert f"envforge cache prefill {NAME}" in done.out


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lambda view: (view / "blobs" / SHA).unlink(), "view-file"),
        (lambda view: next(view.glob("snapshots/*/config.json")).unlink(), "view-file"),
        (lambda view: (view / "refs/main").unlink(), "view-ref"),
        (lambda view: (view / "refs/main").write_text("nonsense"), "view-ref"),
    ],
)
def test_a_damaged_view_is_made_again(world: World, damage, kind: str) -> None:
    damage(world.view)
    assert world.kinds() == [kind]

    report = world.verify(repair=True)

    assert report.passed
    assert world.kinds(deep=True) == []
    assert world.hub.payload_bytes == 0


@pytest.mark.parametrize(("data", "kind"), [(WEIGHTS, "view-copy"), (WEIGHTS[::-1], "view-file")])
def test_a_users_own_file_in_a_view(world: World, data: bytes, kind: str) -> None:
    """hub replaces a blob by renaming: the store's file stays as it is."""
    blob = world.view / "blobs" / SHA
    blob.unlink()
    blob.write_bytes(data)

    assert world.kinds(deep=True) == [kind]
    assert world.verify(deep=True, repair=True).passed
    assert blob.stat().st_nlink == 2


def test_a_view_that_was_removed_is_forgotten(world: World) -> None:
    import shutil

    shutil.rmtree(world.view.parent)
    assert world.kinds() == ["view-gone"]

    world.verify(repair=True)

    assert registry.views(world.store.root) == ()
    assert world.kinds() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give links away")
def test_a_users_link_in_place_of_a_view_is_not_followed(world: World) -> None:
    view = world.view.parent
    elsewhere = view.parent.parent / "elsewhere"
    view.rename(elsewhere)
    view.symlink_to(elsewhere)
    os.lchown(view, 64001, 64001)

    [flaw] = world.verify().flaws

    assert flaw.kind == "unseen"
    assert "symbolic link of user 64001" in flaw.message


@pytest.mark.parametrize(
    "address", ["", "http://mirror.example", "http://me:secret@mirror.example"]
)
def test_a_flat_view_of_another_hub_is_all_right(world: World, address: str) -> None:
    """Its names are made of the hub's address, whichever it was and whoever looks later."""
    settings = world.forge.settings
    there = replace(settings, environment={**settings.environment, "HF_ENDPOINT": address})
    Forge(settings=there).cache.view(NAME, flat=True)

    assert Forge(settings=there).cache.verify().flaws == ()
    text = "".join(p.read_text() for p in world.store.root.rglob("*.json") if p.is_file())
    assert "secret" not in text
    if "@" not in address:
        assert world.verify().flaws == ()


@pytest.mark.parametrize("name", ["models--org--name", "blobs", "snapshots", "refs"])
def test_nothing_is_read_through_a_link_inside_a_view(world: World, name: str) -> None:
    """What lies behind it is as it should be, and not the view's."""
    place = world.view if name == world.view.name else world.view / name
    behind = world.view.parent.parent / "behind"
    place.rename(behind)
    place.symlink_to(behind)

    assert {"view-file", "view-ref"} & set(world.kinds(deep=True))


def test_an_index_that_leads_to_other_bytes(world: World) -> None:
    world.store.name("1" * 40, SHA)
    vocab = sha256(FILES["vocab.txt"])
    wrong = world.store.root / "index" / "11" / ("1" * 40)
    assert vocab
    assert world.kinds() == []
    assert world.kinds(deep=True) == ["wrong-name"]

    assert world.verify(deep=True, repair=True).passed
    assert not wrong.exists()


def test_only_what_is_named_is_looked_at(world: World) -> None:
    stray = world.store.root / "parts" / "stray"
    stray.write_bytes(b"stray")
    world.store.insert(stray, "0" * 64)

    assert world.kinds(deep=True) == ["wrong-bytes"]
    assert world.kinds(NAME, deep=True) == []
    assert world.kinds("org/name", deep=True) == []
    assert world.kinds(str(world.view.parent), deep=True) == []
    assert world.verify("org/name").views == 1


def test_damage_that_no_lock_names_is_put_aside(world: World) -> None:
    stray = world.store.root / "parts" / "stray"
    stray.write_bytes(b"stray")
    path = world.store.insert(stray, "0" * 64)

    report = world.verify(deep=True, repair=True)

    assert report.passed
    assert not path.exists()
    assert any("no lock names" in note for note in report.notes)


def test_an_unknown_name_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(world, monkeypatch, "nothing").status == 2


def test_a_lock_that_cannot_be_read_is_a_problem(world: World) -> None:
    lock = world.forge.settings.envs_folder / NAME / "models-lock.yml"
    lock.write_text("version: 1\nmodels: 3\n")

    report = world.verify()

    assert not report.passed
    assert "unseen" in {flaw.kind for flaw in report.flaws}


def test_a_damaged_note_of_a_view_is_a_problem(world: World) -> None:
    [note] = registry.folder(world.store.root).glob("*.json")
    note.write_text("{")

    assert "unseen" in world.kinds()


def test_the_report_as_text_and_as_a_document(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(world, monkeypatch)
    assert done.status == 0
    assert done.out.startswith("all right: 3 files (10")
    world.blob.unlink()

    text, document = run(world, monkeypatch), run(world, monkeypatch, "--json")

    assert text.status == document.status == 1
    assert "error missing: 1" in text.out
    assert max(map(len, text.out.splitlines())) <= 80 or str(world.store.root) in text.out
    [flaw] = [item for item in document.json["flaws"] if item["severity"] == "error"]
    assert (flaw["kind"], flaw["sha256"]) == ("missing", SHA)
    assert document.json["schema"] == "envforge.cache-verify/1"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_owner(world: World) -> None:
    os.chown(world.blob, 64001, 64001)

    assert world.kinds() == ["foreign"]
    assert world.verify(repair=True).passed
    assert world.blob.stat().st_uid == os.geteuid()


def test_a_deep_look_makes_nothing_look_used(world: World) -> None:
    """A collection goes by what was read, too."""
    for path in (world.blob, world.view / "blobs" / SHA):
        os.utime(path, (1, 1))
    copied = next(path for path in (world.view / "blobs").iterdir() if path.name != SHA)
    data = copied.read_bytes()
    copied.unlink()
    copied.write_bytes(data)
    copied.chmod(0o444)
    os.utime(copied, (1, 1))

    assert world.verify(deep=True).read > 0

    assert (world.blob.stat().st_atime, copied.stat().st_atime) == (1, 1)
