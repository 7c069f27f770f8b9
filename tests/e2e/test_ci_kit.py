"""The GitHub action and the templates for CI: their form, and what their steps do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from e2e.world import Place, World
from fakes.action_runner import ActionRunner, StepFailed
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
CI = ROOT / "templates" / "ci"
SCHEMAS = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"


def read(path: Path) -> Any:
    """A YAML file as plain data."""
    return YAML(typ="safe").load(path)


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        (ROOT / "action.yml", "github-actions.json"),
        (CI / "relock.yml", "github-workflows.json"),
        (CI / "verify.yml", "github-workflows.json"),
        (CI / "gitlab.yml", "gitlab-ci.json"),
        (ROOT / ".github" / "workflows" / "ci.yml", "github-workflows.json"),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else value,
)
def test_it_is_what_the_service_reads(path: Path, schema: str) -> None:
    """By the schema that editors use for these files."""
    rules = json.loads((SCHEMAS / schema).read_text(encoding="utf-8"))
    jsonschema.validators.validator_for(rules)(rules).validate(read(path))


@pytest.mark.parametrize(
    "path", [ROOT / "action.yml", *sorted(CI.glob("*.yml"))], ids=lambda p: p.name
)
def test_scripts_are_bash_and_hold_no_expression(path: Path, tmp_path: Path) -> None:
    """`${{ }}` in a script is replaced before a shell reads it: whoever sets it writes code."""
    for number, script in enumerate(scripts(read(path))):
        assert "${{" not in script
        file = tmp_path / f"{number}.sh"
        file.write_text(script)
        subprocess.run(["bash", "-n", file], check=True)
        if shutil.which("shellcheck"):
            subprocess.run(["shellcheck", "--shell=bash", file], check=True)


def scripts(node: Any) -> list[str]:
    """Every script in a file, of GitHub or of GitLab."""
    if isinstance(node, list):
        return [script for item in node for script in scripts(item)]
    if not isinstance(node, dict):
        return []
    own = [node["run"]] if isinstance(node.get("run"), str) else []
    own += ["\n".join(node[key]) for key in ("script", "before_script") if key in node]
    return own + [script for item in node.values() for script in scripts(item)]


@pytest.fixture
def runner(settled: tuple[Place, str], tmp_path: Path) -> ActionRunner:
    """A runner whose repository holds one environment, with envforge on its PATH."""
    place, name = settled
    workspace, tools = tmp_path / "repository", tmp_path / "tools"
    shutil.copytree(place.envs / name, workspace / "envs" / name)
    tools.mkdir()
    program = tools / "envforge"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m envforge "$@"\n')
    program.chmod(0o755)
    env = place.environment()
    for kept in ("ENVFORGE_PACKAGE_CACHE", "ENVFORGE_CACHE", "ENVFORGE_PREFIXES"):
        env.pop(kept)
    env["PATH"] = f"{tools}:{env['PATH']}"
    (tmp_path / "temp").mkdir()
    return ActionRunner(ROOT, workspace, tmp_path / "temp", env)


def test_an_environment_is_installed_verified_and_first_on_path(
    runner: ActionRunner, settled: tuple[Place, str]
) -> None:
    _, name = settled
    outputs = runner.run({"environment": name, "envforge": "installed", "verify": "static"})

    prefix = Path(outputs["prefix"])
    assert (prefix / "conda-meta" / "history").is_file()
    report = ET.parse(outputs["junit"])  # noqa: S314 - our own
    assert report.getroot().tag == "testsuites"
    assert runner.env["PATH"].split(":")[0] == str(prefix / "bin")
    assert runner.env["CONDA_PREFIX"] == str(prefix)
    [cache] = runner.used
    assert cache["key"].startswith(f"envforge-Linux-X64-{name}-")
    assert list(Path(cache["path"], "packages").iterdir()), "what the cache keeps is used"


def test_another_lock_has_another_key(runner: ActionRunner, settled: tuple[Place, str]) -> None:
    _, name = settled
    asked = {"environment": f"envs/{name}", "envforge": "installed", "verify": "none"}
    runner.run(asked)
    (runner.workspace / "envs" / name / "models-lock.yml").write_text("models: []\n")
    runner.run(asked)

    first, second = (item["key"] for item in runner.used)
    assert first != second
    assert "Verify" not in runner.ran


def test_an_environment_without_a_lock_is_named(runner: ActionRunner) -> None:
    with pytest.raises(StepFailed, match=r"there is no envs/nobody/conda-lock\.yml") as failed:
        runner.run({"environment": "nobody", "envforge": "installed"})
    assert failed.value.status == 2


def test_a_stale_lock_fails_the_job(runner: ActionRunner, settled: tuple[Place, str]) -> None:
    _, name = settled
    spec = runner.workspace / "envs" / name / "environment.yml"
    spec.write_text(spec.read_text().replace("dependencies:", "dependencies:\n  - cowsay", 1))

    with pytest.raises(StepFailed) as failed:
        runner.run({"environment": name, "envforge": "installed"})
    assert failed.value.name == "Install the environment"
    assert failed.value.status == 4


def test_a_gpu_that_is_asked_for_and_absent_fails_the_job(
    runner: ActionRunner, settled: tuple[Place, str]
) -> None:
    _, name = settled
    asked = {"environment": name, "envforge": "installed", "require-gpu": "true"}
    with pytest.raises(StepFailed) as failed:
        runner.run(asked)
    assert failed.value.name in {"Install the environment", "Verify"}
    assert failed.value.status in {1, 3}


def test_the_machine_it_will_run_on_is_judged(
    runner: ActionRunner, settled: tuple[Place, str]
) -> None:
    _, name = settled
    asked = {"environment": name, "envforge": "installed", "verify": "none"}
    runner.run({**asked, "driver": "580.95.05", "gpu": "A100"})
    with pytest.raises(StepFailed, match="::error") as failed:
        runner.run({**asked, "driver": "418.40.04"})
    assert failed.value.name == "Judge it for the machine it will run on"


@pytest.mark.parametrize(
    "name", ["$(touch hit)", "`touch hit`", "x'; touch hit; '", 'a"; touch hit']
)
def test_a_name_is_never_code(runner: ActionRunner, name: str) -> None:
    with pytest.raises(StepFailed):
        runner.run({"environment": name, "envforge": "installed"})
    assert not (runner.workspace / "hit").exists()


# --- relock.yml -----------------------------------------------------------------------------


GH = """#!/bin/sh
printf '%s\\n' "$@" >> "$GH_LOG"
[ "$2" = edit ] && exit 1
cp "$(printf '%s\\n' "$@" | tail -1)" "$GH_LOG.body"
"""


@dataclass
class Relocking:
    """A clone of a repository with an origin, and a `gh` that notes what it is asked."""

    folder: Path
    env: dict[str, str]
    log: Path

    def run(self) -> tuple[int, str]:
        """Every script of the workflow, in order; the last status, and all output."""
        job = read(CI / "relock.yml")["jobs"]["relock"]
        out = ""
        for step in job["steps"]:
            if "run" not in step or "pip install" in step["run"]:
                continue
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]],
                cwd=self.folder,
                env={**self.env, "BRANCH": job["env"]["BRANCH"]},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=300,
            )
            out += done.stdout
            if done.returncode:
                return done.returncode, out
        return 0, out

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@t.invalid", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=True
        ).stdout


@pytest.fixture
def relocking(place: Place, world: World, tmp_path: Path) -> tuple[Relocking, str]:
    """`greeter` is locked at 1.2, and 1.3 has come out."""
    name = place.created(world.pytorch_cuda, "weekly", "--with", "greeter=1.2")
    spec = place.envs / name / "environment.yml"
    spec.write_text(re.sub(r"- greeter.*", "- greeter >=1.2", spec.read_text()))
    tools = tmp_path / "tools"
    tools.mkdir()
    for program, text in (
        ("envforge", f'#!/bin/sh\nexec "{sys.executable}" -m envforge "$@"\n'),
        ("gh", GH),
    ):
        (tools / program).write_text(text)
        (tools / program).chmod(0o755)
    (tmp_path / "temp").mkdir()
    env = place.environment({"GH_LOG": str(tmp_path / "gh"), "RUNNER_TEMP": str(tmp_path / "temp")})
    env["PATH"] = f"{tools}:{env['PATH']}"
    clone = tmp_path / "clone"
    clone.mkdir()
    made = Relocking(clone, env, tmp_path / "gh")
    shutil.copytree(place.envs, clone / "envs")
    made.git("init", "--quiet", "--initial-branch=main")
    made.git("add", "envs")
    made.git("commit", "--quiet", "--message=locked")
    made.git("clone", "--quiet", "--bare", ".", str(tmp_path / "origin"))
    made.git("remote", "add", "origin", str(tmp_path / "origin"))
    return made, name


def test_what_moved_is_proposed(relocking: tuple[Relocking, str]) -> None:
    made, name = relocking
    status, out = made.run()

    assert status == 0, out
    assert "greeter" in made.git("diff", "main", "origin/envforge/relock", "--", "envs")
    asked = made.log.read_text()
    assert asked.index("edit") < asked.index("create")
    body = made.log.with_name("gh.body").read_text()
    assert body.startswith(f"## {name}\n")
    assert "1.2" in body
    assert "1.3" in body


def test_what_cannot_be_solved_is_told_and_the_rest_proposed(
    relocking: tuple[Relocking, str],
) -> None:
    made, name = relocking
    shutil.copytree(made.folder / "envs" / name, made.folder / "envs" / "odd-torch20-cu118")
    spec = made.folder / "envs" / "odd-torch20-cu118" / "environment.yml"
    text = spec.read_text().replace(f"name: {name}", "name: odd-torch20-cu118")
    spec.write_text(text.replace("- greeter >=1.2", "- greeter >=99"))
    made.git("add", "envs")
    made.git("commit", "--quiet", "--message=odd")
    status, out = made.run()

    assert status == 1
    assert "::error::could not be solved: odd-torch20-cu118" in out
    assert "odd-torch20-cu118 could not be solved" in made.log.with_name("gh.body").read_text()
    assert made.git("diff", "--name-only", "main", "envforge/relock").splitlines() == [
        f"envs/{name}/conda-lock.yml",
        f"envs/{name}/environment.yml",
    ]
