"""systemd's units, started as they say: what they execute, as whom, with which variables.

Where systemd runs no services (a container, this test), what a unit says is done by hand: its
command and variables, a user without rights, and a disk where only its own folders can be written.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e.world import Place, World
from fakes.readable_python import NOBODY, variables

SYSTEM = {"LANG": "C.UTF-8", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"}
"""What a service is given besides (systemd.exec(5))."""
ODD = 'it\'s 50% of "$x"'


@dataclass(frozen=True)
class Unit:
    """A service as it is written; `instance` is what follows `@`."""

    text: str
    folder: Path
    instance: str = ""

    def values(self, key: str) -> list[str]:
        """All that a setting was given, in order."""
        lines = (line.partition("=") for line in self.text.splitlines())
        return [value for name, _, value in lines if name == key]

    @property
    def own_folders(self) -> list[Path]:
        """The state's and the cache's."""
        states = [self.folder / "state" / name for name in self.values("StateDirectory")]
        return states + [self.folder / "cache" / name for name in self.values("CacheDirectory")]

    def start(self) -> subprocess.CompletedProcess[str]:
        """To its end."""
        for own in self.own_folders:
            own.mkdir(parents=True, exist_ok=True)
            os.chown(own, NOBODY, NOBODY)
        assert self.values("ProtectSystem") == ["strict"]
        assert self.values("NoNewPrivileges") == ["yes"]
        command = [*_RIGHTS, "env", "-i", *self._variables(), *self._command()]
        binds = [
            f"mount --bind {shlex.quote(str(own))} {shlex.quote(str(own))}"
            for own in self.own_folders
        ]
        where = [self._filled(item) for item in self.values("WorkingDirectory")] or ["/"]
        script = [*binds, "mount -o remount,bind,ro /", f"cd {shlex.quote(where[0])}"]
        return subprocess.run(
            [
                "unshare",
                "--mount",
                "sh",
                "-ec",
                "\n".join([*script, f"exec {shlex.join(command)}"]),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def _command(self) -> Sequence[str]:
        (line,) = self.values("ExecStart")
        return [self._filled(word).replace("$$", "$") for word in shlex.split(line)]

    def _variables(self) -> list[str]:
        words = [word for line in self.values("Environment") for word in shlex.split(line)]
        kept = SYSTEM | dict(self._filled(word).split("=", 1) for word in words)
        return [f"{name}={value}" for name, value in kept.items()]

    def _filled(self, word: str) -> str:
        known = {"%i": self.instance, "%S": f"{self.folder}/state", "%C": f"{self.folder}/cache"}
        parts = word.split("%%")
        for specifier, value in known.items():
            parts = [part.replace(specifier, value) for part in parts]
        return "%".join(parts)


_RIGHTS = (
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}"),
    *("--clear-groups", "--no-new-privs"),
)


@pytest.fixture
def tool(open_folder: Path, open_python: Path) -> Path:
    """envforge, as a server has it for all."""
    needed = "\n".join(
        f"export {name}={shlex.quote(value)}"
        for name, value in variables(open_python).items()
        if name != "PATH"
    )
    script = open_folder / f"bin {ODD}" / "envforge"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\n{needed}\nexec {open_python} -m envforge "$@"\n')
    script.chmod(0o755)
    return script


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts services as others")
@pytest.mark.skipif(not shutil.which("unshare") or not shutil.which("setpriv"), reason="util-linux")
def test_the_service_serves_and_the_timer_finds_what_is_wrong(
    world: World, shared: Path, open_folder: Path, tool: Path
) -> None:
    place = Place.beside(open_folder, world, shared)
    prefix = open_folder / f"env {ODD}"
    name = place.created(world.pytorch_cpu, "p", "--prefix", str(prefix))
    spec = place.envs / name / "environment.yml"
    spec.write_text(f"{spec.read_text()}variables:\n  ODD: {json.dumps(ODD)}\n")
    place.good("lock", name)
    units = open_folder / "units"
    settings = ("--set", f"prefix={prefix}", "--set", f"envforge={tool}")
    place.good("export", name, "--to", "systemd", *settings, "-o", f"{units}/")

    served = Unit((units / f"{name}@.service").read_text(), open_folder / "serving", "app.serve")
    module = served.own_folders[0] / "app" / "serve.py"
    done = _prepared(served, module)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen == [prefix.as_posix(), ODD, NOBODY, str(served.own_folders[1] / "inductor")]

    for is_good in (True, False):
        folder = open_folder / f"timer-{is_good}"
        checked = Unit((units / f"{name}-verify.service").read_text(), folder).start()
        assert (checked.returncode == 0) == is_good, checked.stdout + checked.stderr
        assert ("library-gone" in checked.stdout) == (not is_good)
        for library in prefix.rglob("libtorch_cpu.so"):
            library.unlink()


def _prepared(unit: Unit, module: Path) -> subprocess.CompletedProcess[str]:
    """Start it with a module in its working folder, where `-m` finds it."""
    program = (
        "import json, os, pathlib, sys, torch\n"
        "cache = os.environ['TORCHINDUCTOR_CACHE_DIR']\n"
        "pathlib.Path(cache).mkdir()\n"
        "print(json.dumps([sys.prefix, os.environ['ODD'], os.getuid(), cache]))\n"
    )
    module.parent.mkdir(parents=True)
    module.write_text(program)
    return unit.start()
