from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fakes.installing import as_installed, conda_package, wheel
from hypothesis import given
from hypothesis import strategies as st

from envforge.install.plan import is_same, lock_digest, moves_python, plan_install
from envforge.model.lock import LockedPackage
from envforge.model.prefix import InstalledPackage

HERE = Path("/somewhere")
PYTHON = conda_package("python", "3.11.7")
NUMPY = conda_package("numpy", "1.26.4")
TORCH = wheel("torch", "2.13.0+cpu")


def test_an_empty_prefix_gets_everything() -> None:
    plan = plan_install([PYTHON, TORCH], [], HERE)

    assert plan.add == (PYTHON, TORCH)
    assert (plan.change, plan.remove, plan.keep) == ((), (), 0)


def test_what_is_as_locked_is_kept() -> None:
    plan = plan_install([PYTHON, TORCH], [as_installed(PYTHON), as_installed(TORCH)], HERE)

    assert plan.is_empty
    assert plan.keep == 2


def test_only_the_difference_is_touched() -> None:
    """One package of another build changes, one that is not locked goes, the rest stays."""
    other = replace(as_installed(NUMPY), build="other", sha256="0" * 64)
    stray = as_installed(conda_package("stray"))

    plan = plan_install([PYTHON, NUMPY], [as_installed(PYTHON), other, stray], HERE)

    assert plan.change == ((other, NUMPY),)
    assert plan.remove == (stray,)
    assert plan.add == ()
    assert plan.keep == 1


def test_a_mirror_makes_no_difference() -> None:
    """The same bytes from elsewhere are the same package."""
    mirrored = replace(as_installed(NUMPY), url="file:///mirror/numpy-1.26.4-0.conda")
    assert is_same(mirrored, NUMPY)


def test_without_hashes_the_address_decides() -> None:
    unhashed = replace(as_installed(NUMPY), sha256="")
    assert is_same(unhashed, NUMPY)
    assert is_same(replace(unhashed, url=""), NUMPY)
    assert not is_same(replace(unhashed, url="https://elsewhere.example/numpy.conda"), NUMPY)


def test_other_bytes_under_the_same_name_are_another_package() -> None:
    assert not is_same(replace(as_installed(NUMPY), sha256="0" * 64), NUMPY)


def test_a_wheel_is_told_by_its_version_and_by_the_hash_where_it_is_known() -> None:
    plain = InstalledPackage(name="torch", manager="pip", version="2.13.0+cpu")

    assert is_same(plain, TORCH)
    assert is_same(replace(plain, version="2.13+cpu"), TORCH)  # PEP 440: the same version
    assert not is_same(replace(plain, version="2.13.0+cu126"), TORCH)
    assert not is_same(replace(plain, sha256="0" * 64), TORCH)
    odd = wheel("odd", "not a version")
    assert is_same(InstalledPackage(name="odd", manager="pip", version="not a version"), odd)


def test_names_of_wheels_are_compared_as_python_does() -> None:
    locked = wheel("huggingface_hub", "1.0")
    installed = InstalledPackage(name="huggingface-hub", manager="pip", version="1.0")

    assert plan_install([locked], [installed], HERE).is_empty


def test_damaged_packages_are_put_in_again() -> None:
    old = as_installed(NUMPY)
    plan = plan_install([NUMPY], [old], HERE, damaged={old})
    assert plan.change == ((old, NUMPY),)


def test_another_python_moves_every_wheel() -> None:
    """Wheels lie below the interpreter's minor version, so they have to come along."""
    old_python = as_installed(conda_package("python", "3.10.1"))
    plan = plan_install([PYTHON, TORCH], [old_python, as_installed(TORCH)], HERE)

    assert [new.name for _, new in plan.change] == ["python", "torch"]
    assert moves_python(plan)


def test_a_patch_release_of_python_moves_nothing() -> None:
    old_python = as_installed(conda_package("python", "3.11.1"))
    plan = plan_install([PYTHON, TORCH], [old_python, as_installed(TORCH)], HERE)

    assert [new.name for _, new in plan.change] == ["python"]
    assert not moves_python(plan)


packages = st.builds(
    conda_package,
    st.sampled_from(["a", "b", "c", "d"]),
    st.sampled_from(["1", "2"]),
    st.sampled_from(["0", "1"]),
)


def _by_name(found: list[LockedPackage]) -> list[LockedPackage]:
    return sorted({item.name: item for item in found}.values())


@given(st.lists(packages), st.lists(packages))
def test_carrying_out_a_plan_leads_to_the_lock(
    wanted: list[LockedPackage], present: list[LockedPackage]
) -> None:
    """Whatever was there: afterwards it is the lock, and a second plan is empty."""
    wanted, present = _by_name(wanted), _by_name(present)
    installed = {as_installed(item) for item in present}
    plan = plan_install(wanted, installed, HERE)

    after = (installed - set(plan.remove) - {old for old, _ in plan.change}) | {
        as_installed(item) for item in (*plan.add, *(new for _, new in plan.change))
    }

    assert after == {as_installed(item) for item in wanted}
    assert plan_install(wanted, after, HERE).is_empty
    assert plan.keep + len(plan.add) + len(plan.change) == len(wanted)


@pytest.mark.parametrize(
    "other",
    [
        replace(NUMPY, version="1.26.5"),
        replace(NUMPY, build="1"),
        replace(NUMPY, sha256="0" * 64),
        replace(NUMPY, url="https://elsewhere.example/n.conda"),
    ],
)
def test_the_digest_tells_locks_apart(other: LockedPackage) -> None:
    assert lock_digest([PYTHON, NUMPY], {}) != lock_digest([PYTHON, other], {})


def test_the_digest_covers_variables_and_not_the_order() -> None:
    assert lock_digest([PYTHON, NUMPY], {"A": "1"}) == lock_digest([NUMPY, PYTHON], {"A": "1"})
    assert lock_digest([PYTHON], {"A": "1"}) != lock_digest([PYTHON], {"A": "2"})
    assert lock_digest([PYTHON], {"A": "1"}) != lock_digest([PYTHON], {})
