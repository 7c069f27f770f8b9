"""`envforge cache view` and `envforge cache env`."""

from __future__ import annotations

import errno
import os
import shlex
from pathlib import Path

import pytest
from fakes.command_line import Run
from fakes.viewing import BERT, C1, C2, model, store_with, write_environment

from envforge.adapters.store.store import Store
from envforge.adapters.users import folder_of

US = folder_of(os.geteuid())


@pytest.fixture
def given(tmp_path: Path) -> tuple[str, ...]:
    """Options for a store, and a folder with environment `nlp`."""
    store_with(tmp_path / "store", *BERT.values(), b"{}")
    write_environment(
        tmp_path / "envs/nlp", model(), model({"d": b"{}"}, kind="dataset", revision=C1)
    )
    return ("--store", str(tmp_path / "store"), "--envs", str(tmp_path / "envs"))


def test_what_was_made_and_what_is_next(run: Run, given: tuple[str, ...], tmp_path: Path) -> None:
    done = run("cache", "view", "nlp", *given)

    assert done.status == 0, done.err
    assert done.out.splitlines() == [
        f"view {tmp_path}/store/views/env/{US}/nlp",
        "  5 files, 4 new",
        "  dataset:org/bert  1111111",
        "  org/bert          1111111  main",
        f'next: eval "$(envforge cache env {" ".join(given)} nlp)"',
    ]
    again = run("cache", "view", "nlp", *given)
    assert "  5 files, 0 new" in again.out


def test_what_a_new_lock_drops_is_told(run: Run, given: tuple[str, ...], tmp_path: Path) -> None:
    run("cache", "view", "nlp", *given)
    write_environment(tmp_path / "envs/nlp", model({"config.json": b"{}"}, commit=C2))

    done = run("cache", "view", "nlp", *given)

    assert "  1 file, 1 new, 10 removed" in done.out


def test_taking_it_away(run: Run, given: tuple[str, ...], tmp_path: Path) -> None:
    run("cache", "view", "nlp", *given)
    path = tmp_path / "store/views/env" / US / "nlp"
    (path / "mine").write_text("x")

    kept = run("cache", "view", "nlp", "--remove", *given)
    assert kept.out == f"removed {path}: 11 names and files; what clients added stays\n"
    (path / "mine").unlink()
    assert run("cache", "view", "nlp", "--remove", *given).out.startswith(f"removed {path}: 0 ")

    assert run("cache", "view", "nlp", "--remove", *given).status == 6


def test_copies_come_first(
    run: Run, given: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Store, "link", refuse)

    done = run("cache", "view", "nlp", *given)

    first = done.out.splitlines()[0]
    assert first.startswith("note: 4 of 4 files are no hardlinks but ")
    assert first.endswith("(10.3 kB): the view is on another filesystem or mount than the store")


def test_the_document(run: Run, given: tuple[str, ...], tmp_path: Path) -> None:
    document = run("cache", "view", "nlp", "--flat", "--json", *given).json

    assert document["schema"] == "envforge.cache-view/1"
    hub, flat = document["views"]
    assert (hub["layout"], flat["layout"]) == ("hub", "flat")
    assert hub["modes"] == {"hardlink": 4}
    assert flat["path"] == f"{hub['path']}.flat"
    assert hub["models"][1] == {
        "repo": "org/bert",
        "kind": "model",
        "commit": C1,
        "revision": "main",
    }


def test_what_is_missing(run: Run, given: tuple[str, ...], tmp_path: Path) -> None:
    write_environment(tmp_path / "envs/nlp", model({"a": b"absent"}))

    done = run("cache", "view", "nlp", *given)

    assert done.status == 6
    assert done.out == ""
    assert f"hint: fetch them: `envforge cache prefill {' '.join(given)} nlp`" in done.err


def test_variables(run: Run, given: tuple[str, ...], tmp_path: Path) -> None:
    assert run("cache", "env", "nlp", *given).status == 6
    run("cache", "view", "nlp", *given)
    view = f"{tmp_path}/store/views/env/{US}/nlp"

    assert run("cache", "env", "nlp", *given).out.splitlines() == [
        f"export HF_HUB_CACHE='{view}'",
        f"export HUGGINGFACE_HUB_CACHE='{view}'",
        f"export TRANSFORMERS_CACHE='{view}'",
    ]
    docker = run("cache", "env", "nlp", "--format", "docker", *given).out.splitlines()
    assert docker[:2] == [
        f"--mount=type=bind,source={view},target={view}",
        f"--env=HF_HUB_CACHE={view}",
    ]
    assert "HF_HUB_OFFLINE='1'" in run("cache", "env", "nlp", "--offline", *given).out
    document = run("cache", "env", "nlp", "--json", *given).json
    assert document["schema"] == "envforge.cache-env/1"
    assert (document["view"], document["flat"]) == (view, None)
    assert document["variables"]["HF_HUB_CACHE"] == view


def test_the_next_command_finds_the_same_view(
    run: Run, given: tuple[str, ...], tmp_path: Path
) -> None:
    done = run("cache", "view", f"{tmp_path}/my models", "--for", US, *given)

    command = shlex.split(done.out.splitlines()[-1].removeprefix('next: eval "$(').rstrip(')"'))
    assert command[0] == "envforge"
    assert f"HF_HUB_CACHE='{tmp_path}/my models'" in run(*command[1:]).out


def test_a_repository_is_not_taken_for_a_folder(
    run: Run, given: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    done = run("cache", "view", "org/bert", *given)

    assert done.status == 2
    assert "error: target `org/bert` may be a repository or a new folder" in done.err
    assert "./DIR --model org/bert`" in done.err
    assert not (tmp_path / "org").exists()
    assert run("cache", "view", "./org/bert", *given).status == 0
    assert run("cache", "view", "org/bert", *given).status == 0, "now the folder is there"


def test_a_name_of_nothing(run: Run, given: tuple[str, ...]) -> None:
    done = run("cache", "view", "nlpp", *given)

    assert done.status == 2
    assert "did you mean `nlp`?" in done.err
    assert "a folder is written `./nlpp`" in done.err
