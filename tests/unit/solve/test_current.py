"""A lock is current or it is not, and then it is said why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.conda_solver import package

from envforge.formats.conda import environment_yml
from envforge.formats.conda_lock.content_hash import content_hashes, inputs_digest
from envforge.model.lock import Lock
from envforge.model.machine import Platform
from envforge.model.spec import VirtualPackage
from envforge.solve.current import is_current

TEXT = """\
name: env
channels: [conda-forge, nodefaults]
platforms: [linux-64]
dependencies:
  - python=3.12.7  # asked: =3.12
  - numpy>=1.26
"""
VIRTUAL: dict[Platform, tuple[VirtualPackage, ...]] = {
    "linux-64": (VirtualPackage(name="__cuda", version="12.6"),)
}
SPEC = environment_yml.read(TEXT, "e").spec
LOCK = Lock(
    packages=(package("numpy", "1.26.4", depends=("libblas >=3",)), package("python", "3.12.7")),
    platforms=("linux-64",),
    channels=("conda-forge",),
    content_hash=content_hashes(SPEC, VIRTUAL),
    inputs_digest=inputs_digest(SPEC, VIRTUAL),
)


def reasons(text: str, lock: Lock = LOCK) -> tuple[str, ...]:
    return is_current(lock, environment_yml.read(text, "e"), VIRTUAL)


def test_comments_and_blanks_do_not_make_a_lock_stale() -> None:
    assert reasons(TEXT) == ()
    assert reasons(TEXT.replace("- numpy", "# a comment\n  - 'numpy").replace("6\n", "6'\n")) == ()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("numpy>=1.26", "numpy>=1.26\n  - scipy", "`scipy` is not in the lock"),
        ("python=3.12.7", "python=3.11", "`python` is 3.11 in environment.yml, and 3.12.7 in"),
        ("\n  - numpy>=1.26", "", "`numpy` is in the lock, and no longer in environment.yml"),
        ("[linux-64]", "[linux-64, win-64]", "environment.yml names the platforms linux-64, win"),
        ("[conda-forge,", "[mine, conda-forge,", "the channels in environment.yml are others"),
        ("numpy>=1.26", "numpy>=1.20", "was changed after it was locked"),
    ],
)
def test_what_was_changed_is_said(old: str, new: str, told: str) -> None:
    found = reasons(TEXT.replace(old, new))
    assert any(told in reason for reason in found)


def test_the_machine_described_counts() -> None:
    document = environment_yml.read(TEXT, "e")
    other: dict[Platform, tuple[VirtualPackage, ...]] = {
        "linux-64": (VirtualPackage(name="__cuda", version="12.8"),)
    }
    assert is_current(LOCK, document, other) == (
        "environment.yml or virtual-packages.yml was changed after it was locked",
    )


def test_a_lock_of_another_tool_is_held_against_its_own_hashes() -> None:
    """It has no digest of ours; platforms without a hash are told too."""
    foreign = replace(LOCK, inputs_digest=None)
    assert reasons(TEXT, foreign) == ()
    assert reasons(TEXT.replace("1.26", "1.20"), foreign)
    bare = replace(foreign, content_hash={})
    assert reasons(TEXT, bare) == ("environment.yml was changed after it was locked",)
