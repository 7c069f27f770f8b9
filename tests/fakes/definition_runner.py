"""Builds an Apptainer definition without Apptainer, and runs what came of it, in a chroot.

What its user guide says ("Definition files"), and its own source where that is silent:
a stage begins at `Bootstrap:`; `%files` copies with links resolved, from another stage without;
`%post` is run by `/bin/sh -ex` as root, and sees of the one that builds only proxies and what is
named `APPTAINERENV_…`; `%environment` is sourced before `%runscript`, `%startscript` and `%test`;
`{{ name }}` is replaced by what `%arguments` says. Sections of apps and of the host are refused.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fakes.image_builder import Builder, Stage

_PREFIX = "APPTAINERENV_"
_PROXIES = {
    name
    for word in ("http", "https", "no", "all", "ftp")
    for name in (f"{word}_proxy", f"{word.upper()}_PROXY")
}
_SECTIONS = {
    *("arguments", "files", "post", "environment", "runscript", "startscript", "test", "labels"),
    "help",
}
_ACTION = (
    'for script in /.singularity.d/env/*.sh; do . "$script"; done; '
    'action=$1; shift; exec /.singularity.d/"$action" "$@"'
)


@dataclass(frozen=True)
class Definition:
    """One stage of a definition file."""

    header: Mapping[str, str]
    sections: Mapping[str, str]
    files: tuple[tuple[str, str], ...]
    """From which stage (empty: from the host), and the lines."""


@dataclass
class Runner:
    """Builds one definition file.

    Args:
        builder: with what the base image sets as its variables of the machine.
        given: variables of the one who builds.
        binds: what `apptainer build --bind` names: folders, by their place in the image.
    """

    builder: Builder
    given: Mapping[str, str]
    binds: Mapping[str, Path] = field(default_factory=dict)
    tested: str = ""
    """What %test said."""

    def build(self, file: Path) -> Stage:
        """The last stage, after its %test."""
        stage = Stage()
        for number, item in enumerate(read(file.read_text())):
            name = item.header.get("stage", str(number))
            stage = self.builder.new_stage(name, Stage())
            self.builder.stages[name] = stage
            for origin, lines in item.files:
                self._copy(stage, file.parent, origin, lines)
            self._post(stage, item.sections.get("post", ""))
            self._describe(stage, item.sections)
        if "test" in item.sections:
            done = self.run(stage, "test", user="0:0")
            self.tested = done.stdout + done.stderr
            assert done.returncode == 0, self.tested
        return stage

    def run(
        self, stage: Stage, action: str, *arguments: str, **how: Any
    ) -> subprocess.CompletedProcess[str]:
        """`apptainer run` or `apptainer test`, by the section's name; its root is read-only."""
        command = ["/bin/sh", "-c", _ACTION, action, action, *arguments]
        return self.builder.run(stage, command, read_only=True, **how)

    def _post(self, stage: Stage, script: str) -> None:
        seen = {name: value for name, value in self.given.items() if name in _PROXIES}
        for name, value in self.given.items():
            if name.startswith(_PREFIX):
                seen[name.removeprefix(_PREFIX)] = value
        command = ["/bin/sh", "-ex", "-c", script]
        mounts = "\n".join(
            f"mkdir -p @ROOT@{shlex.quote(inside)}\n"
            f"mount --bind {shlex.quote(str(outside))} @ROOT@{shlex.quote(inside)}"
            for inside, outside in self.binds.items()
        )
        done = self.builder.run(replace(stage, env=seen), command, user="0:0", mounts=mounts)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"

    def _copy(self, stage: Stage, folder: Path, origin: str, lines: str) -> None:
        root, base = self.builder.folder / "root", self.builder.folder / "from"
        script = [self.builder.mounted(stage, root)]
        if origin:
            script.append(self.builder.mounted(self.builder.stages[origin], base))
        for line in filter(None, map(str.strip, lines.splitlines())):
            if line.startswith("#"):
                continue
            source, *rest = shlex.split(line)
            target = f"{root}{(rest or [source])[0]}"
            copied = f"cp -a {base}{source}" if origin else f"cp -fLr {source}"
            parent = target if target.endswith("/") else str(Path(target).parent)
            script += [f"mkdir -p {parent}", f"{copied} {target}"]
        subprocess.run(
            ["unshare", "--mount", "sh", "-ec", "\n".join(script)], cwd=folder, check=True
        )

    def _describe(self, stage: Stage, sections: Mapping[str, str]) -> None:
        assert stage.layer is not None
        folder = stage.layer / ".singularity.d"
        (folder / "env").mkdir(parents=True)
        (folder / "env" / "90-environment.sh").write_text(sections.get("environment", ""))
        for name in ("runscript", "startscript", "test"):
            if name in sections:
                (folder / name).write_text(f"#!/bin/sh\n\n{sections[name]}\n")
                (folder / name).chmod(0o755)


def read(text: str) -> Sequence[Definition]:
    """The stages of a definition file; what stands before the first is a comment."""
    parts = re.split(r"^(?=bootstrap:)", _filled(text), flags=re.MULTILINE | re.IGNORECASE)
    first, *stages = parts
    assert all(line.startswith("#") or not line for line in first.splitlines()), first
    return [_stage(part) for part in stages]


def _stage(text: str) -> Definition:
    head, *rest = re.split(r"^\s*%", text, flags=re.MULTILINE)
    header = {}
    for line in head.splitlines():
        if line.strip() and not line.strip().startswith("#"):
            key, _, value = line.partition("#")[0].partition(":")
            header[key.strip().lower()] = value.strip()
    sections: dict[str, str] = {}
    files = []
    for item in rest:
        title, _, body = item.partition("\n")
        name, *arguments = title.split()
        assert name in _SECTIONS, f"%{name}"
        if name == "files":
            files.append((arguments[1] if arguments else "", body))
        else:
            assert not arguments, title
            sections[name] = sections.get(name, "") + body
    return Definition(header, sections, tuple(files))


def _filled(text: str) -> str:
    """With its arguments put in; one that nobody named ends the build."""
    told = re.search(r"^%arguments[^\n]*\n(.*?)(?=^%|\Z)", text, re.MULTILINE | re.DOTALL)
    lines = told[1].splitlines() if told else []
    values = dict(line.strip().split("=", 1) for line in lines if "=" in line)
    return re.sub(r"{{\s*(\w+)\s*}}", lambda found: values[found[1]], text)
