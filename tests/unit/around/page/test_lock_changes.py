"""What became of locks since a revision."""

from __future__ import annotations

from typing import Any

from fakes.locks import lock

from envforge.around.page import lock_changes
from envforge.model.difference import (
    ASKED,
    Cause,
    Comparison,
    GpuRow,
    Group,
    LockDifference,
    Move,
    MoveKind,
)
from envforge.model.models import ModelChange, Repo

BECAUSE = Cause(why="because", root="torch", detail="torch 2.7 needs it")
BOTH = ("linux-64", "win-64")


def move(name: str, kind: MoveKind = "upgraded", **changes: Any) -> Move:
    fields: dict[str, Any] = {"before": "1", "after": "2", "platforms": BOTH, "cause": BECAUSE}
    return Move(name=name, kind=kind, **fields | changes)


def comparison(**changes: Any) -> Comparison:
    empty = LockDifference(before=lock(), after=lock(), changes=())
    return Comparison(old="a", new="b", difference=empty, platforms=BOTH, **changes)


def test_moves_say_what_why_and_where() -> None:
    others = (
        move("added", "added", before=""),
        move("removed", "removed", after="", platforms=("win-64",)),
        move("down", "downgraded", platforms=("linux-64",)),
    )
    found = lock_changes.moved(
        "x",
        comparison(
            asked=(move("torch", cause=ASKED),),
            groups=(Group(why="because", root="torch", moves=others),),
        ),
    )
    assert found.summary == "4 packages moved, 1 asked for"
    rows = [(row.package, row.sign, row.note, row.why) for row in found.moves]
    assert rows == [
        ("torch", "~", "", "asked for"),
        ("added", "+", "", "torch 2.7 needs it"),
        ("removed", "-", "win-64", "torch 2.7 needs it"),
        ("down", "~", "older, linux-64", "torch 2.7 needs it"),
    ]


def test_only_facts_that_differ() -> None:
    rows = (
        GpuRow(fact="torch", before="2.0", after="2.7", platforms=BOTH),
        GpuRow(fact="CUDA", before="", after="12.6", platforms=("win-64",)),
        GpuRow(fact="python", before="3.10", after="3.10", platforms=BOTH),
    )
    found = lock_changes.moved("x", comparison(gpu=rows))
    assert [(row.fact, row.before, row.after) for row in found.facts] == [
        ("torch", "2.0", "2.7"),
        ("CUDA win-64", "none", "12.6"),
    ]


def test_platforms_and_models_are_noted() -> None:
    repo = Repo(id="org/x")
    model = ModelChange(repo=repo, revision="main", before="", after="f" * 40, files=())
    found = lock_changes.moved(
        "x",
        comparison(
            gained_platforms={"osx-arm64": 3},
            lost_platforms={"linux-aarch64": 3},
            models=(model,),
            notes=("a note",),
        ),
    )
    assert found.summary == "the same packages, other platforms or models"
    assert found.notes == (
        "no longer locked for linux-aarch64",
        "locked for osx-arm64 too",
        f"model org/x: none to {'f' * 12}",
        "a note",
    )


def test_new_gone_and_unknown() -> None:
    assert lock_changes.new("x", 1).summary == "new, 1 package"
    assert lock_changes.gone("x").kind == "gone"
    assert lock_changes.unknown("x", "why").notes == ("why",)
