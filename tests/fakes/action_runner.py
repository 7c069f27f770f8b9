"""Runs the steps of a composite action as GitHub's runner does, as far as ours need it.

Scripts are run by bash in the order they stand, with the files that `GITHUB_OUTPUT`, `GITHUB_ENV`
and `GITHUB_PATH` name; expressions know inputs, outputs, `runner` and `github.action_path`. An
expression it does not know is an error, and a step that uses another action is only noted.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_COMPARED = re.compile(r"(\S+)\s*(==|!=)\s*'([^']*)'")


class StepFailed(Exception):
    """A step ended with another status than 0."""

    def __init__(self, name: str, status: int, out: str) -> None:
        super().__init__(f"{name}: {status}\n{out}")
        self.name, self.status, self.out = name, status, out


@dataclass
class ActionRunner:
    """One job that uses one action.

    Args:
        action: the action's own folder.
        workspace: where the job's repository is checked out.
        temp: `RUNNER_TEMP`.
        env: the runner's own variables.
    """

    action: Path
    workspace: Path
    temp: Path
    env: dict[str, str]
    used: list[dict[str, Any]] = field(default_factory=list)
    """What steps with `uses` were given."""
    ran: list[str] = field(default_factory=list)
    """Names of the steps that were run."""
    log: str = ""

    def run(self, inputs: Mapping[str, str]) -> dict[str, str]:
        """Run all steps; the action's outputs.

        Raises:
            StepFailed
        """
        action = YAML(typ="safe").load(self.action / "action.yml")
        unknown = inputs.keys() - action["inputs"].keys()
        assert not unknown, f"not an input: {unknown}"
        given = {name: str(it.get("default", "")) for name, it in action["inputs"].items()}
        known = {
            **{f"inputs.{name}": value for name, value in {**given, **inputs}.items()},
            "runner.os": "Linux",
            "runner.arch": "X64",
            "github.action_path": str(self.action),
        }
        for step in action["runs"]["steps"]:
            if self._is_due(step.get("if", ""), known):
                self._step(step, known)
        outputs = action["outputs"]
        return {name: self._filled(item["value"], known) for name, item in outputs.items()}

    def _step(self, step: Mapping[str, Any], known: dict[str, str]) -> None:
        if "uses" in step:
            values = {key: self._filled(str(it), known) for key, it in step["with"].items()}
            self.used.append({"uses": step["uses"], **values})
            known[f"steps.{step['id']}.outputs.cache-hit"] = ""
            return
        assert "${{" not in step["run"], "an expression in a script is code to whoever sets it"
        assert step["shell"] == "bash"
        self.ran.append(step["name"])
        files = {name: self.temp / name.lower() for name in ("OUTPUT", "ENV", "PATH")}
        for path in files.values():
            path.write_text("")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]],
            cwd=self.workspace,
            env={
                **self.env,
                "RUNNER_TEMP": str(self.temp),
                **{f"GITHUB_{name}": str(path) for name, path in files.items()},
                **{key: self._filled(it, known) for key, it in step.get("env", {}).items()},
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        self.log += done.stdout
        if done.returncode:
            raise StepFailed(step["name"], done.returncode, done.stdout)
        for name, value in _pairs(files["OUTPUT"]):
            known[f"steps.{step['id']}.outputs.{name}"] = value
        self.env.update(_pairs(files["ENV"]))
        for folder in files["PATH"].read_text().splitlines():
            self.env["PATH"] = f"{folder}{os.pathsep}{self.env['PATH']}"

    def _is_due(self, condition: str, known: Mapping[str, str]) -> bool:
        if not condition:
            return True
        found = [_COMPARED.fullmatch(part.strip()) for part in condition.split("||")]
        assert all(found), f"a condition that is not known here: {condition}"
        return any((known[it[1]] == it[3]) == (it[2] == "==") for it in found if it)

    def _filled(self, text: str, known: Mapping[str, str]) -> str:
        return _EXPRESSION.sub(lambda found: known[found[1]], text)


def _pairs(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text().splitlines()
    assert all("=" in line for line in lines), f"not NAME=VALUE: {lines}"
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]
