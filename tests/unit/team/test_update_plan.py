"""What an update asks for, read from the command line and environment.yml."""

from __future__ import annotations

import pytest
from fakes.conda_solver import package

from envforge.errors import InvalidValue
from envforge.formats.conda import environment_yml
from envforge.formats.conda.environment_yml import EnvironmentDocument
from envforge.model.difference import ASKED, Move
from envforge.model.lock import Lock, LockedPackage
from envforge.team import update_plan
from envforge.team.update_plan import UpdatePlan

TEXT = """\
name: p-torch20-cu118
channels: [conda-forge, nodefaults]
platforms: [linux-64, win-64]
dependencies:
  - python=3.10.14  # asked: =3.10
  - pytorch::pytorch=2.0.1=*cuda11.8*
  - pytorch::pytorch-cuda=11.8
  - numpy=1.26.4  # asked: <2; torch before 2.3 was built for NumPy 1
  - conda-forge::pandas=2.2.0  # asked: any; for the tables
  - scipy=1.13.0
  - pip:
      - einops==0.8.0  # asked: >=0.7
      - my-own @ https://wheels.example/my_own-1.0-py3-none-any.whl#sha256=00
"""
BOTH = ("linux-64", "win-64")


def wheel(name: str, version: str, platform: str) -> LockedPackage:
    url = f"https://wheels.example/{name}-{version}-py3-none-any.whl"
    return LockedPackage(
        platform=platform, name=name, manager="pip", version=version, url=url, sha256="a" * 64
    )


PACKAGES = (
    package("libuuid", "2.38"),
    *(
        item
        for platform in BOTH
        for item in (
            *(
                package(name, version, platform=platform)  # type: ignore[arg-type]
                for name, version in (
                    ("python", "3.10.14"),
                    ("pytorch", "2.0.1"),
                    ("numpy", "1.26.4"),
                    ("pandas", "2.2.0"),
                    ("scipy", "1.13.0"),
                    ("zlib", "1.2"),
                )
            ),
            wheel("einops", "0.8.0", platform),
            wheel("my-own", "1.0", platform),
            wheel("tqdm", "4.0", platform),
        )
    ),
)


@pytest.fixture
def document() -> EnvironmentDocument:
    return environment_yml.read(TEXT, "environment.yml")


def lock_of(*packages: LockedPackage) -> Lock:
    return Lock(
        packages=tuple(sorted(packages)),
        platforms=BOTH,  # type: ignore[arg-type]
        channels=("conda-forge",),
        content_hash={},
    )


LOCK = lock_of(*PACKAGES)


def planned(document: EnvironmentDocument, *packages: str) -> UpdatePlan:
    return update_plan.plan(document, LOCK, packages)


def line(plan: UpdatePlan, name: str) -> str:
    return next(each.strip() for each in plan.document.text.splitlines() if name in each)


def test_everything_gets_its_range_back(document: EnvironmentDocument) -> None:
    """Exact versions that a person wrote stay: torch, and scipy here."""
    plan = planned(document)

    assert plan.asked == frozenset()
    assert line(plan, "python=") == "- python=3.10"
    assert line(plan, "numpy") == "- numpy<2  # torch before 2.3 was built for NumPy 1"
    assert line(plan, "pandas") == "- conda-forge::pandas  # for the tables"
    assert line(plan, "einops") == "- einops>=0.7"
    assert line(plan, "scipy") == "- scipy=1.13.0"
    assert line(plan, "::pytorch=") == "- pytorch::pytorch=2.0.1=*cuda11.8*"


@pytest.mark.parametrize(
    ("typed", "name", "text"),
    [
        ("numpy=1.25", "numpy", "- numpy=1.25  # torch before 2.3 was built for NumPy 1"),
        ("pandas>=2.2,<3", "pandas", "- conda-forge::pandas>=2.2,<3  # for the tables"),
        ("other::pandas=2.3", "pandas", "- other::pandas=2.3  # for the tables"),
        ("scipy==1.14.1", "scipy", "- scipy==1.14.1"),
        ("einops=0.8", "einops", "- einops==0.8.*"),
        ("einops==0.8.1", "einops", "- einops==0.8.1"),
        ("my_own>=2", "my-own", "- my-own>=2"),
    ],
)
def test_a_range_goes_into_its_line(
    typed: str, name: str, text: str, document: EnvironmentDocument
) -> None:
    plan = planned(document, typed)

    assert line(plan, name) == text
    assert plan.asked == {name}
    assert plan.notes == ()


def test_a_name_alone_changes_no_line(document: EnvironmentDocument) -> None:
    plan = planned(document, "numpy", "zlib", "pytorch", "Einops")

    assert plan.document == planned(document).document
    assert plan.asked == {"numpy", "zlib", "pytorch", "einops"}


def test_torch_goes_by_both_its_names(document: EnvironmentDocument) -> None:
    assert planned(document, "torch").asked == {"pytorch"}


@pytest.mark.parametrize(
    ("typed", "text"), [("zlib=1.3", "- zlib=1.3"), ("tqdm>=4.6", "- tqdm>=4.6")]
)
def test_a_range_for_what_has_no_line_becomes_one(
    typed: str, text: str, document: EnvironmentDocument
) -> None:
    """Otherwise the next update would forget it. Wheels stay wheels."""
    plan = planned(document, typed)
    [note] = plan.notes

    assert text in {each.strip() for each in plan.document.text.splitlines()}
    assert "is a line of environment.yml now" in note
    manager = plan.document.spec.find(typed[:4])
    assert manager is not None
    assert manager.manager == ("pip" if typed.startswith("tqdm") else "conda")


@pytest.mark.parametrize(
    ("typed", "said", "remedy"),
    [
        ("numpyy", "did you mean `numpy`?", "envforge add p-torch20-cu118 numpyy"),
        ("rich=1", "neither asked for nor locked", "envforge add p-torch20-cu118 rich"),
        ("pytorch=2.1", "part of the environment's name", "--torch VERSION"),
        ("torch>=2.1", "part of the environment's name", "--torch VERSION"),
        ("pytorch-cuda=12.1", "part of the environment's name", "--cuda VERSION"),
        ("cuda-version=12.1", "part of the environment's name", "--cuda VERSION"),
        ("libuuid=2", "not locked for win-64", "envforge update p-torch20-cu118 libuuid"),
        ("einops=1=py_0", "asks for a conda build", "einops>=1"),
        ("numpy=>2", "did you mean `>=`?", ""),
    ],
)
def test_what_cannot_be_updated_so(
    typed: str, said: str, remedy: str, document: EnvironmentDocument
) -> None:
    with pytest.raises(InvalidValue) as caught:
        planned(document, typed)

    assert said in str(caught.value)
    assert remedy in str(caught.value.hint)


def test_a_package_of_one_platform_may_move_without_a_range(
    document: EnvironmentDocument,
) -> None:
    assert planned(document, "libuuid").asked == {"libuuid"}


def move(name: str) -> Move:
    return Move(name=name, kind="upgraded", before="1", after="2", platforms=BOTH, cause=ASKED)


def test_others_are_counted_once_and_without_what_was_asked() -> None:
    """The same package may move differently on two platforms."""
    moves = [move("b"), move("numpy"), move("a"), move("b")]

    assert update_plan.others(moves, {"numpy"}) == ("a", "b")
    assert update_plan.others(moves, ()) == ("a", "b", "numpy")


def test_what_stayed_is_told_with_its_range(document: EnvironmentDocument) -> None:
    plan = planned(document, "numpy", "pandas", "zlib")
    moved = lock_of(
        *(item for item in PACKAGES if item.name != "pandas"),
        *(package("pandas", "2.3.0", platform=each) for each in LOCK.platforms),
    )

    assert list(update_plan.stayed(plan, LOCK, moved, BOTH)) == [
        "`numpy` stays at 1.26.4: nothing newer fits `<2` in environment.yml",
        "`zlib` stays at 1.2: nothing newer fits",
    ]
