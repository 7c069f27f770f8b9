"""Installing: `python tests/bench/create.py [--quick]`.

`envforge install` of a lock whose packages are all in the package cache, a process from start
to finish, against a bare py-rattler script that installs the same records from the same
cache, and against `cp -al` of the package trees. Old prefixes are removed outside the clock.

Byte-compilation is apart: py-rattler compiles nothing, and envforge leaves it to a process
in the background. Once it is timed to its end; else that process is ended before the next
clock starts, so that it slows nobody.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from _measure import Report, Row, Run, alternate, clean_environment, ratio, run
from fakes import local_channel
from fakes.conda_package import Entry, make_package

from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.lock import LockedPackage

GOAL: Final = 1.25
"""Times a bare rattler install."""
PACKAGES: Final = 50
FILES: Final = 30_000
BARE: Final = Path(__file__).with_name("_bare_install.py")


@dataclass
class Bench:
    """The channel, its lock, and what both sides share."""

    scratch: Path
    rounds: int

    @property
    def root(self) -> Path:
        return self.scratch / "channels"

    @property
    def cache(self) -> Path:
        return self.scratch / "pkgs"

    @property
    def prefix(self) -> Path:
        return self.scratch / "prefix"

    @property
    def environment(self) -> dict[str, str]:
        env = clean_environment(self.scratch / "home")
        return env | {"ENVFORGE_PACKAGE_CACHE": str(self.cache)}

    def cleared(self) -> None:
        """No prefix, and nobody at work in one."""
        for process in _working_in(self.prefix):
            os.kill(process, signal.SIGTERM)
        while _working_in(self.prefix):
            time.sleep(0.01)
        shutil.rmtree(self.prefix, ignore_errors=True)

    def envforge(self, *, cold: bool = False) -> Run:
        """`envforge install`; the compiler that it leaves behind goes on."""
        self.cleared()
        if cold:
            shutil.rmtree(self.cache, ignore_errors=True)
        command = [*self._program("install", self._name()), "--prefix", self.prefix]
        return run(command, self.environment)

    def compilation(self) -> float:
        """Seconds until the compiler of the install just done has ended."""
        begin = time.perf_counter()
        while _working_in(self.prefix):
            time.sleep(0.01)
        return time.perf_counter() - begin

    def bare(self, *, cold: bool = False) -> Run:
        """The same records by a script of py-rattler's."""
        self.cleared()
        if cold:
            shutil.rmtree(self.cache, ignore_errors=True)
        packages = self.scratch / "packages.json"
        command: list[str | Path] = [sys.executable, BARE, packages, self.prefix, self.cache]
        return run(command, self.environment)

    def copied(self) -> Run:
        """The trees of the cache, hard-linked side by side by coreutils."""
        self.cleared()
        self.prefix.mkdir()
        trees = sorted(path for path in self.cache.iterdir() if (path / "info").is_dir())
        return run(["cp", "-al", "-t", self.prefix, *trees], self.environment)

    def lock(self, channel: local_channel.LocalChannel, names: list[str]) -> None:
        """Lock all of the generated packages, and write the records down for the script."""
        asked = [
            "bench",
            "--torch",
            channel.torch,
            "--cuda",
            channel.cuda,
            "--python",
            channel.python,
        ]
        wanted = [part for name in names for part in ("--with", name)]
        run([*self._program("lock", *asked), "--source", "pytorch", *wanted], self.environment)
        records = [_as_json(item, self.root) for item in self._locked(channel.subdir)]
        (self.scratch / "packages.json").write_text(json.dumps(records), encoding="utf-8")

    def _program(self, command: str, *arguments: str) -> list[str | Path]:
        place: list[str | Path] = ["--envs", self.scratch / "envs", "--mirror", self.root]
        return [sys.executable, "-m", "envforge", command, *arguments, *place, "--quiet"]

    def _name(self) -> str:
        [folder] = (self.scratch / "envs").iterdir()
        return folder.name

    def _locked(self, platform: str) -> tuple[LockedPackage, ...]:
        path = self.scratch / "envs" / self._name() / "conda-lock.yml"
        lock = conda_lock_yml.read(path.read_text(encoding="utf-8"), str(path))
        return lock.for_platform(platform)


def _as_json(item: LockedPackage, root: Path) -> dict[str, object]:
    channel = item.channel_url.rpartition("/")[2]
    return {
        "name": item.name,
        "version": item.version,
        "build": item.build,
        "depends": list(item.depends),
        "url": (root / channel / item.subdir / item.filename).as_uri(),
        "sha256": item.sha256,
        "md5": item.md5,
        "size": item.size,
    }


def _working_in(folder: Path) -> list[int]:
    """Processes whose working directory this is: envforge's compiler, which we started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == folder:
                found.append(int(process.name))
    return found


# -- the channel ----------------------------------------------------------------------------


def make_channel(
    root: Path, packages: int, files: int
) -> tuple[local_channel.LocalChannel, list[str]]:
    """The tests' channel (a Python, a torch stand-in) and generated packages on top.

    Every other one is pure Python, with modules that can be compiled; the rest holds
    headers and data. Sizes are drawn so that most files are small and a few are not.
    """
    channel = local_channel.LocalChannel(root=root)
    local_channel._build(channel)
    draw = random.Random(1)
    names = [f"generated{number:02d}" for number in range(packages)]
    for number, name in enumerate(names):
        share = files // packages
        pure = number % 2 == 0
        make_package(
            root / "conda-forge",
            name,
            build="pyh0_0" if pure else "h0_0",
            files=_modules(draw, name, share) if pure else _data(draw, name, share),
            depends=["python >=3.8"] if pure else [],
            noarch="python" if pure else None,
            entry_points=[f"{name} = {name}.m0:main"] if pure else [],
            subdir=channel.subdir,
        )
    local_channel.index_channel(root / "conda-forge")
    return channel, names


def _modules(draw: random.Random, name: str, count: int) -> dict[str, Entry | bytes | str]:
    def module() -> str:
        lines = draw.randint(3, 60)
        return "".join(f"def f{n}(x):\n    return x + {n}\n" for n in range(lines))

    files: dict[str, Entry | bytes | str] = {
        f"site-packages/{name}/m{number}.py": module() for number in range(count)
    }
    files[f"site-packages/{name}/__init__.py"] = ""
    files[f"site-packages/{name}/m0.py"] = "def main():\n    print('hello')\n"
    return files


def _data(draw: random.Random, name: str, count: int) -> dict[str, Entry | bytes | str]:
    files: dict[str, Entry | bytes | str] = {
        f"include/{name}/d{number % 20}/h{number}.h": draw.randbytes(
            int(min(2_000_000, draw.lognormvariate(8, 1.5)))
        )
        for number in range(count)
    }
    files[f"bin/{name}"] = Entry(
        data=f"#!/bin/sh\nexec {local_channel.PLACEHOLDER}/bin/sh\n".encode(),
        executable=True,
        placeholder="text",
    )
    return files


@contextlib.contextmanager
def a_bench(rounds: int, packages: int, files: int) -> Iterator[Bench]:
    """Everything made, locked and cached."""
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch).resolve(), rounds)
        channel, names = make_channel(bench.root, packages, files)
        bench.lock(channel, names)
        yield bench


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="3 rounds, a tenth of the files, no goal"
    )
    quick = parser.parse_args().quick
    files = FILES // 10 if quick else FILES
    report = Report(
        f"Installing {PACKAGES} generated packages, {files} files, beside Python and torch"
    )
    with a_bench(3 if quick else 9, PACKAGES, files) as bench:
        _compare(bench, report, goal=None if quick else GOAL)
    return report.finish()


def _compare(bench: Bench, report: Report, goal: float | None) -> None:
    cold = alternate(
        lambda: bench.envforge(cold=True), lambda: bench.bare(cold=True), 2, warm_up=False
    )
    report.rows.append(ratio("cold cache: envforge / rattler", *cold, None))
    bench.envforge()
    compilation = bench.compilation()
    ours = _tree(bench.prefix)
    bench.bare()
    theirs = _tree(bench.prefix)
    report.claim(
        "the same files", ours == theirs, f"{len(ours)} files; {sorted(ours ^ theirs)[:3] or ''}"
    )
    warm = alternate(bench.envforge, bench.bare, bench.rounds)
    report.rows.append(ratio("warm cache: envforge / rattler", *warm, goal))
    floor = alternate(bench.envforge, bench.copied, bench.rounds)
    report.rows.append(ratio("warm cache: envforge / cp -al", *floor, None))
    bench.cleared()
    report.rows.append(Row("byte-compilation in the background", (compilation,), None, "s"))


def _tree(prefix: Path) -> set[str]:
    """All files but byte code, what is kept about the environment, and rattler's backup mark."""
    found = (path.relative_to(prefix) for path in prefix.rglob("*") if not path.is_dir())
    return {
        str(path)
        for path in found
        if "__pycache__" not in path.parts and path.parts[0] not in {"conda-meta", "CACHEDIR.TAG"}
    }


if __name__ == "__main__":
    sys.exit(main())
