"""`cache init`: what it makes, keeps and refuses."""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path

import pytest
from fakes.viewing import store_with
from fakes.workplace import fake_forge

from envforge.adapters.store import acl
from envforge.adapters.store.store import Store
from envforge.errors import FileNotUsable, InvalidValue, UntrustedStore
from envforge.forge import Forge
from envforge.forge.caching import founding

OURS = next(item for item in grp.getgrall() if item.gr_gid == os.getegid())


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    store = tmp_path / "store"
    return fake_forge(tmp_path, store=store, views=store / "views")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_store_is_made_and_found_again(forge: Forge) -> None:
    first, second = forge.cache.init(), forge.cache.init()

    assert first.is_new
    assert not second.is_new
    assert not first.for_group
    assert first.owner == os.geteuid()
    assert Store.open(forge.settings.store).is_ours


def test_a_groups_store_passes_its_group_on(forge: Forge) -> None:
    made = forge.cache.init(group=OURS.gr_name)

    assert made.for_group
    assert made.group == OURS.gr_name
    folders = [path for path in forge.settings.store.rglob("*") if path.is_dir()]
    assert {mode(path) for path in folders} == {0o2750}
    assert {path.stat().st_gid for path in folders} == {OURS.gr_gid}


def test_a_store_that_is_there_is_opened_to_a_group(forge: Forge, tmp_path: Path) -> None:
    store = store_with(forge.settings.store, b"one", b"two")
    (store.root / "views" / "env" / "ada").mkdir(parents=True)
    (store.root / "views" / "env" / "ada").chmod(0o700)

    forge.cache.init(group=OURS.gr_name)

    assert {mode(path.parent) for path in map(Path, store.blobs())} == {0o2750}
    assert mode(store.root / "views" / "env") == 0o2750
    assert mode(store.root / "views" / "env" / "ada") == 0o700


def test_without_a_group_a_groups_store_stays_one(forge: Forge) -> None:
    forge.cache.init(group=OURS.gr_name)

    assert forge.cache.init().for_group


def test_a_default_acl_is_dropped(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[Path] = []
    monkeypatch.setattr(acl, "writers", lambda path: ("user 1",) if path.name == "parts" else ())
    monkeypatch.setattr(acl, "drop_default", dropped.append)

    forge.cache.init()

    assert dropped == [forge.settings.store / "parts"]


def test_a_group_that_nobody_knows(forge: Forge) -> None:
    with pytest.raises(InvalidValue, match="is not known") as caught:
        forge.cache.init(group="no-such-group")

    assert "groupadd no-such-group" in (caught.value.hint or "")
    assert not forge.settings.store.exists()


def test_a_group_without_a_name_is_a_number() -> None:
    assert founding.grp_name(3_999_999_999) == "3999999999"


def test_a_folder_that_holds_something_else_is_left_alone(forge: Forge) -> None:
    home = forge.settings.store
    home.mkdir(mode=0o700)
    (home / "thesis.tex").write_text("years of work")

    with pytest.raises(InvalidValue, match=r"thesis\.tex"):
        forge.cache.init()

    assert mode(home) == 0o700
    assert [path.name for path in home.iterdir()] == ["thesis.tex"]


def test_a_store_that_was_begun_is_finished(forge: Forge) -> None:
    (forge.settings.store / "parts").mkdir(parents=True)

    assert forge.cache.init().is_new


def test_a_place_that_others_may_write_is_refused(forge: Forge, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)

    with pytest.raises(UntrustedStore, match="may be written by others"):
        forge.cache.init()


def test_a_file_in_the_way(forge: Forge) -> None:
    forge.settings.store.write_text("")

    with pytest.raises(FileNotUsable):
        forge.cache.init()
