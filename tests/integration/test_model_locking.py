"""`cache lock`, `check`, `diff` and `--model`: from a hub over loopback HTTP to the two files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.command_line import Run, run_envforge
from fakes.hub_repos import HubRepo
from fakes.local_hub import Fault, LocalHub
from fakes.workplace import FakeWorkplace, fake_forge, make_environment, notes_of, workplace_of

from envforge.adapters.store.store import Store
from envforge.cli import options
from envforge.errors import (
    EnvironmentExists,
    HostileRepo,
    InvalidFile,
    InvalidValue,
    NoSuchEnvironment,
    NoSuchModel,
    StaleLock,
    Unreachable,
    WrongBytes,
)
from envforge.forge import Forge
from envforge.forge.caching import model_files
from envforge.formats.models import models_lock_yml
from envforge.model.models import ModelsLock

NAME = "p-torch27-cu126"
WEIGHTS = bytes(range(256)) * 40
FILES = {"config.json": '{"a": 1}', "vocab.txt": "a\nb\n", "model.safetensors": WEIGHTS}
SMALL = len(FILES["config.json"]) + len(FILES["vocab.txt"])


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as hub:
        yield hub


@pytest.fixture
def repo(hub: LocalHub) -> HubRepo:
    repo = hub.add("org/name", FILES)
    repo.tag("v1")
    return repo


@pytest.fixture
def forge(tmp_path: Path, hub: LocalHub) -> Forge:
    environment = {"HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url}
    store = tmp_path / "store"
    return fake_forge(tmp_path, store=store, views=store / "views", environment=environment)


@pytest.fixture
def folder(forge: Forge) -> Path:
    return make_environment(forge)


@pytest.fixture
def run(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(options, "make_forge", lambda *_: forge)
    return run_envforge


def locked(folder: Path) -> ModelsLock:
    text = (folder / "models-lock.yml").read_text(encoding="utf-8")
    return models_lock_yml.read(text, "models-lock.yml")


# --- lock -----------------------------------------------------------------------------------


def test_both_files_are_written(forge: Forge, folder: Path, repo: HubRepo) -> None:
    result = forge.cache.lock("p", models=("org/name", "org/name@v1:tokenizer-only"))

    assert result.outcome == "written"
    assert (folder / "models.yml").read_text().splitlines()[-4:] == [
        "  - org/name",
        "  - repo: org/name",
        "    revision: v1",
        "    only: tokenizer-only",
    ]
    whole, tokenizer = locked(folder).models
    assert (whole.commit, tokenizer.commit) == (repo.head, repo.head)
    assert [item.path for item in whole.files] == sorted(FILES)
    assert {item.path: (item.size, item.sha256, item.blob) for item in whole.files} == {
        path: (blob.size, blob.sha256, blob.etag) for path, blob in repo.files.items()
    }
    assert [item.path for item in tokenizer.files] == ["config.json", "vocab.txt"]
    assert result.lock == locked(folder)


def test_only_small_files_are_fetched_and_only_once(
    forge: Forge, folder: Path, repo: HubRepo, hub: LocalHub
) -> None:
    forge.cache.lock("p", models=("org/name",))
    assert hub.payload_bytes == SMALL
    before = (folder / "models-lock.yml").read_bytes()

    again = forge.cache.lock("p")
    (folder / "models-lock.yml").unlink()
    forge.cache.lock("p")

    assert again.outcome == "unchanged"
    assert hub.payload_bytes == SMALL
    assert (folder / "models-lock.yml").read_bytes() == before


def test_what_the_store_knows_is_not_fetched(
    forge: Forge, folder: Path, repo: HubRepo, hub: LocalHub
) -> None:
    store = Store.create(forge.settings.store)
    for blob in repo.files.values():
        if not blob.lfs:
            store.name(blob.oid, blob.sha256)

    forge.cache.lock("p", models=("org/name",))

    assert hub.payload_bytes == 0
    assert {item.sha256 for item in locked(folder).models[0].files} == {
        blob.sha256 for blob in repo.files.values()
    }


def test_a_store_that_others_may_write_is_not_asked(
    forge: Forge, folder: Path, repo: HubRepo, hub: LocalHub
) -> None:
    store = Store.create(forge.settings.store)
    store.name(repo.files["config.json"].oid, "0" * 64)
    store.root.chmod(0o777)

    forge.cache.lock("p", models=("org/name",))

    assert hub.payload_bytes == SMALL
    assert all(item.sha256 != "0" * 64 for item in locked(folder).models[0].files)
    assert "not safe as a store" in workplace_of(forge).reporter.warnings[0]


def test_lock_moves_and_keep_does_not(forge: Forge, folder: Path, repo: HubRepo) -> None:
    forge.cache.lock("p", models=("org/name", "org/name@v1"))
    first = repo.head
    second = repo.commit({"config.json": "{}", "new.txt": "n"}, removed=("vocab.txt",))

    kept = forge.cache.lock("p", keep=True)
    assert (kept.outcome, kept.changes) == ("unchanged", ())
    moved = forge.cache.lock("p")

    [change] = moved.changes
    assert (change.before, change.after) == (first, second)
    assert [file.path for file in change.files] == ["config.json", "new.txt", "vocab.txt"]
    assert [model.commit for model in locked(folder).models] == [second, first]


def test_keep_needs_no_network(forge: Forge, folder: Path, repo: HubRepo, hub: LocalHub) -> None:
    forge.cache.lock("p", models=("org/name",))
    hub.forget()

    forge.cache.lock("p", keep=True)

    assert hub.log == []


def test_keep_looks_up_what_is_new(forge: Forge, folder: Path, repo: HubRepo) -> None:
    first = repo.head
    forge.cache.lock("p", models=("org/name",))
    second = repo.commit({"config.json": "{}"})

    forge.cache.lock("p", models=("org/name@main:tokenizer-only", f"org/name@{first}"), keep=True)

    assert {m.request.revision: m.commit for m in locked(folder).models} == {
        "main": second,  # other files were asked for: looked up anew
        first: first,
    }


def test_a_dry_run_writes_nothing(forge: Forge, folder: Path, repo: HubRepo) -> None:
    result = forge.cache.lock("p", models=("org/name",), dry_run=True)

    assert result.outcome == "planned"
    assert len(result.lock.models) == 1
    assert not (folder / "models.yml").exists()
    assert not (folder / "models-lock.yml").exists()


def test_a_model_that_was_taken_out(forge: Forge, folder: Path, repo: HubRepo) -> None:
    forge.cache.lock("p", models=("org/name", "org/name@v1"))
    text = (folder / "models.yml").read_text()
    (folder / "models.yml").write_text(text.replace("  - org/name@v1\n", ""))

    result = forge.cache.lock("p")

    assert [(change.revision, change.after) for change in result.changes] == [("v1", "")]


def test_a_broken_lock_is_written_anew(forge: Forge, folder: Path, repo: HubRepo) -> None:
    forge.cache.lock("p", models=("org/name",))
    whole = (folder / "models-lock.yml").read_text()
    (folder / "models-lock.yml").write_text(whole[:200])

    forge.cache.lock("p")

    assert (folder / "models-lock.yml").read_text() == whole
    assert "written anew" in workplace_of(forge).reporter.warnings[0]


@pytest.mark.parametrize(
    "case",
    [
        (Fault(wrong_bytes=True), WrongBytes),
        (Fault(missing=True), NoSuchModel),
        (Fault(status=418), Unreachable),
    ],
)
def test_a_failure_leaves_both_files_as_they_were(
    forge: Forge, folder: Path, repo: HubRepo, hub: LocalHub, case: tuple[Fault, type[Exception]]
) -> None:
    fault, error = case
    forge.cache.lock("p", models=("org/name",))
    before = {path: path.read_bytes() for path in folder.glob("models*")}
    repo.commit({"new.txt": "n", "config.json": "new"})
    hub.faults["new.txt"] = fault

    with pytest.raises(error):
        forge.cache.lock("p", models=("org/name@v1",))

    assert {path: path.read_bytes() for path in folder.glob("models*")} == before


def test_a_failure_forgets_no_hash(
    forge: Forge, folder: Path, hub: LocalHub, repo: HubRepo
) -> None:
    hub.add("org/bad", {"bad.txt": "x"})
    hub.faults["bad.txt"] = Fault(status=418, delay=0.5)

    with pytest.raises(Unreachable):
        forge.cache.lock("p", models=("org/name", "org/bad"))
    hub.forget()
    hub.faults.clear()
    forge.cache.lock("p", models=("org/name", "org/bad"))

    assert hub.payload_bytes == 1


def test_a_cache_that_cannot_be_written_costs_time_only(
    forge: Forge, folder: Path, repo: HubRepo
) -> None:
    (forge.settings.cache / "model-names.txt").mkdir(parents=True)

    assert forge.cache.lock("p", models=("org/name",)).outcome == "written"

    assert "fetched again next time" in workplace_of(forge).reporter.warnings[-1]


def test_no_models_yet(forge: Forge, folder: Path) -> None:
    with pytest.raises(InvalidFile) as caught:
        forge.cache.lock("p")

    assert caught.value.hint == f"`envforge cache lock {NAME} --model org/name` makes it"


def test_a_folder_of_models_alone(forge: Forge, tmp_path: Path, repo: HubRepo) -> None:
    """A folder by its path needs no environment."""
    folder = tmp_path / "shared-models"
    folder.mkdir()
    (folder / "models.yml").write_text("models: [org/name]\n")

    assert forge.cache.lock(str(folder)).outcome == "written"
    assert forge.cache.check([str(folder / "models.yml")])[0].disagreements == ()
    assert forge.cache.check([str(folder)])[0].disagreements == ()


def test_no_such_environment(forge: Forge) -> None:
    with pytest.raises(NoSuchEnvironment):
        forge.cache.lock("nope", models=("org/name",))


# --- check ----------------------------------------------------------------------------------


def test_check(forge: Forge, folder: Path, repo: HubRepo, hub: LocalHub) -> None:
    assert forge.cache.check() == ()
    forge.cache.lock("p", models=("org/name",))
    hub.forget()

    [state] = forge.cache.check()
    assert (state.name, state.disagreements) == (NAME, ())

    with (folder / "models.yml").open("a") as stream:
        stream.write("  - org/other\n")
    [state] = forge.cache.check(["p"])
    assert state.disagreements == ("`org/other@main` is not locked",)

    (folder / "models-lock.yml").unlink()
    assert forge.cache.check()[0].disagreements == ("there is no models-lock.yml",)
    assert hub.log == []


def test_a_lock_without_its_source(forge: Forge, folder: Path, repo: HubRepo) -> None:
    forge.cache.lock("p", models=("org/name",))
    (folder / "models.yml").unlink()

    assert forge.cache.check()[0].disagreements == ("there is a models-lock.yml and no models.yml",)


def test_an_environment_without_models(forge: Forge, folder: Path) -> None:
    with pytest.raises(InvalidValue, match="has no models"):
        forge.cache.check(["p"])


def test_a_hostile_lock(forge: Forge, folder: Path, repo: HubRepo) -> None:
    forge.cache.lock("p", models=("org/name",))
    lock = folder / "models-lock.yml"
    lock.write_text(lock.read_text().replace("path: vocab.txt", "path: ../../vocab.txt"))

    with pytest.raises(HostileRepo):
        forge.cache.check()


def test_the_current_lock(forge: Forge, folder: Path, repo: HubRepo) -> None:
    """What other tasks begin with."""
    workplace: FakeWorkplace = workplace_of(forge)
    assert model_files.current_lock(workplace, "p") == ModelsLock(models=())
    (folder / "models.yml").write_text("models: [org/name]\n")

    with pytest.raises(StaleLock) as caught:
        model_files.current_lock(workplace, "p")
    assert str(folder / "models-lock.yml") in str(caught.value)
    assert caught.value.hint == f"`envforge cache lock {NAME}`"

    forge.cache.lock("p")
    assert model_files.current_lock(workplace, "p") == locked(folder)


# --- diff -----------------------------------------------------------------------------------


def test_diff_with_the_hub(forge: Forge, folder: Path, repo: HubRepo) -> None:
    forge.cache.lock("p", models=("org/name",))
    assert forge.cache.diff("p") == ()
    repo.commit({"vocab.txt": "c"})

    [change] = forge.cache.diff("p")

    assert [(file.path, file.before, file.after) for file in change.files] == [("vocab.txt", 4, 1)]
    assert locked(folder).models[0].commit != repo.head


def test_diff_of_two_locks(forge: Forge, folder: Path, repo: HubRepo, tmp_path: Path) -> None:
    forge.cache.lock("p", models=("org/name",))
    old = tmp_path / "old.yml"
    old.write_bytes((folder / "models-lock.yml").read_bytes())
    repo.commit({"vocab.txt": "c"})
    forge.cache.lock("p")

    [change] = forge.cache.diff(str(old), "p")

    assert change.after == repo.head
    assert forge.cache.diff("p", str(folder / "models.yml")) == ()


def test_diff_without_a_lock(forge: Forge, folder: Path) -> None:
    with pytest.raises(InvalidFile) as caught:
        forge.cache.diff("p", "p")

    assert caught.value.hint == f"`envforge cache lock {NAME}` makes it"


# --- with the environment -------------------------------------------------------------------


def test_create_with_models(forge: Forge, repo: HubRepo) -> None:
    result = forge.create(
        "p", torch="2.7.1", cuda="12.6", python="3.10", models=("org/name", "org/name@v1")
    )

    assert result.lock.models is not None
    assert result.lock.models.outcome == "written"
    assert len(locked(result.lock.folder).models) == 2
    assert forge.cache.check()[0].disagreements == ()


def test_create_again_keeps_what_is_locked(forge: Forge, repo: HubRepo) -> None:
    asked = {"torch": "2.7.1", "cuda": "12.6", "python": "3.10", "models": ("org/name",)}
    first = forge.create("p", **asked)
    repo.commit({"vocab.txt": "c"})

    again = forge.create("p", **asked)

    assert again.lock.models is not None
    assert again.lock.models.outcome == "unchanged"
    assert again.lock.models.lock == first.lock.models.lock  # type: ignore[union-attr]


def test_a_model_that_does_not_exist_stops_create_before_it_begins(forge: Forge) -> None:
    with pytest.raises(NoSuchModel):
        forge.create("p", torch="2.7.1", cuda="12.6", python="3.10", models=("no/such",))

    assert forge.names() == ()


def test_a_slip_is_told_before_anything_is_asked(forge: Forge, hub: LocalHub) -> None:
    with pytest.raises(InvalidValue, match="is no repository"):
        forge.create("p", torch="2.7.1", cuda="12.6", models=("a/b/c",))

    assert hub.log == []


def test_another_request_writes_no_models(forge: Forge, folder: Path, repo: HubRepo) -> None:
    with pytest.raises(EnvironmentExists):
        forge.lock(
            "p",
            torch="2.7.1",
            cuda="12.6",
            python="3.10",
            packages=("numpy",),
            models=("org/name",),
        )

    assert not (folder / "models.yml").exists()


def test_create_dry_run(forge: Forge, repo: HubRepo) -> None:
    result = forge.create(
        "p", torch="2.7.1", cuda="12.6", python="3.10", models=("org/name",), dry_run=True
    )

    assert result.lock.models is not None
    assert result.lock.models.outcome == "planned"
    assert not result.lock.folder.exists()


def test_lock_adds_models_to_an_environment(forge: Forge, folder: Path, repo: HubRepo) -> None:
    result = forge.lock("p", models=("org/name",))

    assert result.models is not None
    assert locked(folder) == result.models.lock


# --- the commands ---------------------------------------------------------------------------


def test_the_commands(run: Run, folder: Path, repo: HubRepo) -> None:
    done = run("cache", "lock", "p", "--model", "org/name", "--model", "org/name@v1")
    assert done.out.splitlines()[0] == f"locked {folder}: 2 models, 10.3 kB"
    assert repo.head[:12] in done.out
    assert done.out.splitlines()[-1] == f"next: envforge cache prefill {NAME}"

    assert run("cache", "check").out == f"current {NAME}: 2 models, 10.3 kB\n"
    assert run("cache", "diff", "p").out == "nothing moved\n"
    old = (folder / "models-lock.yml").read_text()
    was = repo.head
    repo.commit({"vocab.txt": "c", "new.txt": "n"}, removed=("config.json",))
    expected = [
        f"org/name@main  {was[:12]} -> {repo.head[:12]}",
        "  -  config.json  8 B",
        "  +  new.txt      1 B",
        "  ~  vocab.txt    4 B -> 1 B",
    ]
    assert run("cache", "diff", "p").out.splitlines() == expected
    moved = run("cache", "lock", "p")
    assert f"was {was[:12]}" in moved.out
    assert run("cache", "diff", "-", "p", stdin=old).out.splitlines() == expected
    assert all(len(line) <= 80 for line in moved.out.splitlines()[1:])


def test_a_stale_lock_ends_with_1_and_the_command_that_mends_it(
    run: Run, folder: Path, repo: HubRepo
) -> None:
    run("cache", "lock", "p", "--model", "org/name")
    (folder / "models.yml").write_text("models:\n  - org/name@v1\n")

    done = run("cache", "check", "p")

    assert done.status == 1
    assert done.out.splitlines() == [
        f"stale {NAME}",
        "  `org/name@v1` is not locked",
        "  `org/name@main` is locked, but not asked for",
        f"  mend: envforge cache lock {NAME} --keep",
    ]
    mended = run("cache", "lock", NAME, "--keep")
    assert "  no longer locked: org/name@main" in mended.out.splitlines()
    assert run("cache", "check", "p").status == 0


def test_nothing_to_check(run: Run, folder: Path) -> None:
    said = "no environment has models: `envforge cache lock ENV --model org/name` adds one\n"
    assert run("cache", "check").out == said


def test_many_changed_files_are_counted(run: Run, folder: Path, repo: HubRepo) -> None:
    run("cache", "lock", "p", "--model", "org/name")
    repo.commit({f"{n}.txt": "x" for n in range(30)})

    assert run("cache", "diff", "p").out.splitlines()[-1] == (
        "  and 18 files more: --json lists all"
    )


def test_documents(run: Run, folder: Path, repo: HubRepo) -> None:
    document = run("cache", "lock", "p", "--model", "org/name", "--json").json
    assert document["schema"] == "envforge.cache-lock/1"
    assert (document["name"], document["outcome"]) == (NAME, "written")
    [model] = document["models"]
    assert (model["repo"], model["revision"], model["commit"]) == ("org/name", "main", repo.head)
    assert model["bytes"] == len(WEIGHTS) + SMALL
    assert len(model["files"]) == len(FILES)
    assert document["changes"][0]["from"] is None

    assert run("cache", "check", "--json").json["environments"][0]["current"] is True
    repo.commit({"vocab.txt": "c"})
    document = run("cache", "diff", "p", "--json").json
    assert document["schema"] == "envforge.cache-diff/1"
    assert document["changes"][0]["files"] == [
        {"path": "vocab.txt", "from_bytes": 4, "to_bytes": 1}
    ]


def test_create_shows_the_models(run: Run, repo: HubRepo) -> None:
    request = ("create", "p", "--torch", "2.7.1", "--cuda", "12.6", "--python", "3.10")

    shown = run(*request, "--model", "org/name", "--dry-run").out
    document = json.loads(run(*request, "--model", "org/name", "--json").out)

    assert "1 model, 10.3 kB" in shown
    assert document["lock"]["models"]["models"][0]["repo"] == "org/name"


def test_no_token_reaches_a_file(
    forge: Forge, folder: Path, hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/private", FILES, private=True)
    hub.tokens["hf_very_secret"] = frozenset({"org/private"})
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")

    forge.cache.lock("p", models=("org/private",))

    assert any(one.with_token for one in hub.log)
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert b"hf_very_secret" not in path.read_bytes(), path
    assert not any("hf_very_secret" in note for note in notes_of(forge))
    assert "HF_TOKEN" in os.environ


def test_create_fetches_the_models_where_there_is_a_store(
    forge: Forge, repo: HubRepo, hub: LocalHub
) -> None:
    store = Store.create(forge.settings.store)
    asked = {"torch": "2.7.1", "cuda": "12.6", "python": "3.10"}

    first = forge.create("p", **asked, models=("org/name",))

    assert all(store.size(blob.sha256) == blob.size for blob in repo.files.values())
    assert first.prefill is not None
    assert first.prefill.fetched.files == len(FILES)
    hub.forget()
    again = forge.create("p", **asked)  # it knows its models without being told
    assert again.prefill is not None
    assert again.prefill.fetched.files == 0
    assert hub.log == []


def test_create_without_a_store_says_what_is_left_to_do(forge: Forge, repo: HubRepo) -> None:
    result = forge.create("p", torch="2.7.1", cuda="12.6", python="3.10", models=("org/name",))

    assert result.prefill is None
    assert f"`envforge cache prefill {NAME}` fetches the models" in notes_of(forge)[-1]


def test_create_with_somebody_elses_store(
    forge: Forge, repo: HubRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.create(forge.settings.store)
    monkeypatch.setattr(Store, "is_ours", False)

    result = forge.create("p", torch="2.7.1", cuda="12.6", python="3.10", models=("org/name",))

    assert result.prefill is None
    assert "belongs to somebody else" in notes_of(forge)[-1]
