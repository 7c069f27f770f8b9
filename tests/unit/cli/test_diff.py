"""`envforge diff`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.command_line import Run
from fakes.conda_solver import package
from fakes.locks import lock

from envforge.cli.rendering import render_diff
from envforge.forge import Forge
from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.difference import (
    Amount,
    Comparison,
    GpuRow,
    LockDifference,
    SizeRow,
)
from envforge.model.lock import Lock

TORCH_OLD = package(
    "pytorch", "2.0.1", "py3.10_cuda11.8_cudnn8.7.0_0", channel="pytorch", depends=("numpy",)
)
TORCH_NEW = package(
    "pytorch", "2.1.0", "py3.10_cuda12.1_cudnn8.9.2_0", channel="pytorch", depends=("numpy <2",)
)
OLD = lock(
    TORCH_OLD,
    replace(package("numpy", "1.25.0", depends=("blas",)), size=7_000_000),
    package("blas", "1", depends=("c",)),
    package("gone", "0.1"),
    package("python", "3.10.14"),
)
NEW = lock(
    TORCH_NEW,
    replace(package("numpy", "1.26.4", depends=("blas >=2",)), size=8_000_000),
    package("blas", "2", depends=("c",)),
    package("python", "3.10.14"),
)


@pytest.fixture
def sides(tmp_path: Path, forge: Forge, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.chdir(tmp_path)
    for name, found in (("old.yml", OLD), ("new.yml", NEW)):
        Path(name).write_text(conda_lock_yml.write(found))
    return "old.yml", "new.yml"


def test_text(run: Run, sides: tuple[str, str], golden: Callable[[str, str], None]) -> None:
    done = run("diff", *sides)
    assert done.status == 1
    golden("diff.txt", done.out)
    assert max(map(len, done.out.splitlines())) <= 80


def test_markdown(run: Run, sides: tuple[str, str], golden: Callable[[str, str], None]) -> None:
    done = run("diff", *sides, "--markdown")
    assert done.status == 1
    golden("diff.md", done.out)


def test_why(run: Run, sides: tuple[str, str]) -> None:
    assert "(numpy 1.26.4 needs blas >=2)" in run("diff", *sides, "--why").out


def test_the_same(run: Run, sides: tuple[str, str]) -> None:
    done = run("diff", "old.yml", "old.yml")
    assert done.status == 0
    assert done.out.splitlines()[1] == "nothing moved: compared for linux-64"
    assert run("diff", "old.yml", "old.yml", "--markdown").out.splitlines()[2] == (
        "Nothing moved (linux-64)."
    )


def test_json_is_enough_to_make_one_lock_the_other(run: Run, sides: tuple[str, str]) -> None:
    done = run("diff", *sides, "--json")
    document = done.json
    assert done.status == 1
    assert (document["schema"], document["same"]) == ("envforge.diff/1", False)
    places = {(item.platform, item.name): item for item in OLD.packages}
    for change in document["changes"]:
        for side in ("before", "after"):
            if change[side]:
                place = change[side]["platform"], change[side]["name"]
        if change["after"] is None:
            del places[place]
        else:
            fields = change["after"] | {
                key: tuple(change["after"][key]) for key in ("depends", "constrains")
            }
            places[place] = replace(OLD.packages[0], **fields)
    assert tuple(places[key] for key in sorted(places)) == NEW.packages
    moves = {item["name"]: item for item in document["moves"]}
    assert moves["gone"]["to"] is None
    assert moves["pytorch"]["why"] == "asked"
    gpu = {row["fact"]: row for row in document["gpu"]}
    assert (gpu["CUDA"]["before"], gpu["CUDA"]["after"]) == ("11.8", "12.1")


def test_errors_are_told_as_ever(run: Run, forge: Forge) -> None:
    done = run("diff", "nope", "nope", "--json")
    assert done.status == 2
    assert done.json["error"]["code"] == "no-such-environment"


# --- what a lock may hold -------------------------------------------------------------------


def comparison(**changes: object) -> Comparison:
    bare = Lock(packages=(), platforms=("linux-64",), channels=(), content_hash={})
    fields = {
        "old": "a",
        "new": "b",
        "difference": LockDifference(before=bare, after=bare, changes=()),
        "platforms": ("linux-64",),
    } | changes
    return Comparison(**fields)  # type: ignore[arg-type]


def test_markdown_is_not_steered_by_what_a_lock_holds() -> None:
    row = GpuRow(fact="torch", before="a|b`<b>", after="@all", platforms=("linux-64",))
    text = render_diff.markdown(comparison(gpu=(row,), notes=("<img> @team #1 *x*",)))
    assert "| `a\\|b'<b>` | `@all` |" in text
    assert "\\<img\\> \\@team \\#1 \\*x\\*" in text


def test_long_lists_are_cut_in_markdown(run: Run, forge: Forge, tmp_path: Path) -> None:
    old = lock(*(package(f"p{number}", "1") for number in range(300)), package("t", "1"))
    new = lock(*(package(f"p{number}", "2") for number in range(300)), package("t", "1"))
    (tmp_path / "a.yml").write_text(conda_lock_yml.write(old))
    (tmp_path / "b.yml").write_text(conda_lock_yml.write(new))
    text = run("diff", str(tmp_path / "a.yml"), str(tmp_path / "b.yml"), "--markdown").out
    assert "<summary>300 packages: for reasons that are not told</summary>" in text
    assert "and 100 more: `envforge diff` lists all" in text
    assert text.count("| `p") == 200


def test_platforms_that_came_and_went(capsys: pytest.CaptureFixture[str]) -> None:
    found = comparison(lost_platforms={"win-64": 3}, gained_platforms={"osx-arm64": 4})
    render_diff.show(found)
    text = capsys.readouterr().out
    assert "no longer locked for win-64 (3 packages)" in text
    assert "locked for osx-arm64 too (4 packages)" in text
    assert "**No longer locked for `win-64`** (3 packages)." in render_diff.markdown(found)


def test_sizes_that_nobody_knows(capsys: pytest.CaptureFixture[str]) -> None:
    row = SizeRow(
        platform="linux-64",
        download=(Amount(total=0, unknown=3), Amount(total=5)),
        disk=(Amount(total=5_000_000, estimated=1), Amount(total=2_000_000)),
    )
    render_diff.show(comparison(sizes=(row,), lost_platforms={"win-64": 1}))
    text = capsys.readouterr().out
    assert "download  unknown" in text
    assert "on disk   about 5.0 MB -> 2.0 MB (-3.0 MB)" in text


@pytest.mark.parametrize("options", [[], ["--json"], ["--markdown"], ["--why"]])
def test_no_secret_of_a_lock_is_shown(
    run: Run, forge: Forge, tmp_path: Path, options: list[str]
) -> None:
    url = "https://me:hunter2@host.example/t/tk-hunter2/lab/linux-64/a-1-h0_0.conda"
    bad = lock(
        replace(package("a", "1"), url=url), channels=("https://me:hunter2@host.example/lab",)
    )
    (tmp_path / "a.yml").write_text(conda_lock_yml.write(lock(package("a", "1"))))
    (tmp_path / "b.yml").write_text(conda_lock_yml.write(bad))
    done = run("diff", str(tmp_path / "a.yml"), str(tmp_path / "b.yml"), *options)
    assert done.status == 1
    assert "host.example/lab" in done.out
    assert "hunter2" not in done.out + done.err
    assert "hunter2" not in run("git", "textconv", str(tmp_path / "b.yml")).out
