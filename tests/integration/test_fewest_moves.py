"""`update` moves only what must move: the real solver against trying everything.

Small channels are made up at random; the exhaustive check enumerates every environment that
they hold. On the metadata of real channels, letting go of any other package is tried.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from tempfile import mkdtemp

import pytest
from fakes.channel_metadata import write_channels
from fakes.conda_solver import package
from fakes.installing import make_settings
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from envforge.adapters.channels import resolve_channels
from envforge.adapters.rattler_solver import RattlerSolver
from envforge.formats.conda.conda_spec import split_depends
from envforge.model.lock import LockedPackage
from envforge.model.solving import Channel, CondaConflict, CondaProblem, CondaSolution
from envforge.model.spec import Dependency, VirtualPackage
from envforge.ports import CondaSolver
from envforge.solve.least_moves import LeastMoves

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")
VERSIONS = ("1", "2", "3")
Chosen = Mapping[str, LockedPackage]


class Counting:
    """A solver that counts how often it is asked."""

    def __init__(self, solver: CondaSolver) -> None:
        self.solver, self.questions = solver, 0

    def solve(self, problems: Sequence[CondaProblem]) -> tuple[CondaSolution | CondaConflict, ...]:
        self.questions += len(problems)
        return self.solver.solve(problems)


# --- channels that are made up --------------------------------------------------------------


@st.composite
def channels(draw: st.DrawFn) -> tuple[LockedPackage, ...]:
    """Five packages in up to three versions, each of which needs some of the others."""
    ranges = st.sampled_from(("", ">=2", "<2", "<3", "==1", "==3", "!=2"))
    records = []
    for name in NAMES:
        others = [other for other in NAMES if other > name or other == "alpha"]
        for version in VERSIONS[: draw(st.integers(2, 3))]:
            needed = draw(st.lists(st.sampled_from(others), unique=True, max_size=2))
            depends = tuple(f"{item} {draw(ranges)}".rstrip() for item in needed if item != name)
            records.append(package(name, version, depends=depends))
    return tuple(records)


def environments(records: Sequence[LockedPackage], direct: Sequence[str]) -> Iterator[Chosen]:
    """Every set of packages that fits together and holds what was asked for."""
    choices = [
        [None, *(item for item in records if item.name == name)]
        if name not in direct
        else [item for item in records if item.name == name]
        for name in NAMES
    ]
    for chosen in product(*choices):
        found = {item.name: item for item in chosen if item is not None}
        if all(fits(found, spec) for item in found.values() for spec in item.depends):
            yield found


def fits(found: Chosen, spec: str) -> bool:
    name, condition = split_depends(spec)
    if name not in found:
        return False
    version = int(found[name].version)
    sign = condition.rstrip("0123456789")
    limit = int(condition.removeprefix(sign) or 0)
    return {
        "": True,
        ">=": version >= limit,
        "<": version < limit,
        "==": version == limit,
        "!=": version != limit,
    }[sign]


def moved(old: Chosen, new: Chosen, asked: Sequence[str]) -> set[str]:
    both = old.keys() & new.keys() - set(asked)
    return {name for name in both if old[name].version != new[name].version}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(records=channels(), data=st.data())
def test_against_every_environment(
    records: tuple[LockedPackage, ...], data: st.DataObject, place: Path
) -> None:
    """What was asked for is as new as can be, and with that nothing moves less."""
    direct = data.draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=3))
    every = list(environments(records, direct))
    assume(len(every) > 1)
    old = data.draw(st.sampled_from(every))
    asked = data.draw(st.lists(st.sampled_from(direct), unique=True, min_size=1, max_size=2))

    best = every
    for name in sorted(asked):
        newest = max(int(each[name].version) for each in best)
        best = [each for each in best if int(each[name].version) == newest]
    fewest = min(len(moved(old, each, asked)) for each in best)

    root = Path(mkdtemp(dir=place))
    try:
        found = update(root, records, direct, tuple(old.values()), asked)
    finally:
        shutil.rmtree(root)

    assert all(found[name].version == best[0][name].version for name in asked)
    assert len(moved(old, found, asked)) == fewest


def update(
    root: Path,
    records: tuple[LockedPackage, ...],
    direct: Sequence[str],
    old: Sequence[LockedPackage],
    asked: Sequence[str],
) -> dict[str, LockedPackage]:
    write_channels(root / "channels", records)
    found = make_settings(root, mirror=str(root / "channels"))
    problem = CondaProblem(
        platform="linux-64",
        channels=resolve_channels(["conda-forge"], found),
        dependencies=tuple(Dependency(name=name) for name in direct),
    )
    solver = LeastMoves(solver=RattlerSolver(found), old=old, asked=asked)
    [answer] = solver.solve([problem])
    assert isinstance(answer, CondaSolution), answer
    return {item.name: item for item in answer.packages}


# --- real channels --------------------------------------------------------------------------

Real = tuple[RattlerSolver, CondaProblem, tuple[LockedPackage, ...]]
TRANSFORMERS = ("python=3.10", "transformers=4.38")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


def locked(given_: Sequence[str], mirror: Path, folder: Path) -> Real:
    """A solver, a question, and an old lock that answers it."""
    found = make_settings(folder, mirror=str(mirror))
    solver = RattlerSolver(found)
    problem = CondaProblem(
        platform="linux-64",
        channels=resolve_channels(["conda-forge"], found),
        dependencies=tuple(map(dependency, given_)),
        virtual_packages=tuple(
            VirtualPackage(name=name, version=version)
            for name, version in (("__glibc", "2.28"), ("__linux", "5.10"), ("__unix", "0"))
        ),
    )
    [answer] = solver.solve([problem])
    assert isinstance(answer, CondaSolution), answer
    return solver, problem, answer.packages


def dependency(text: str) -> Dependency:
    name, _, version = text.partition("=")
    return Dependency(name=name, version=f"={version}" if version else "")


def asking(problem: CondaProblem, text: str) -> CondaProblem:
    wanted = dependency(text)
    kept = tuple(item for item in problem.dependencies if item.name != wanted.name)
    return replace(problem, dependencies=(*kept, wanted))


def by_name(packages: Sequence[LockedPackage]) -> dict[str, LockedPackage]:
    return {item.name: item for item in packages}


def changed(old: Sequence[LockedPackage], answer: CondaSolution | CondaConflict) -> set[str]:
    """Names of packages that are on both sides, in other versions or builds."""
    assert isinstance(answer, CondaSolution), answer
    before, after = by_name(old), by_name(answer.packages)
    return {
        name
        for name in before.keys() & after.keys()
        if (before[name].version, before[name].build) != (after[name].version, after[name].build)
    }


@pytest.mark.parametrize(
    ("given_", "wanted", "must"),
    [
        (("openssl=3.3", "libcurl", "libarchive"), "openssl", set()),
        (("libcurl=8.5", "openssl"), "libcurl=8.9", {"libzlib"}),
        (("hdf5=1.14.3", "libnetcdf"), "hdf5", {"libnetcdf"}),
        (("libprotobuf=5.28", "libgrpc"), "libprotobuf", None),
    ],
)
def test_against_every_smaller_set(
    given_: Sequence[str],
    wanted: str,
    must: set[str] | None,
    shared_channels: Path,
    folder: Path,
) -> None:
    """On the metadata of conda-forge: no smaller set of other packages would have done."""
    solver, problem, old = locked(given_, shared_channels, folder)
    name = wanted.partition("=")[0]
    question = asking(problem, wanted)
    [answer] = LeastMoves(solver=solver, old=old, asked=[name]).solve([question])
    version = by_name(answer.packages)[name].version if isinstance(answer, CondaSolution) else ""
    found = changed(old, answer) - {name}
    others = [item for item in old if item.name != name]
    exactly = asking(problem, f"{name}={version}")

    assert found == must or must is None
    assert len(found) <= 4
    smaller = combinations(others, len(found) - 1) if found else ()
    tried = solver.solve(
        [
            replace(exactly, held=tuple(item for item in others if item not in free))
            for free in smaller
        ]
    )
    assert all(isinstance(item, CondaConflict) for item in tried)


def test_newest_on_real_metadata(shared_channels: Path, folder: Path) -> None:
    """It is as new as can be, whatever else has to move for it."""
    solver, problem, old = locked(("libcurl=8.5", "openssl"), shared_channels, folder)
    question = asking(problem, "libcurl")
    [plain] = solver.solve([question])
    [least] = LeastMoves(solver=solver, old=old, asked=["libcurl"]).solve([question])
    assert isinstance(plain, CondaSolution)
    assert isinstance(least, CondaSolution)

    newest, least_version = (by_name(item.packages)["libcurl"].version for item in (plain, least))
    assert least_version == newest


@pytest.mark.parametrize(
    ("wanted", "must"),
    [
        ("transformers=4.44", {"tokenizers", "numpy"}),
        ("python=3.10.14", {"liblzma"}),
        ("tqdm", set()),
    ],
)
def test_few_questions_on_real_metadata(
    wanted: str, must: set[str], shared_channels: Path, folder: Path
) -> None:
    solver, problem, old = locked(TRANSFORMERS, shared_channels, folder)
    name = wanted.partition("=")[0]
    counting = Counting(solver)
    [answer] = LeastMoves(solver=counting, old=old, asked=[name]).solve([asking(problem, wanted)])

    assert changed(old, answer) - {name} == must
    assert counting.questions <= 6


# --- one at a time --------------------------------------------------------------------------


DIAMOND = (
    package("app", "1", depends=("left", "right")),
    package("app", "2", depends=("left >=2", "right")),
    package("left", "1", depends=("base <2",)),
    package("left", "2", depends=("base >=2",)),
    package("right", "1"),
    package("right", "2", depends=("base >=2",)),
    package("base", "1"),
    package("base", "2"),
    package("base", "3"),
)


def old_of(**versions: str) -> tuple[LockedPackage, ...]:
    return tuple(item for item in DIAMOND if versions.get(item.name) == item.version)


def test_what_must_move_moves_and_what_need_not_stays(tmp_path: Path) -> None:
    old = old_of(app="1", left="1", right="1", base="1")

    found = update(tmp_path, DIAMOND, ["app"], old, ["app"])

    assert {name: item.version for name, item in found.items()} == {
        "app": "2",
        "left": "2",
        "right": "1",
        "base": "3",
    }


NEEDLESS = (
    package("app", "1"),
    package("app", "2", depends=("helper",)),
    package("helper", "1"),
    package("helper", "2", depends=("base >=2",)),
    package("keep", "1", depends=("base",)),
    package("base", "1"),
    package("base", "2"),
)


def test_the_engine_alone_moves_more(tmp_path: Path) -> None:
    """It takes the newest of what comes in, though that moves what was locked."""
    write_channels(tmp_path / "channels", NEEDLESS)
    found = make_settings(tmp_path, mirror=str(tmp_path / "channels"))
    problem = CondaProblem(
        platform="linux-64",
        channels=resolve_channels(["conda-forge"], found),
        dependencies=(Dependency(name="app"), Dependency(name="keep")),
    )
    solver = RattlerSolver(found)
    old = tuple(item for item in NEEDLESS[:-1] if item.version == "1" and item.name != "helper")
    [plain] = solver.solve([replace(problem, preferred=old[1:])])
    [least] = LeastMoves(solver=solver, old=old, asked=["app"]).solve([problem])

    assert changed(old, plain) == {"app", "base"}
    assert changed(old, least) == {"app"}
    assert isinstance(least, CondaSolution)
    assert by_name(least.packages)["helper"].version == "1"


def test_what_the_channel_no_longer_has_cannot_stay(tmp_path: Path) -> None:
    """It moves, and everything else stays for all that."""
    old = old_of(app="1", left="1", right="1", base="1")
    left = tuple(item for item in DIAMOND if (item.name, item.version) != ("right", "1"))
    bases = tuple(replace(item, depends=()) if item.name == "right" else item for item in left)
    found = update(tmp_path, bases, ["app", "base"], old, ["base"])

    assert (found["right"].version, found["left"].version) == ("2", "2")
    assert found["base"].version == "3"


def test_a_conflict_is_that_of_the_plain_question(tmp_path: Path) -> None:
    write_channels(tmp_path / "channels", DIAMOND)
    found = make_settings(tmp_path, mirror=str(tmp_path / "channels"))
    given_: tuple[Channel, ...] = resolve_channels(["conda-forge"], found)
    problem = CondaProblem(
        platform="linux-64", channels=given_, dependencies=(Dependency(name="app", version="=9"),)
    )
    solver = RattlerSolver(found)
    old = old_of(app="1", left="1", right="1", base="1")

    assert LeastMoves(solver=solver, old=old, asked=["app"]).solve([problem]) == solver.solve(
        [problem]
    )
