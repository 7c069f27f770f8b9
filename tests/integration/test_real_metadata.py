"""Locks from the metadata of real channels, where a copy of it lies beside the project.

`data/real_solves.tsv` lists what was tried: torch, CUDA and Python, the build that has to come
out, or `-` where the sample of the channels holds no solution. None of it needs a network.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from envforge.adapters.channels import resolve_channels
from envforge.adapters.rattler_solver import RattlerSolver
from envforge.errors import EnvforgeError, Unsolvable
from envforge.formats.conda import environment_yml, virtual_packages_yml
from envforge.formats.conda_lock import conda_lock_yml
from envforge.matrix import reading
from envforge.matrix.choose import choose
from envforge.model.choice import Choice
from envforge.model.cuda import CudaVersion
from envforge.model.lock import LockedPackage
from envforge.model.machine import PLATFORMS
from envforge.model.settings import Settings
from envforge.model.solving import CondaConflict, CondaProblem, WheelProblem
from envforge.model.spec import Request
from envforge.solve import compose, nearest, targets
from envforge.solve.current import is_current
from envforge.solve.explain import shortened
from envforge.solve.lock import Locked, LockInputs, lock, problems

DATA = Path(__file__).parents[1] / "data"
with (DATA / "real_solves.tsv").open(encoding="utf-8") as stream:
    ROWS = list(csv.DictReader(stream, delimiter="\t"))
SOLVABLE = [row for row in ROWS if row["build"] != "-"]
UNSOLVABLE = [row for row in ROWS if row["build"] == "-"]
MATRIX = reading.load()
CANONICAL = re.compile(
    r"https://conda\.anaconda\.org/(conda-forge|nvidia|pytorch)/(linux-64|noarch)/[^/]+"
)


def identity(row: dict[str, str]) -> str:
    return "-".join((row["torch"], row["cuda"], f"py{row['python']}", row["source"], row["with"]))


class Quiet:
    """A reporter that nobody reads."""

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        yield

    def progress(self, *_: Any, **__: Any) -> None:
        pass

    def note(self, message: str) -> None:
        pass

    warn = note


class NoWheels:
    def resolve(self, problem: WheelProblem) -> tuple[LockedPackage, ...]:
        raise AssertionError("nothing here is a wheel")


@cache
def solver_for(mirror: str, cache_folder: str) -> tuple[RattlerSolver, Settings]:
    """One for the whole module: it keeps the files it has mapped."""
    folder = Path(cache_folder)
    settings = Settings(
        home=folder,
        envs_folder=folder,
        prefixes=folder,
        package_cache=folder,
        cache=folder,
        store=folder,
        views=folder,
        mirror=mirror,
    )
    return RattlerSolver(settings), settings


@pytest.fixture
def real(shared_channels: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    base = tmp_path_factory.getbasetemp()
    return solver_for(str(shared_channels), str(base / "real-metadata"))


def request_of(row: dict[str, str]) -> Request:
    packages = () if row["with"] == "-" else tuple(row["with"].split("+"))
    return asked(row["torch"], row["cuda"], *packages, python=row["python"], source=row["source"])


def asked(torch: str, cuda: str, *packages: str, **changes: Any) -> Request:
    parsed = None if cuda == "cpu" else CudaVersion.parse(cuda)
    return Request(project="p", torch=torch, cuda=parsed, packages=packages, **changes)


def inputs_for(request: Request, settings: Settings, choice: Choice | None = None) -> LockInputs:
    choice = choice or choose(request, None, matrix=MATRIX)
    spec = compose.compose(request, choice, (), "p-torch00-cu00")
    return LockInputs(
        document=environment_yml.read(environment_yml.write(spec), "environment.yml"),
        virtual=targets.all_virtual_packages(request.platforms, choice),
        channels=resolve_channels(spec.channels, settings),
        source=choice.source,
        cuda=choice.cuda,
        constraints=choice.constraints,
        other_pythons=choice.other_pythons,
        architectures=choice.architectures,
        min_driver=choice.min_driver,
        is_fresh=True,
    )


def locked(request: Request, real: Any) -> Locked:
    solver, settings = real
    return lock(inputs_for(request, settings), solver, NoWheels(), Quiet())


def versions(found: Locked, platform: str = "linux-64") -> dict[str, str]:
    return {item.name: item.version for item in found.lock.for_platform(platform)}


def test_the_first_example(real: Any) -> None:
    """Torch 2.0.1 for CUDA 11.8, its companions, and an mkl that it can be imported with."""
    found = locked(asked("2.0.1", "11.8", "torchvision", "torchaudio", "transformers"), real)
    torch = found.lock.find("pytorch", "linux-64")
    assert torch is not None
    assert re.fullmatch(r"py3\.\d+_cuda11\.8_cudnn8\.7\.0_0", torch.build)
    got = versions(found)
    assert (got["pytorch-cuda"], got["torchvision"], got["torchaudio"]) == (
        "11.8",
        "0.15.2",
        "2.0.2",
    )
    assert (got["mkl"] < "2024.1", got["numpy"].split(".")[0]) == (True, "1")
    assert found.lock.target is not None
    assert (found.lock.target.cudnn, found.lock.target.cuda) == ("8.7.0", CudaVersion(11, 8))
    text = found.files["environment.yml"]
    assert "  - pytorch::pytorch=2.0.1=*cuda11.8*\n" in text
    assert re.search(r"- mkl=\S+  # asked: <2024\.1; .*pytorch/pytorch#123097", text)


@pytest.mark.parametrize("row", SOLVABLE, ids=identity)
def test_what_the_sample_holds_locks(row: dict[str, str], real: Any) -> None:
    """With the build asked for, canonical addresses and both hashes."""
    found = locked(request_of(row), real)
    torch = found.lock.find("pytorch", "linux-64")
    assert torch is not None
    assert (torch.version, torch.build) == (row["torch"], row["build"])
    assert versions(found)["python"].startswith(f"{row['python']}.")
    for item in found.lock.packages:
        assert CANONICAL.fullmatch(item.url), item.url
        assert (len(item.md5), len(item.sha256)) == (32, 64)


@pytest.mark.parametrize("row", UNSOLVABLE, ids=identity)
def test_what_the_sample_lacks_is_explained(row: dict[str, str], real: Any) -> None:
    """In a dozen lines, naming the platform and a package that was asked for."""
    with pytest.raises(Unsolvable) as error:
        locked(request_of(row), real)
    lines = error.value.explanation.splitlines()
    assert error.value.platform == "linux-64"
    assert 1 <= len(lines) <= 12
    assert any(name in error.value.explanation for name in ("torch", "cudatoolkit"))


def test_the_nearest_that_does_solve_is_found_by_trying(real: Any) -> None:
    """torchaudio 2.2.2 is not in the sample: leave it out, or take a torch that has one."""
    solver, settings = real
    request = asked("2.2.2", "11.8", "torchvision", "torchaudio", python="3.10", source="pytorch")
    choice = choose(request, None, matrix=MATRIX)
    with pytest.raises(Unsolvable) as error:
        locked(request, real)

    def solves(candidate: Request, chosen: Choice) -> bool:
        try:
            given = inputs_for(candidate, settings, chosen)
            lock(given, solver, NoWheels(), Quiet())
        except EnvforgeError:
            return False
        return True

    started = time.monotonic()
    commands = nearest.find(
        request,
        None,
        choice=choice,
        explanation=error.value.explanation,
        solves=solves,
        matrix=MATRIX,
    )
    assert time.monotonic() - started < nearest.SECONDS + 5
    assert commands[0] == (
        "envforge create p --torch 2.2.2 --cuda 11.8 --python 3.10 --with torchvision"
        " --source pytorch"
    )


def test_a_misspelt_package(real: Any) -> None:
    with pytest.raises(Unsolvable) as error:
        locked(asked("2.0.1", "11.8", "transfomers"), real)
    assert "did you mean `transformers`" in error.value.explanation


def test_no_cuda_on_the_target(real: Any) -> None:
    """conda-forge's CUDA builds ask for `__cuda`; without it they are told to, in words."""
    solver, settings = real
    given = inputs_for(asked("2.8.0", "12.9", python="3.13", source="conda-forge"), settings)
    [question] = problems(given.document, given)
    bare = CondaProblem(
        platform=question.platform,
        channels=question.channels,
        dependencies=question.dependencies,
        virtual_packages=tuple(v for v in question.virtual_packages if v.name != "__cuda"),
    )
    [answer] = solver.solve([bare])
    assert isinstance(answer, CondaConflict)
    told = shortened(answer, bare)
    assert "`__cuda" in told
    assert "the target has no `__cuda`" in told


@pytest.mark.parametrize(
    ("request_", "source"),
    [
        (asked("2.5.1", "cpu", "pandas", platforms=PLATFORMS), "conda-forge"),
        (asked("2.0.1", "11.8", platforms=("linux-64", "win-64")), "pytorch"),
        (asked("2.6.0", "12.6", platforms=("linux-64", "linux-aarch64")), "conda-forge"),
    ],
    ids=["cpu-everywhere", "windows", "arm"],
)
def test_platforms_agree_on_what_was_asked_for(request_: Request, source: str, real: Any) -> None:
    """One environment.yml, so one version of each direct dependency."""
    found = locked(request_, real)
    assert found.lock.target is not None
    assert found.lock.target.source == source
    for item in found.document.spec.dependencies:
        got = {versions(found, platform)[item.name] for platform in request_.platforms}
        assert got == {item.version.lstrip("=")}


def test_locking_again_changes_nothing(real: Any) -> None:
    """What was written back solves to the same bytes, and is current."""
    solver, settings = real
    first = locked(asked("2.3.0", "12.1", "torchvision", "pandas", python="3.10"), real)
    document = environment_yml.read(first.files["environment.yml"], "environment.yml")
    virtual = virtual_packages_yml.read(first.files["virtual-packages.yml"], "v")
    assert first.lock.target is not None
    again = lock(
        LockInputs(
            document=document,
            virtual=virtual,
            channels=resolve_channels(document.spec.channels, settings),
            source="pytorch",
            cuda=CudaVersion(12, 1),
            constraints=choose(asked("2.3.0", "12.1"), None, matrix=MATRIX).constraints,
            architectures=first.lock.target.architectures,
            min_driver=first.lock.target.min_driver,
        ),
        solver,
        NoWheels(),
        Quiet(),
    )
    assert again.files == first.files
    assert is_current(again.lock, document, virtual) == ()


def test_conda_lock_reads_it_and_renders_the_same_addresses(real: Any, tmp_path: Path) -> None:
    lockfile = pytest.importorskip("conda_lock.lockfile")
    found = locked(asked("2.0.1", "11.8", "torchvision", python="3.10"), real)
    path = tmp_path / "conda-lock.yml"
    path.write_text(found.files["conda-lock.yml"], encoding="utf-8")
    read = lockfile.parse_conda_lock_file(path)
    assert sorted(item.url for item in read.package) == sorted(
        item.url for item in found.lock.packages
    )
    assert read.metadata.content_hash == found.lock.content_hash
    assert conda_lock_yml.read(path.read_text(encoding="utf-8"), "c") == found.lock


SCRIPT = """
import hashlib, os, sys
sys.path[:0] = [{tests!r}]
os.umask({umask})
from pathlib import Path
import test_real_metadata as real
found = real.locked(
    real.asked("2.0.1", "11.8", "torchvision", "transformers", "jupyterlab"),
    real.solver_for({mirror!r}, {cache!r}),
)
for name in sorted(found.files):
    print(name, hashlib.sha256(found.files[name].encode()).hexdigest())
sys.stdout.flush()
os._exit(0)
"""


def test_two_machines_write_the_same_bytes(shared_channels: Path, tmp_path: Path) -> None:
    """Another home, time zone, language, umask, hash seed, host name and working directory."""
    machines: list[tuple[str, dict[str, str]]] = [
        ("0o022", {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1", "HOSTNAME": "one"}),
        (
            "0o077",
            {
                "TZ": "Asia/Tokyo",
                "LC_ALL": "C.UTF-8",
                "LANG": "de_DE.UTF-8",
                "PYTHONHASHSEED": "2",
                "HOSTNAME": "two",
                "USER": "somebody",
            },
        ),
    ]
    answers = set()
    for number, (umask, variables) in enumerate(machines):
        home = tmp_path / f"home{number}"
        home.mkdir()
        script = SCRIPT.format(
            tests=str(Path(__file__).parent),
            umask=umask,
            mirror=str(shared_channels),
            cache=str(home / "cache"),
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={"HOME": str(home), "PATH": os.environ["PATH"], **variables},
            cwd=home,
            capture_output=True,
            text=True,
            check=True,
        )
        assert len(done.stdout.splitlines()) == 3
        answers.add(done.stdout)
    assert len(answers) == 1
