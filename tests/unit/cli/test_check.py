"""`envforge check`."""

from __future__ import annotations

from pathlib import Path

from fakes.command_line import Run
from fakes.workplace import NAME, make_environment

from envforge.forge import Forge


def test_a_good_one(run: Run, forge: Forge) -> None:
    make_environment(forge)
    done = run("check", NAME)
    assert done.status == 0
    assert done.out == f"ok {NAME}: 3 packages for linux-64\n"


def test_a_stale_one_ends_with_4(run: Run, forge: Forge) -> None:
    path = make_environment(forge) / "environment.yml"
    path.write_text(path.read_text() + "  - scikit-learn\n  - pandas\n")
    done = run("check")
    assert done.status == 4
    lines = done.out.splitlines()
    assert lines[0] == f"stale {NAME}: 3 packages for linux-64"
    assert lines[1] == "  error: `scikit-learn` is not in the lock [lock-stale]"
    assert lines[2] == "  error: `pandas` is not in the lock [lock-stale]"
    assert lines.count(f"    do: envforge lock {NAME}") == 1


def test_anything_else_ends_with_1(run: Run, forge: Forge) -> None:
    path = make_environment(forge) / "conda-lock.yml"
    path.write_text(path.read_text().replace("https://conda.anaconda.org/", "https://m.corp/"))
    assert run("check", NAME).status == 1
    done = run("check", NAME, "--fix")
    assert (done.status, "  mended conda-lock.yml\n" in done.out) == (0, True)


def test_warnings_fail_nothing(run: Run, forge: Forge) -> None:
    path = make_environment(forge) / "environment.yml"
    path.write_text(path.read_text() + "# from /home/me/x.yml\n")
    done = run("check")
    assert done.status == 0
    assert "  warning: environment.yml: line " in done.out


def test_what_was_not_looked_at_is_said(run: Run, forge: Forge) -> None:
    (make_environment(forge) / "environment.yml").unlink()
    done = run("check", NAME)
    assert done.status == 0
    assert "  not looked at: lock-stale: what it was made from (environment.yml)" in done.out


def test_json(run: Run, forge: Forge) -> None:
    folder = make_environment(forge)
    document = run("check", "--json").json
    assert (document["schema"], document["passed"]) == ("envforge.check/1", True)
    [found] = document["locks"]
    assert (found["name"], found["current"], found["findings"]) == (NAME, True, [])
    (folder / "environment.yml").unlink()
    assert run("check", "--json").json["locks"][0]["current"] is None
    (folder / "conda-lock.yml").write_text("x: [")
    document = run("check", str(folder / "conda-lock.yml"), "--json").json
    assert document["locks"][0]["findings"][0]["check"] == "readable"
    assert document["passed"] is False


def test_a_stale_one_in_json(run: Run, forge: Forge) -> None:
    (make_environment(forge) / "conda-lock.yml").unlink()
    done = run("check", NAME, "--json")
    assert done.status == 4
    assert done.json["locks"][0]["current"] is False


def test_the_hooks_of_this_repository_call_it(run: Run) -> None:
    import yaml

    path = Path(__file__).parents[3] / ".pre-commit-hooks.yaml"
    hooks = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert [hook["id"] for hook in hooks] == ["envforge-check", "envforge-check-fix"]
    for hook in hooks:
        program, *words = hook["entry"].split()
        assert program == "envforge"
        assert run(*words, "--help").status == 0


def test_the_hooks_take_the_files_of_environments() -> None:
    import re

    import yaml

    path = Path(__file__).parents[3] / ".pre-commit-hooks.yaml"
    hooks = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert hooks
    for hook in hooks:
        takes = re.compile(hook["files"]).search
        assert takes("envs/x/environment.yml")
        assert takes("a/envs/x/models-lock.yml")
        assert takes("docker/conda-lock.yml")
        assert not takes("docs/environment.yml")
        assert not takes("envs/README.md")
