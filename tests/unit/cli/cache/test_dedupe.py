"""`envforge cache dedupe` and `envforge cache adopt`."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from fakes.command_line import Run
from fakes.hub_caches import hub_repo, inode, put, sha256

from envforge.cli.rendering import render_dedupe
from envforge.model.deduping import DedupeResult, UndoResult

DATA = random.Random(1).randbytes(1 << 20)


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENVFORGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ENVFORGE_STORE", str(tmp_path / "store"))
    for name in "abc":
        hub_repo(tmp_path / "users" / name / "hub", {"m.bin": DATA})
    return tmp_path / "users"


def blob(users: Path, name: str) -> Path:
    return users / name / "hub/models--org--m/blobs" / sha256(DATA)


def test_it_says_what_came_free(run: Run, users: Path) -> None:
    done = run("cache", "dedupe", str(users))

    assert done.status == 0
    assert done.out.startswith("freed 2.1 MB: 2 copies of 1 file became links\n")
    assert inode(blob(users, "a")) == inode(blob(users, "b"))


def test_then_there_is_nothing_to_do(run: Run, users: Path) -> None:
    run("cache", "dedupe", str(users))

    assert run("cache", "dedupe", str(users)).out == "nothing to link: 3 model files seen\n"


def test_a_plan_is_shown(run: Run, users: Path) -> None:
    done = run("cache", "dedupe", "--dry-run", str(users))

    assert done.out == (
        "would free 2.1 MB: 2 copies of 1 file become links\n"
        "  would read 1.0 MB first, to prove what is kept\n"
    )


@pytest.mark.parametrize("option", ["--compare", "--trust-names"])
def test_the_proof_can_be_chosen(run: Run, users: Path, option: str) -> None:
    read = run("cache", "dedupe", option, "--json", str(users)).json["read"]

    assert read == {"--compare": 3 * len(DATA), "--trust-names": 0}[option]


def test_a_run_is_taken_back(run: Run, users: Path) -> None:
    run("cache", "dedupe", str(users))

    assert run("cache", "dedupe", "--undo").out == "2 names restored, 2.1 MB\n"

    assert inode(blob(users, "a")) != inode(blob(users, "b"))


def test_as_json(run: Run, users: Path) -> None:
    document = run("cache", "dedupe", "--json", str(users)).json

    assert document["schema"] == "envforge.cache-dedupe/1"
    assert document["paths"] == [str(users)]
    assert (document["copies"], document["damaged"]) == (2, [])
    undone = run("cache", "dedupe", "--undo", "--json").json
    assert undone["schema"] == "envforge.cache-dedupe-undo/1"
    assert undone["restored"] == 2


def test_damage_is_shown_first_and_is_a_finding(run: Run, users: Path) -> None:
    put(blob(users, "a"), DATA[::-1])
    os.utime(blob(users, "a"), (1, 1))

    done = run("cache", "dedupe", str(users))

    assert done.status == 1
    assert done.out.splitlines()[:2] == [
        "1 damaged: the bytes are not what the name says",
        f"  {blob(users, 'a')}: delete it; the next load fetches it again",
    ]


def test_what_stays_apart_is_said(run: Run, users: Path) -> None:
    for name in "ab":
        blob(users, name).chmod(0o600)

    assert "stay apart: 1 other mode" in run("cache", "dedupe", str(users)).out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a folder with caches"),
        (["x", "--compare", "--trust-names"], "choose one"),
        (["--undo", "--dry-run"], "--undo takes"),
        (["x", "--journal", "y"], "goes with --undo"),
    ],
)
def test_what_makes_no_sense_is_refused(run: Run, arguments: list[str], message: str) -> None:
    done = run("cache", "dedupe", *arguments)

    assert done.status == 2
    assert message in done.err


def test_nothing_to_undo_is_said(run: Run, users: Path) -> None:
    done = run("cache", "dedupe", "--undo")

    assert done.status == 2
    assert "no run that could be undone" in done.err


def test_a_cache_is_adopted(run: Run, users: Path) -> None:
    run("cache", "init")

    planned = run("cache", "adopt", "--dry-run", str(users))
    done = run("cache", "adopt", str(users))

    assert planned.out == "would take 1 file into the store (1.0 MB), 2.1 MB freed\n"
    assert done.out == "took 1 file into the store (1.0 MB), 2.1 MB freed\n"
    assert run("cache", "adopt", "--json", str(users)).json["schema"] == "envforge.cache-adopt/1"


def test_adopting_without_a_store_is_a_failure(run: Run, users: Path) -> None:
    assert run("cache", "adopt", str(users)).status == 6


def test_long_lists_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    problems = tuple((f"/x/{number}", "permission denied") for number in range(13))
    result = DedupeResult(
        paths=(),
        problems=problems,
        different=("/caf\udce9/\x1b[2J",),
        stores=("/store",),
        copied=1,
        left={"other owner": 2},
        left_bytes=10**9,
    )

    render_dedupe.show_deduped(result, as_json=False)
    render_dedupe.show_adopted(result, as_json=False)
    render_dedupe.show_undone(
        UndoResult(journal=Path("j"), problems=problems, skipped=2), as_json=False
    )

    out = capsys.readouterr().out
    assert out.count("  and 3 more; --json names all\n") == 3
    assert "  /caf?/\\x1b[2J: left as it is\n" in out
    assert "/store is a store: it holds nothing twice" in out
    assert "1 file copied from another filesystem; both stay" in out
    assert "1.0 GB stay apart: 2 other owner" in out
    assert "2 names left: something else by now" in out
    assert max(len(line) for line in out.splitlines()) <= 80
