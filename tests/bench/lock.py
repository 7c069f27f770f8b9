"""Locking: `python tests/bench/lock.py [--quick] [--world FOLDER]`.

`envforge lock`, a process from start to finish, against a bare py-rattler script that does
the same solve of the same specs, and against conda-lock where that can run. Once on real
channel metadata (beside the checkout, or `ENVFORGE_TEST_CHANNELS`), once on a generated
channel of conda-forge's size over loopback HTTP.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

import world
from _measure import (
    ROOT,
    Report,
    Row,
    Run,
    alternate,
    clean_environment,
    difference,
    more_memory,
    ratio,
    run,
)

OVER_RATTLER: Final = 0.4
"""Seconds."""
THREE_PLATFORMS: Final = 1.7
MORE_MEMORY: Final = 100
"""MB."""
FASTER_THAN_CONDA_LOCK: Final = 10
BARE: Final = Path(__file__).with_name("_bare_lock.py")
CHANNELS: Final = Path(
    os.environ.get("ENVFORGE_TEST_CHANNELS", ROOT.parent / "shared" / "channels")
)
NLP: Final = (
    "transformers", "datasets", "accelerate", "tokenizers",
    "huggingface_hub", "jupyterlab", "pandas", "scikit-learn",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One lock, as arguments of `envforge lock`."""

    what: str
    mirror: str
    torch: str
    cuda: str
    python: str
    source: str
    packages: tuple[str, ...]
    platforms: tuple[str, ...] = ("linux-64",)

    def arguments(self) -> list[str]:
        """After `envforge lock`, but for the folder."""
        given = ["bench", "--torch", self.torch, "--cuda", self.cuda, "--python", self.python]
        given += ["--source", self.source, "--mirror", self.mirror, "--quiet"]
        for package in self.packages:
            given += ["--with", package]
        for platform in self.platforms:
            given += ["--platform", platform]
        return given


@dataclass(frozen=True)
class Bench:
    """Where to work, and how often to try."""

    scratch: Path
    rounds: int

    def envforge(self, case: Case, *, cold: bool = False, python: Sequence[str] = ()) -> Run:
        """`envforge lock` of a fresh folder; `cold`: with an empty cache."""
        home, envs = self.scratch / "home", self.scratch / "envs"
        shutil.rmtree(envs, ignore_errors=True)
        if cold:
            shutil.rmtree(home, ignore_errors=True)
        program = [sys.executable, *python, "-m", "envforge", "lock", *case.arguments()]
        return run([*program, "--envs", envs], clean_environment(home), self.scratch)

    def bare(self, problems: Path, *, cold: bool = False) -> Run:
        """The same solve by a script of py-rattler's."""
        cache = self.scratch / "bare-cache"
        if cold:
            shutil.rmtree(cache, ignore_errors=True)
        command: list[str | Path] = [sys.executable, BARE, problems, cache]
        return run(command, clean_environment(self.scratch / "home"), self.scratch)

    def problems(self, case: Case) -> Path:
        """What envforge puts to its solver for this case, written down for the script."""
        path = self.scratch / f"{re.sub('[^a-z0-9]+', '-', case.what)}.json"
        found = [_as_json(item) for item in _asked(case, self.scratch)]
        path.write_text(json.dumps(found), encoding="utf-8")
        return path

    def locked(self) -> list[str]:
        """File names in the lock that was just written."""
        [lock] = (self.scratch / "envs").glob("*/conda-lock.yml")
        text = lock.read_text(encoding="utf-8")
        return sorted(re.findall(r"url: .*/([^/\s]+\.(?:conda|tar\.bz2))\s", text))


def _asked(case: Case, scratch: Path) -> list[Any]:
    """The problems, caught on their way into the solver."""
    from envforge import Forge
    from envforge.adapters.rattler_solver import RattlerSolver

    caught: list[Any] = []
    original = RattlerSolver.solve

    def solve(self: Any, problems: Any) -> Any:
        caught[:] = problems
        return original(self, problems)

    RattlerSolver.solve = solve  # type: ignore[method-assign]
    try:
        overrides = {"mirror": case.mirror, "cache": scratch / "cache", "envs": scratch / "none"}
        Forge(overrides=overrides).lock(
            "bench",
            torch=case.torch,
            cuda=case.cuda,
            python=case.python,
            source=case.source,
            packages=case.packages,
            platforms=case.platforms,
            dry_run=True,
        )
    finally:
        RattlerSolver.solve = original  # type: ignore[method-assign]
    return caught


def _as_json(problem: Any) -> dict[str, Any]:
    read_at = {channel.name: channel.mirror or channel.url for channel in problem.channels}
    return {
        "platform": problem.platform,
        "channels": [(channel.url, read_at[channel.name]) for channel in problem.channels],
        "specs": [_spec(item, problem.channels) for item in problem.dependencies],
        "constraints": [f"{item.package}[version='{item.range}']" for item in problem.constraints],
        "virtual_packages": [
            (item.name, item.version, item.build) for item in problem.virtual_packages
        ],
    }


def _spec(item: Any, channels: Any) -> str:
    version = item.version
    if item.build and re.fullmatch(r"=[^=]+", version):
        version = f"={version}"  # with a build, conda means exactly this version
    parts = [f"version='{version}'"] if version else []
    parts += [f"build='{item.build}'"] if item.build else []
    if item.channel:
        [channel] = [known for known in channels if known.name == item.channel]
        parts.append(f"channel='{channel.url}'")
    return f"{item.name}[{','.join(parts)}]" if parts else item.name


# -- comparisons --------------------------------------------------------------------------


def against_rattler(bench: Bench, report: Report, case: Case, *, memory: bool) -> None:
    """Time, and peak memory, above the bare script."""
    problems = bench.problems(case)
    bench.envforge(case, cold=True)
    ours, bare = alternate(lambda: bench.envforge(case), lambda: bench.bare(problems), bench.rounds)
    same = sorted(bare[-1].output.split()) == bench.locked()
    report.claim(f"{case.what}: same packages", same, f"{len(bench.locked())} packages")
    report.rows.append(difference(f"{case.what}: envforge - rattler", ours, bare, OVER_RATTLER))
    goal = MORE_MEMORY if memory else None
    report.rows.append(more_memory(f"{case.what}: peak memory above rattler's", ours, bare, goal))


def cold_against_rattler(bench: Bench, report: Report, case: Case) -> None:
    """The same with empty caches, the first lock of a day."""
    problems = bench.problems(case)
    ours, bare = alternate(
        lambda: bench.envforge(case, cold=True),
        lambda: bench.bare(problems, cold=True),
        max(3, bench.rounds // 3),
    )
    what = f"{case.what}, cold"
    report.rows.append(difference(f"{what}: envforge - rattler", ours, bare, OVER_RATTLER))
    report.rows.append(more_memory(f"{what}: peak memory above rattler's", ours, bare, MORE_MEMORY))


def three_platforms(bench: Bench, report: Report, case: Case) -> None:
    """Three platforms against the first of them alone."""
    one = replace(case, platforms=case.platforms[:1])
    three, single = alternate(
        lambda: bench.envforge(case), lambda: bench.envforge(one), bench.rounds
    )
    report.rows.append(ratio(f"{case.what} / one", three, single, THREE_PLATFORMS))


def nothing_heavy(bench: Bench, report: Report, case: Case) -> None:
    """conda_lock takes half a second to import, and has no part in a lock."""
    log = bench.envforge(case, python=["-X", "importtime"]).errors
    imported = set(re.findall(r"\|\s+([\w.]+)$", log, re.MULTILINE))
    found = sorted(name for name in imported if name.partition(".")[0] == "conda_lock")
    report.claim("conda_lock is not imported by `lock`", "rattler" in imported and not found)


def against_conda_lock(bench: Bench, report: Report, case: Case, folder: Path) -> None:
    """The same environment.yml by conda-lock, with whichever conda there is."""
    what = f"{case.what}: conda-lock / envforge"
    programs = ("micromamba", "mamba", "conda")
    conda = next((path for name in programs if (path := shutil.which(name))), None)
    if conda is None or shutil.which("conda-lock") is None:
        report.skip(what, f"needs conda-lock and one of {', '.join(programs)}")
        return
    if not (folder / "conda-forge" / "linux-64" / "repodata.json").is_file():
        report.skip(what, "needs a world with repodata.json (--repodata)")
        return
    bench.envforge(case)
    [made] = (bench.scratch / "envs").iterdir()
    inputs = bench.scratch / "conda-lock"
    shutil.rmtree(inputs, ignore_errors=True)
    shutil.copytree(made, inputs)
    (inputs / "conda-lock.yml").unlink()
    text = (inputs / "environment.yml").read_text(encoding="utf-8")
    text = re.sub(
        r"^(\s*- )conda-forge$", rf"\1{case.mirror}/conda-forge", text, flags=re.MULTILINE
    )
    (inputs / "environment.yml").write_text(text, encoding="utf-8")
    kind = "--micromamba" if "micromamba" in conda else "--mamba" if "mamba" in conda else "--conda"
    command = ["conda-lock", "lock", kind, "--conda", conda, "-f", "environment.yml"]
    command += ["--virtual-package-spec", "virtual-packages.yml"]
    env = clean_environment(bench.scratch / "home")
    theirs, ours = alternate(
        lambda: run(command, env, inputs), lambda: bench.envforge(case), min(3, bench.rounds)
    )
    row = ratio(what, theirs, ours, FASTER_THAN_CONDA_LOCK)
    report.rows.append(Row(row.what, row.values, row.goal, at_least=True, detail=row.detail))


# -- inputs -------------------------------------------------------------------------------


def real_cases() -> tuple[Case, Case]:
    """A CUDA environment of the pytorch channel; three platforms of conda-forge's CPU build."""
    mirror = str(CHANNELS)
    cuda = Case("real metadata", mirror, "2.0.1", "11.8", "3.10", "pytorch", NLP)
    wide = ("linux-64", "osx-arm64", "win-64")
    cpu = Case(
        "real metadata, three platforms", mirror, "2.6.0", "cpu", "3.10", "conda-forge", (), wide
    )
    return cuda, cpu


def world_cases(folder: Path, url: str) -> tuple[Case, Case]:
    """The same two of a generated world."""
    asked = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    packages = tuple(asked["packages"])
    stack = (asked["torch"], asked["cuda"], asked["python"], "conda-forge")
    one = Case("conda-forge scale", url, *stack, packages)
    wide = ("linux-64", "osx-arm64", "win-64")
    three = Case(
        "conda-forge scale, three platforms",
        url, asked["torch"], "cpu", asked["python"], "conda-forge", packages, wide,
    )  # fmt: skip
    return one, three


@contextmanager
def a_world(given: Path | None, *, quick: bool, repodata: bool) -> Iterator[tuple[Path, str]]:
    """A world, generated unless given, and its address on this machine."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = given or Path(scratch)
        if not (folder / "request.json").is_file():
            share = 20 if quick else 1
            made = world.make_world(1, world.ARCH_RECORDS // share, world.NOARCH_RECORDS // share)
            world.write(made, folder, ("linux-64", "osx-arm64", "win-64"), repodata=repodata)
        from fakes.channel_server import serve

        with serve(folder) as server:
            yield folder, server.url


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds, a twentieth of the world")
    parser.add_argument("--world", type=Path, help="a world from world.py; made there if absent")
    parser.add_argument("--repodata", action="store_true", help="as older tools read it, too")
    given = parser.parse_args()
    report = Report("Locking: envforge against a bare py-rattler script")
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), 3 if given.quick else 9)
        if (CHANNELS / "conda-forge").is_dir():
            cuda, cpu = real_cases()
            against_rattler(bench, report, cuda, memory=False)
            nothing_heavy(bench, report, cuda)
            three_platforms(bench, report, cpu)
        else:
            report.skip("real metadata", f"no channels at {CHANNELS}")
        with a_world(given.world, quick=given.quick, repodata=given.repodata) as (folder, url):
            one, three = world_cases(folder, url)
            against_rattler(bench, report, one, memory=True)
            cold_against_rattler(bench, report, one)
            nothing_heavy(bench, report, one)
            three_platforms(bench, report, three)
            against_conda_lock(bench, report, one, folder)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
