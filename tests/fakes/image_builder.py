"""Builds a Dockerfile without a container engine: its steps in their order, by a shell in a chroot.

A stage is an overlay over the stage that it starts from; an image from a registry is stood in for
by this machine's own files. Needs root, namespaces and overlays: `why_not` says what is missing.
Secrets are not handed in; caches are folders that outlive a build.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

_OPTION = re.compile(r"--(?P<name>[a-z]+)=(?P<value>\S+)\s+")


@dataclass(frozen=True)
class Stage:
    """What a stage has become."""

    layer: Path | None = None
    """The upper folder; below lies the machine, but for `scratch`."""
    is_scratch: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = "0:0"
    workdir: str = "/"
    shell: tuple[str, ...] = ("/bin/sh", "-c")
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    healthcheck: tuple[str, ...] = ()


def why_not(folder: Path) -> str:
    """Why nothing can be built here; empty: it can."""
    if os.geteuid() != 0:
        return "only root may make overlays"
    if not shutil.which("unshare") or not shutil.which("chroot"):
        return "no unshare, or no chroot"
    probe = Builder(folder / "probe", {}, {})
    done = probe.run(probe.new_stage("probe", Stage()), ["true"], user="0:0")
    return "" if done.returncode == 0 else f"no overlay here: {done.stderr.strip()}"


@dataclass
class Builder:
    """Builds one Dockerfile.

    Args:
        folder: for layers and caches.
        contexts: `--build-context`, by name; an empty name is the build's own folder.
        machine: variables that the build sees besides, as `--build-arg` of proxies would.
    """

    folder: Path
    contexts: Mapping[str, Path]
    machine: Mapping[str, str]
    ran: list[str] = field(default_factory=list)
    stages: dict[str, Stage] = field(default_factory=dict)

    def build(self, dockerfile: Path) -> Stage:
        """The last stage."""
        name = ""
        for instruction, rest in instructions(dockerfile.read_text()):
            if instruction == "FROM":
                name = self._begin(rest)
            else:
                self.stages[name] = self._step(self.stages[name], instruction, rest)
        return self.stages[name]

    def new_stage(self, name: str, base: Stage) -> Stage:
        """A layer that begins as a copy of another stage's: no overlay lies in another."""
        upper = self.folder / "layers" / f"{len(self.stages)}-{name}"
        upper.parent.mkdir(parents=True, exist_ok=True)
        if base.layer is None:
            upper.mkdir()
        else:
            subprocess.run(["cp", "-a", base.layer, upper], check=True)
        return replace(base, layer=upper)

    def command(
        self,
        stage: Stage,
        command: Sequence[str],
        *,
        user: str,
        mounts: str = "",
        cwd: str = "/",
        read_only: bool = False,
    ) -> list[str]:
        """What runs a command in a stage.

        Args:
            stage: whose files and variables it sees.
            command: a program of the stage, and its arguments.
            user: and group, by number.
            mounts: lines of a shell; `@ROOT@` is the stage's root.
            cwd: in the stage.
            read_only: but for what `mounts` puts there; and no rights are to be had.
        """
        root = self.folder / "root"
        seen = {"HOME": _home(stage, user), **self.machine, **stage.env}
        variables = [f"{name}={value}" for name, value in seen.items()]
        inside = ["chroot", f"--userspec={user}", "--groups=", root]
        inside += ["setpriv", "--no-new-privs"] if read_only else []
        inside += ["env", "-i", "-C", cwd, *variables]
        script = "\n".join(
            [
                "set -e",
                self.mounted(stage, root),
                *(f"mount --rbind /{name} {root}/{name}" for name in ("proc", "dev", "sys")),
                mounts.replace("@ROOT@", str(root)),
                f"mount -o remount,bind,ro {root}" if read_only else "",
                f"exec {shlex.join(map(str, [*inside, *command]))}",
            ]
        )
        return ["unshare", "--mount", "sh", "-c", script]

    def run(
        self, stage: Stage, command: Sequence[str], **how: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a stage, to its end; see `command`."""
        return subprocess.run(
            self.command(stage, command, **how),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    # --- instructions -------------------------------------------------------------------------

    def _begin(self, rest: str) -> str:
        image, _, name = re.sub(r"\s+as\s+", " AS ", rest, flags=re.IGNORECASE).partition(" AS ")
        name = name or str(len(self.stages))
        if name in self.contexts:
            self.stages[name] = Stage(layer=self.contexts[name], is_scratch=True)
        elif image == "scratch":
            self.stages[name] = replace(self.new_stage(name, Stage()), is_scratch=True)
        else:
            self.stages[name] = self.new_stage(name, self.stages.get(image, Stage()))
        return name

    def _step(self, stage: Stage, instruction: str, rest: str) -> Stage:
        if instruction == "RUN":
            return self._run_step(stage, rest)
        if instruction == "COPY":
            return self._copy(stage, rest)
        if instruction == "ENV":
            pairs = dict(item.partition("=")[::2] for item in shlex.split(rest))
            return replace(stage, env={**stage.env, **pairs})
        if instruction == "HEALTHCHECK":
            return replace(stage, healthcheck=tuple(json.loads(rest.partition("CMD")[2])))
        words = tuple(json.loads(rest)) if rest.startswith("[") else ()
        known = {
            "SHELL": {"shell": words},
            "ENTRYPOINT": {"entrypoint": words},
            "CMD": {"command": words},
            "USER": {"user": rest},
            "WORKDIR": {"workdir": rest},
            "LABEL": {},
        }
        if instruction == "WORKDIR":
            self.run(stage, ["mkdir", "-p", rest], user="0:0")
        return replace(stage, **known[instruction])  # type: ignore[arg-type]

    def _run_step(self, stage: Stage, rest: str) -> Stage:
        mounts, command = _options(rest)
        script = "\n".join(self._mount(dict(_pairs(value))) for _, value in mounts)
        self.ran.append(command)
        done = self.run(stage, [*stage.shell, command], user=stage.user, mounts=script)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return stage

    def _mount(self, options: Mapping[str, str]) -> str:
        target = options["target"]
        if options["type"] == "cache":
            source = self.folder / "caches" / target.strip("/").replace("/", "-")
            source.mkdir(parents=True, exist_ok=True)
        elif options["type"] == "bind":
            source = self.stages[options["from"]].layer or self.folder
        else:
            return ""
        return f"mkdir -p @ROOT@{target}\nmount --bind {source} @ROOT@{target}"

    def _copy(self, stage: Stage, rest: str) -> Stage:
        options, plain = _options(rest)
        words = json.loads(plain) if plain.startswith("[") else plain.split()
        *sources, target = words
        origin = dict(options).get("from")
        base, lines = self.contexts[""], []
        if origin is not None:
            base = self.folder / "from"
            lines.append(self.mounted(self.stages[origin], base))
        root = self.folder / "root"
        for source in sources:
            # As Docker does it: what is in a folder, or the file, into a folder or to a name.
            found, place = shlex.quote(f"{base}/{source.strip('/')}"), f"{root}{target}"
            folder = place if target.endswith("/") else str(Path(place).parent)
            into_folder = f"mkdir -p {place}; cp -a {found}/. {place}/"
            to_name = f"mkdir -p {folder}; cp -a {found} {place}"
            lines += [
                self.mounted(stage, root),
                f"if [ -d {found} ]; then {into_folder}; else {to_name}; fi",
            ]
        subprocess.run(["unshare", "--mount", "sh", "-ec", "\n".join(lines)], check=True)
        return stage

    def mounted(self, stage: Stage, place: Path) -> str:
        """The line of a shell that puts a stage there."""
        place.mkdir(exist_ok=True, parents=True)
        if stage.is_scratch:
            return f"mount --bind {stage.layer} {place}"
        upper = stage.layer
        assert upper is not None
        work = upper.with_name(f"{upper.name}.work")
        work.mkdir(exist_ok=True)
        options = f"lowerdir=/,upperdir={upper},workdir={work}"
        return f"mount -t overlay overlay -o {options} {place}"


def _home(stage: Stage, user: str) -> str:
    """As engines set it: what the image's passwd says, else the root."""
    own = stage.layer / "etc" / "passwd" if stage.layer else Path("/etc/passwd")
    lines = (own if own.exists() else Path("/etc/passwd")).read_text().splitlines()
    fields = (line.split(":") for line in lines)
    return next((item[5] for item in fields if item[2] == user.partition(":")[0]), "/")


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Instructions and what follows them, by the parser of dockerfile-parse."""
    from dockerfile_parse import DockerfileParser

    class _Text(DockerfileParser):  # type: ignore[misc]
        """Reads a text, and never a file."""

    import io

    parser = _Text(fileobj=io.BytesIO(text.encode()))
    for item in parser.structure:
        if item["instruction"] != "COMMENT":
            yield item["instruction"], item["value"]


def _options(rest: str) -> tuple[list[tuple[str, str]], str]:
    found = []
    while match := _OPTION.match(rest):
        found.append((match["name"], match["value"]))
        rest = rest[match.end() :]
    return found, rest


def _pairs(value: str) -> Iterator[tuple[str, str]]:
    for item in value.split(","):
        name, _, setting = item.partition("=")
        yield name, setting
