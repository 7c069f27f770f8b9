"""Packs made by hand, opened: truthful ones fill the caches, hostile ones leave nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.hub_repos import HubRepo
from fakes.installing import RecordingReporter, make_settings
from fakes.local_channel import LocalChannel
from fakes.packs import NAME, PackMaker, digest
from fakes.prefilling import FILES, lock_of

from envforge.adapters import package_cache
from envforge.adapters.store.store import Store
from envforge.errors import (
    BrokenPack,
    EnvforgeError,
    EnvironmentExists,
    InvalidValue,
    NoStore,
    NotEnoughSpace,
    NotStoreOwner,
    StoreFull,
)
from envforge.forge import Forge
from envforge.formats.models import models_lock_yml
from envforge.model.pack import Unpacked
from envforge.model.prefix import Disk

REPO = "org/name"


def forge_of(folder: Path, **given: Any) -> Forge:
    folder.chmod(0o755)
    return Forge(settings=make_settings(folder, **given), reporter=RecordingReporter())


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def maker(local_channel: LocalChannel) -> PackMaker:
    return PackMaker.of(local_channel, ("greeter", "1.2"), "placeheld")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def unpack(maker: PackMaker, place: Path, **how: Any) -> Unpacked:
    path = maker.write(place.parent / "p.tar")
    return forge_of(place).unpack(path, **how)


def refused(maker: PackMaker, place: Path) -> str:
    """Why; nothing was written."""
    with pytest.raises(BrokenPack) as caught:
        unpack(maker, place)
    assert tree(place) == set()
    return caught.value.reason


# --- good ones ------------------------------------------------------------------------------


def test_a_truthful_one_fills_the_cache_and_the_folder(
    maker: PackMaker, place: Path, local_channel: LocalChannel
) -> None:
    done = unpack(maker, place)

    assert (done.packages, done.wheels, done.models) == (2, 0, 0)
    assert done.folders == (str(place / "envs" / NAME),)
    assert done.read == sum(len(data) for _, _, data in maker.members)
    for package in local_channel.locked(("greeter", "1.2"), "placeheld"):
        assert package_cache.is_cached(place / "pkgs", package)
    lock = place / "envs" / NAME / "conda-lock.yml"
    assert lock.read_bytes() == maker.members[0][2]


def test_a_dry_run_only_proves_it_for_any_platform(maker: PackMaker, place: Path) -> None:
    done = unpack(maker, place, dry_run=True)

    assert done.dry_run
    assert done.index.environments[0].name == NAME
    assert tree(place) == set()


# --- hostile ones ---------------------------------------------------------------------------


def _without_packages(maker: PackMaker) -> None:
    maker.members = [item for item in maker.members if item[1] != "package"]


def _another_lock(maker: PackMaker) -> None:
    name, kind, data = maker.members[0]
    maker.members[0] = (name, kind, data.replace(b"name: greeter", b"name: ../../../evil"))


def _climbing_url(maker: PackMaker) -> None:
    name, kind, data = maker.members[0]
    maker.members[0] = (name, kind, data.replace(b"greeter-1.2", b"..%2F..%2Fevil-1.2"))


def _strange_file(maker: PackMaker) -> None:
    maker.members.append((f"environments/{NAME}/authorized_keys", "environment", b"ssh-rsa"))
    maker.environments[0] = replace(
        maker.environments[0], files=("conda-lock.yml", "authorized_keys")
    )


def _climbing_file(maker: PackMaker) -> None:
    listed = ("conda-lock.yml", "../../.bashrc")
    maker.environments[0] = replace(maker.environments[0], files=listed)


def _climbing_environment(maker: PackMaker) -> None:
    maker.environments[0] = replace(maker.environments[0], name="../../home")


def _no_lock(maker: PackMaker) -> None:
    maker.environments[0] = replace(maker.environments[0], files=())


def _no_environment(maker: PackMaker) -> None:
    maker.environments = []


def _twice(maker: PackMaker) -> None:
    maker.environments = maker.environments * 2


def _no_yaml(maker: PackMaker) -> None:
    maker.members[0] = (maker.members[0][0], "environment", b"version: [1\n")


def _no_utf8(maker: PackMaker) -> None:
    maker.members[0] = (maker.members[0][0], "environment", b"\xff\xfe")


def _no_models(maker: PackMaker) -> None:
    maker.environments[0] = replace(maker.environments[0], models=True)


def _other_platform(maker: PackMaker) -> None:
    maker.platform = "osx-arm64"


HOSTILE: dict[str, tuple[Callable[[PackMaker], None], str]] = {
    "lacks packages": (_without_packages, "it lacks greeter-1.2-pyh0_0.conda"),
    "a package's name": (_another_lock, "a name that no package has"),
    "an archive's name": (_climbing_url, "a name that no package has"),
    "a file of no environment": (_strange_file, "files that no environment has"),
    "a file that climbs": (_climbing_file, "files that no environment has"),
    "an environment that climbs": (_climbing_environment, "it has no `environments/../../home"),
    "no lock": (_no_lock, "files that no environment has"),
    "no environment": (_no_environment, "it lists no environment"),
    "one twice": (_twice, "one of them twice"),
    "no YAML": (_no_yaml, "cannot be used"),
    "no UTF-8": (_no_utf8, "cannot be used"),
    "no models": (_no_models, "cannot be used"),
    "no packages for it": (_other_platform, "nothing for osx-arm64"),
}


@pytest.mark.parametrize("which", HOSTILE)
def test_hostile_ones_leave_nothing(maker: PackMaker, place: Path, which: str) -> None:
    lie, why = HOSTILE[which]
    lie(maker)

    assert why in refused(maker, place)


def test_other_bytes_under_a_packages_name_leave_nothing(maker: PackMaker, place: Path) -> None:
    """Index and receipt agree with them; the lock does not."""
    name, kind, data = maker.members[-1]
    maker.members[-1] = (name, kind, data + b"more")

    assert "it lacks placeheld" in refused(maker, place)


def test_a_package_that_does_not_unpack_leaves_no_folder(
    maker: PackMaker, place: Path, local_channel: LocalChannel
) -> None:
    """Its hash is what the lock says, so it is the lock that is bad."""
    package = replace(local_channel.locked("placeheld")[0], sha256=digest(b"no archive"))
    made = PackMaker(platform=local_channel.subdir)
    made.add_environment(NAME, [package])
    made.members.append((f"packages/{package.filename}", "package", b"no archive"))

    with pytest.raises(EnvforgeError, match="what does not unpack"):
        unpack(made, place)
    assert not (place / "envs").exists()
    assert list((place / "pkgs").iterdir()) == []


# --- what is there --------------------------------------------------------------------------


def test_it_is_for_another_machine(
    maker: PackMaker, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from envforge.forge.packs import unpacking

    monkeypatch.setattr(unpacking, "this_platform", lambda: "osx-arm64")
    with pytest.raises(InvalidValue, match="this machine is osx-arm64"):
        unpack(maker, place)
    assert tree(place) == set()


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    maker: PackMaker, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from envforge.adapters.space_probe import RealSpace

    small = Disk(path=str(place), device=1, free_bytes=100)
    monkeypatch.setattr(RealSpace, "disk", lambda *_: small)
    with pytest.raises(NotEnoughSpace):
        unpack(maker, place)
    assert tree(place) == set()


def test_force_replaces_a_folder_with_all_its_files(maker: PackMaker, place: Path) -> None:
    folder = place / "envs" / NAME
    folder.mkdir(parents=True)
    (folder / "models.yml").write_text("models: []\n")
    (folder / "notes.txt").write_text("mine\n")

    with pytest.raises(EnvironmentExists, match=r"models\.yml is another one") as caught:
        unpack(maker, place)
    assert caught.value.hint == "`--envs FOLDER` unpacks beside it, `--force` replaces it"
    unpack(maker, place, force=True)

    assert {path.name for path in folder.iterdir()} == {"conda-lock.yml", "notes.txt"}


# --- models ---------------------------------------------------------------------------------


@pytest.fixture
def with_models(local_channel: LocalChannel) -> PackMaker:
    """An environment of one package, and a model."""
    repo = HubRepo(id=REPO)
    repo.commit(FILES)
    lock = lock_of(repo)
    [package] = local_channel.locked("placeheld")
    maker = PackMaker(platform=local_channel.subdir)
    maker.add_environment(
        NAME, [package], models=f"models:\n  - {REPO}\n", models_lock=models_lock_yml.write(lock)
    )
    maker.environments[0] = replace(maker.environments[0], models=True)
    archive = local_channel.root / "conda-forge" / package.subdir / package.filename
    maker.members.append((f"packages/{package.filename}", "package", archive.read_bytes()))
    for data in FILES.values():
        maker.members.append((f"models/{digest(data)}", "model", data))
    return maker


def test_models_come_into_the_store_and_a_view(with_models: PackMaker, place: Path) -> None:
    forge_of(place).cache.init()

    first = unpack(with_models, place)
    again = unpack(with_models, place)

    store = Store.open(place / "store")
    assert (first.models, again.models) == (len(FILES), 0)
    assert all(store.holds(digest(data), len(data)) for data in FILES.values())
    [view] = first.views
    shown = [path.read_bytes() for path in Path(view).rglob("snapshots/**/*") if path.is_file()]
    assert sorted(shown) == sorted(FILES.values())
    assert forge_of(place).cache.verify(deep=True).flaws == ()


def test_without_a_store_nothing_is_touched_unless_models_are_left(
    with_models: PackMaker, place: Path
) -> None:
    with pytest.raises(NoStore):
        unpack(with_models, place)
    assert tree(place) == set()

    done = unpack(with_models, place, models=False)
    assert (done.packages, done.models) == (1, 0)


def test_models_that_are_not_whole_are_told(with_models: PackMaker, place: Path) -> None:
    with_models.members = [item for item in with_models.members if item[2] != FILES["config.json"]]

    assert "org/name/config.json" in refused(with_models, place)


def test_models_that_leave_their_folder_are_told(with_models: PackMaker, place: Path) -> None:
    changed = [
        (name, kind, data.replace(b"path: config.json", b"path: ../../config.json"))
        if name.endswith("models-lock.yml")
        else (name, kind, data)
        for name, kind, data in with_models.members
    ]
    with_models.members = changed

    assert "does not stay in its folder" in refused(with_models, place)


def test_a_lock_of_models_that_nobody_asked_for_is_told(
    with_models: PackMaker, place: Path
) -> None:
    changed = [
        (name, kind, b"models:\n  - other/one\n" if name.endswith("/models.yml") else data)
        for name, kind, data in with_models.members
    ]
    with_models.members = changed

    assert "is not current" in refused(with_models, place)


def test_a_store_that_is_too_small_is_told_before_anything_is_written(
    with_models: PackMaker, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from envforge.adapters.space_probe import RealSpace

    forge_of(place).cache.init()
    before, real = tree(place), RealSpace.disk

    def disk(self: RealSpace, folder: Path) -> Disk:
        found = real(self, folder)
        return replace(found, free_bytes=10) if folder == place / "store" else found

    monkeypatch.setattr(RealSpace, "disk", disk)
    with pytest.raises(StoreFull):
        unpack(with_models, place)
    assert tree(place) == before


def test_somebody_elses_store_is_left_alone(
    with_models: PackMaker, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge_of(place).cache.init()
    unpack(with_models, place)
    monkeypatch.setattr(Store, "is_ours", property(lambda _: False))

    assert unpack(with_models, place).models == 0  # all is there
    Store(place / "store").path(digest(FILES["config.json"])).unlink()
    with pytest.raises(NotStoreOwner):
        unpack(with_models, place)
