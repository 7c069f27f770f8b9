"""`ModelCache.view` and `.variables`: which models, for whom, where."""

from __future__ import annotations

import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.installing import RecordingReporter, make_settings
from fakes.viewing import BERT, C1, C2, model, sha256, store_with, write_environment

from envforge.adapters.store.store import Store
from envforge.adapters.store.trees import registry
from envforge.adapters.users import folder_of
from envforge.errors import InvalidValue, NoStore, NoSuchEnvironment, NotCached, StaleLock
from envforge.forge.caching.front import ModelCache
from envforge.forge.workplace import Workplace

US = folder_of(os.geteuid())
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can work for others")
OTHER = model({"config.json": b"{}"}, repo="other", commit=C2, revision="v2")


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    """A store, environment `nlp` with BERT and `cv` with another model."""
    store = store_with(tmp_path / "store", *BERT.values(), b"{}", b"new").root
    settings = make_settings(tmp_path, store=store, views=store / "views")
    write_environment(settings.envs_folder / "nlp", model())
    write_environment(settings.envs_folder / "cv", OTHER)
    return Workplace(settings=settings, reporter=RecordingReporter())


@pytest.fixture
def cache(workplace: Workplace) -> ModelCache:
    return ModelCache(workplace)


def test_an_environments_view(cache: ModelCache, workplace: Workplace) -> None:
    [result] = cache.view("nlp")

    path = workplace.settings.views / "env" / US / "nlp"
    assert result.path == str(path)
    assert (result.environment, result.owner, result.layout) == ("nlp", os.geteuid(), "hub")
    assert (path / "models--org--bert/refs/main").read_text() == C1
    assert not (path / "models--other").exists()
    assert registry.find(workplace.settings.store, str(path)) is not None
    assert workplace.reporter.steps == [f"linking {path}"]  # type: ignore[attr-defined]


def test_an_environment_may_be_named_by_its_folder(
    cache: ModelCache, workplace: Workplace, tmp_path: Path
) -> None:
    [by_path] = cache.view(str(workplace.settings.envs_folder / "nlp"))
    [by_name] = cache.view("nlp")

    assert by_path.path == by_name.path
    assert by_name.placed == 0


def test_a_folder_shows_all_or_those_named(cache: ModelCache, tmp_path: Path) -> None:
    [both] = cache.view(str(tmp_path / "both"))
    [one] = cache.view(str(tmp_path / "one"), environments=["cv"])

    assert {m.repo.id for m in both.models} == {"org/bert", "other"}
    assert {m.repo.id for m in one.models} == {"other"}
    assert both.environment == ""
    assert (tmp_path / "both/models--other/refs/v2").read_text() == C2


def test_a_folder_is_relative_to_where_we_are(
    cache: ModelCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    [result] = cache.view("./models/../here", environments=["cv"])

    assert result.path == str(tmp_path / "here")


def test_a_users_view(cache: ModelCache, workplace: Workplace) -> None:
    [result] = cache.view(pwd.getpwuid(os.geteuid()).pw_name)

    assert result.path == str(workplace.settings.views / "user" / US)
    assert {m.repo.id for m in result.models} == {"org/bert", "other"}


def test_the_later_environment_wins(
    cache: ModelCache, workplace: Workplace, tmp_path: Path
) -> None:
    write_environment(
        workplace.settings.envs_folder / "newer", model({"config.json": b"{}"}, commit=C2)
    )
    target = str(tmp_path / "v")

    [result] = cache.view(target, environments=["nlp", "newer"])
    assert "`main` means 2222222 here" in result.notes[0]
    assert (tmp_path / "v/models--org--bert/refs/main").read_text() == C2
    cache.view(target, environments=["newer", "nlp"])
    assert (tmp_path / "v/models--org--bert/refs/main").read_text() == C1


def test_what_is_named_by_nothing(cache: ModelCache) -> None:
    with pytest.raises(NoSuchEnvironment, match="nlq"):
        cache.view("nlq")
    with pytest.raises(InvalidValue, match="user `nobody-here` is not known"):
        cache.view("nlp", user="nobody-here")
    with pytest.raises(InvalidValue, match="shows its own models"):
        cache.view("nlp", environments=["cv"])


def test_an_environment_without_models(
    cache: ModelCache, workplace: Workplace, tmp_path: Path
) -> None:
    write_environment(workplace.settings.envs_folder / "bare")
    with pytest.raises(InvalidValue, match="environment `bare` has no models") as caught:
        cache.view("bare")
    assert "envforge cache lock" in (caught.value.hint or "")
    empty = Workplace(settings=replace(workplace.settings, envs_folder=tmp_path / "none"))
    with pytest.raises(InvalidValue, match=r"`.*/none` has none with models"):
        ModelCache(empty).view("./x")
    with pytest.raises(InvalidValue, match="environment `bare` has no models"):
        cache.view("./x", environments=["nlp", "bare"])


def test_a_stale_lock_is_refused(cache: ModelCache, workplace: Workplace) -> None:
    (workplace.settings.envs_folder / "nlp/models.yml").write_text("models:\n  - org/gpt\n")

    with pytest.raises(StaleLock):
        cache.view("nlp")


def test_no_store(workplace: Workplace, tmp_path: Path) -> None:
    settings = replace(workplace.settings, store=tmp_path / "none")
    with pytest.raises(NoStore):
        ModelCache(Workplace(settings=settings)).view("nlp")


@ROOT_ONLY
def test_views_for_others_are_theirs(
    cache: ModelCache, workplace: Workplace, tmp_path: Path
) -> None:
    home = tmp_path / "home-of-64101"
    home.mkdir()
    os.chown(home, 64101, 64101)

    [env] = cache.view("nlp", user="64101")
    [folder] = cache.view(str(home / "hub"), environments=["nlp"])

    assert env.path == str(workplace.settings.views / "env/64101/nlp")
    assert env.owner == folder.owner == 64101
    for path in (Path(env.path), home / "hub", home / "hub/models--org--bert/refs/main"):
        assert path.stat().st_uid == 64101
    blob = home / "hub/models--org--bert/blobs" / sha256(BERT["model.safetensors"])
    assert blob.stat().st_uid == 0
    assert not env.notes


@ROOT_ONLY
def test_root_by_sudo_is_told_whose_view_it_is(workplace: Workplace) -> None:
    settings = replace(workplace.settings, environment={"SUDO_USER": "ada"})
    place = Workplace(settings=settings, reporter=RecordingReporter())
    ModelCache(place).view("nlp", user="0")
    assert place.reporter.notes == []  # type: ignore[attr-defined]

    ModelCache(place).view("nlp")

    assert place.reporter.notes == ["this is root's view; ada's is `--for ada`"]  # type: ignore[attr-defined]


# --- flat -----------------------------------------------------------------------------------


def test_old_transformers_get_a_flat_view_too(cache: ModelCache, workplace: Workplace) -> None:
    folder = workplace.settings.envs_folder / "nlp"
    for version, layouts in {"4.22.0": ["hub"], "4.18.0": ["hub", "flat"]}.items():
        write_environment(folder, model(), transformers=version)
        assert [result.layout for result in cache.view("nlp")] == layouts

    assert [result.layout for result in cache.view("nlp", flat=True)] == ["hub", "flat"]
    write_environment(folder, model(), transformers="4.18.0")
    hub, flat = cache.view("nlp")
    assert len(list(Path(flat.path).iterdir())) == 16
    assert flat.path == f"{hub.path}.flat"
    assert cache.variables("nlp").variables["TRANSFORMERS_CACHE"] == flat.path
    assert cache.variables("nlp").flat == flat.path


def test_a_flat_view_holds_no_old_lock(cache: ModelCache, workplace: Workplace) -> None:
    """Also where nobody needs it any more: its links keep files from collection."""
    cache.view("nlp", flat=True)
    newer = model({"config.json": b"{}"}, commit=C2)
    write_environment(workplace.settings.envs_folder / "nlp", newer, transformers="5.0.0")

    _, flat = cache.view("nlp")
    assert (flat.files, flat.removed) == (2, 8)
    assert store_links(workplace, BERT["model.safetensors"]) == 1

    _, gone = cache.view("nlp", flat=False)
    assert (gone.models, gone.removed) == ((), 2)
    assert not Path(gone.path).exists()
    assert registry.find(workplace.settings.store, gone.path) is None
    assert [result.layout for result in cache.view("nlp", flat=False)] == ["hub"]


def store_links(workplace: Workplace, data: bytes) -> int:
    return Store(workplace.settings.store).path(sha256(data)).stat().st_nlink


def test_a_view_is_taken_away(cache: ModelCache, workplace: Workplace) -> None:
    with pytest.raises(NotCached, match="a view for `nlp`"):
        cache.remove_view("nlp")
    [made, _] = cache.view("nlp", flat=True)

    flat, hub = cache.remove_view("nlp")

    assert (flat.layout, hub.layout) == ("flat", "hub")
    assert not Path(made.path).exists()
    assert registry.views(workplace.settings.store) == ()
    assert store_links(workplace, BERT["model.safetensors"]) == 1


def test_what_clients_added_outlives_the_view(cache: ModelCache, workplace: Workplace) -> None:
    [made] = cache.view("nlp")
    added = Path(made.path) / "models--org--theirs/blobs/x"
    added.parent.mkdir(parents=True)
    added.write_text("theirs")

    cache.remove_view("nlp")

    assert [p for p in Path(made.path).rglob("*") if p.is_file()] == [added]
    assert registry.find(workplace.settings.store, made.path) is not None


def test_what_is_installed_counts_more_than_what_is_locked(
    cache: ModelCache, workplace: Workplace
) -> None:
    write_environment(workplace.settings.envs_folder / "nlp", model(), transformers="4.18.0")
    prefix = workplace.settings.prefixes / "nlp"
    (prefix / "conda-meta").mkdir(parents=True)
    (prefix / "lib/python3.11/site-packages/transformers-5.1.0.dist-info").mkdir(parents=True)

    assert [result.layout for result in cache.view("nlp")] == ["hub"]
    assert "TRANSFORMERS_CACHE" not in cache.variables("nlp").variables


def test_a_broken_lock_of_packages_is_in_nobodys_way(
    cache: ModelCache, workplace: Workplace
) -> None:
    (workplace.settings.envs_folder / "nlp/conda-lock.yml").write_text("version: [")

    [result] = cache.view("nlp")

    assert result.layout == "hub"
    assert "--flat" in workplace.reporter.warnings[0]  # type: ignore[attr-defined]


def test_the_flat_view_follows_the_endpoint(workplace: Workplace) -> None:
    settings = replace(workplace.settings, environment={"HF_ENDPOINT": "http://hub/"})

    [_, flat] = ModelCache(Workplace(settings=settings)).view("nlp", flat=True)

    metadata = next(Path(flat.path).glob("*.json")).read_text()
    assert '"url": "http://hub/org/bert/resolve/' in metadata


# --- variables ------------------------------------------------------------------------------


def test_variables_name_the_view(cache: ModelCache, workplace: Workplace, tmp_path: Path) -> None:
    with pytest.raises(NotCached, match="a view for `nlp`") as caught:
        cache.variables("nlp")
    assert caught.value.hint == "make one: `envforge cache view nlp`"
    cache.view("nlp")
    cache.view(str(tmp_path / "v"))

    found = cache.variables("nlp")
    assert found.view == str(workplace.settings.views / "env" / US / "nlp")
    assert found.variables == dict.fromkeys(
        ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE"), found.view
    )
    assert cache.variables("nlp", offline=True).variables["HF_HUB_OFFLINE"] == "1"
    assert cache.variables(str(tmp_path / "v")).view == str(tmp_path / "v")
    with pytest.raises(NotCached):
        cache.variables("nlp", user="64199")
