"""What cannot run is refused before anything is fetched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.conda_solver import package
from fakes.workplace import (
    H200,
    NAME,
    FakeWorkplace,
    FixedProbe,
    fake_forge,
    make_environment,
    notes_of,
    workplace_of,
)

from envforge.adapters.environments import CONDA_LOCK_YML, VIRTUAL_PACKAGES_YML
from envforge.errors import CannotRunHere, InvalidValue
from envforge.forge import Forge
from envforge.forge.prefixes import preflight
from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.cuda import ComputeCapability, CudaVersion
from envforge.model.lock import Lock
from envforge.model.machine import Driver, Gpu, Machine
from envforge.verify import registry

OLD = Machine(driver=Driver(version="470.82.01", cuda=CudaVersion(11, 4)))
VOLTA = replace(H200, gpus=(Gpu(name="K80", capability=ComputeCapability(3, 7)),))
ASKED: dict[str, Any] = {"torch": "2.7.1", "cuda": "12.6", "python": "3.10"}


def on(machine: Machine, folder: Path, **given: Any) -> Forge:
    """An environment that was locked somewhere else, and the machine it is to be installed on."""
    forge = fake_forge(folder, **given)
    make_environment(forge)
    workplace_of(forge)._probe = FixedProbe(machine)
    workplace_of(forge).__dict__.pop("probe", None)
    return forge


def warned(forge: Forge) -> list[str]:
    return workplace_of(forge).reporter.warnings  # type: ignore[attr-defined, no-any-return]


def nothing_was_fetched(forge: Forge) -> bool:
    return workplace_of(forge).linker.linked == [] and not list(forge.settings.prefixes.glob("*"))


def test_the_rules_are_checks_of_the_table() -> None:
    """Each looks at nothing but the lock and the machine, and starts no interpreter."""
    for name, check in preflight.RULES.items():
        assert check is registry.CHECKS[name]
        assert check.level == "static"
        assert set(check.needs) <= {"lock", "host"}


@pytest.mark.parametrize("how", ["install", "plan_install"])
def test_an_install_that_cannot_run_is_refused(how: str, tmp_path: Path) -> None:
    forge = on(OLD, tmp_path)
    with pytest.raises(CannotRunHere) as caught:
        getattr(forge, how)("p")

    error = caught.value
    assert error.exit_code == 3
    assert str(error) == (f"`{NAME}` cannot run here: driver 470.82.01 is too old for CUDA 12.6")
    assert "envforge create p --torch 2.7.1 --cuda 11.8 --python 3.10" in str(error.hint)
    assert "525.60.13" in str(error.hint)
    assert "--force" in str(error.hint)
    assert nothing_was_fetched(forge)


def test_force_installs_it_with_a_warning(tmp_path: Path) -> None:
    forge = on(OLD, tmp_path)
    assert forge.install("p", force=True).prefix.exists()
    assert warned(forge) == ["driver 470.82.01 is too old for CUDA 12.6"]


def test_a_gpu_that_the_build_has_no_code_for(tmp_path: Path) -> None:
    forge = on(VOLTA, tmp_path)
    with pytest.raises(CannotRunHere, match=r"no kernels for K80 \(3\.7\)"):
        forge.install("p")
    assert nothing_was_fetched(forge)


@pytest.mark.parametrize("machine", [Machine(), H200], ids=["login-node", "gpu"])
def test_what_runs_or_cannot_be_judged_is_let_through(machine: Machine, tmp_path: Path) -> None:
    forge = on(machine, tmp_path)
    assert forge.plan_install("p").plan.add
    assert forge.install("p").prefix.exists()
    assert warned(forge) == []


def test_a_cpu_environment_needs_no_driver(tmp_path: Path) -> None:
    forge = fake_forge(tmp_path, machine=OLD)
    name = forge.lock("p", torch="2.7.1", cuda="cpu", python="3.10").name
    assert forge.install(name).prefix.exists()


def test_the_target_host_is_that_of_the_folder(tmp_path: Path) -> None:
    """An old machine builds for the one behind it; a new one refuses for an old target."""
    forge = on(OLD, tmp_path)
    assert forge.install("p", target_host=True).prefix.exists()

    other = on(H200, tmp_path / "other")
    path = other.settings.envs_folder / NAME / VIRTUAL_PACKAGES_YML
    path.write_text(path.read_text().replace("__cuda: '12.6'", "__cuda: '11.4'"))
    with pytest.raises(CannotRunHere, match=r"is too old for CUDA 12\.6"):
        preflight.Gate(workplace_of(other), path.parent, target_host=True).check(lock_of(other))


def lock_of(forge: Forge) -> Lock:
    path = forge.settings.envs_folder / NAME / CONDA_LOCK_YML
    return conda_lock_yml.read(path.read_text(), str(path))


def gate(forge: Forge, **how: Any) -> preflight.Gate:
    return preflight.Gate(workplace_of(forge), forge.settings.envs_folder / NAME, **how)


def test_the_folder_describes_gpu_and_c_library_too(tmp_path: Path) -> None:
    """`__cuda_arch` of CEP 46, and `__glibc`."""
    forge = on(Machine(), tmp_path)
    path = forge.settings.envs_folder / NAME / VIRTUAL_PACKAGES_YML
    path.write_text(
        "subdirs:\n  linux-64:\n    packages:\n      __cuda: '12.8'\n"
        "      __cuda_arch: '3.7'\n      __glibc: '2.17'\n"
    )
    lock = lock_of(forge)
    needy = package("numpy", "2.2.6", depends=("__glibc >=2.28,<3.0.a0",))
    others = tuple(item for item in lock.packages if item.name != "numpy")
    with pytest.raises(CannotRunHere) as caught:
        gate(forge, target_host=True).check(replace(lock, packages=(*others, needy)))

    assert [problem.partition(",")[0] for problem in caught.value.problems] == [
        "this build has no kernels for sm_37 (3.7)",
        "numpy 2.2.6 needs glibc 2.28",
    ]


def test_a_folder_that_says_nonsense_is_told(tmp_path: Path) -> None:
    forge = on(Machine(), tmp_path)
    path = forge.settings.envs_folder / NAME / VIRTUAL_PACKAGES_YML
    path.write_text("subdirs:\n  linux-64:\n    packages:\n      __cuda: 'twelve'\n")
    with pytest.raises(InvalidValue, match="virtual package `twelve`"):
        gate(forge, target_host=True).check(lock_of(forge))


def test_before_there_is_a_folder_condas_overrides_describe_the_target(tmp_path: Path) -> None:
    """`create --target-host` on a machine that could not run it."""
    forge = fake_forge(tmp_path, machine=OLD)
    assert forge.create("p", **ASKED, target_host=True).install is not None

    home = {"HOME": str(tmp_path / "two/home"), "CONDA_OVERRIDE_CUDA": "11.4"}
    other = fake_forge(tmp_path / "two", machine=H200, environment=home)
    with pytest.raises(Exception, match=r"cannot run CUDA 12\.6"):
        other.create("p", **ASKED, target_host=True)
    home |= {"CONDA_OVERRIDE_CUDA": "12.6", "CONDA_OVERRIDE_CUDA_ARCH": "3.7"}
    third = fake_forge(tmp_path / "three", machine=H200, environment=home)
    with pytest.raises(Exception, match=r"3\.7"):
        third.create("p", **ASKED, target_host=True)


def test_create_refuses_for_the_c_library_before_it_writes(tmp_path: Path) -> None:
    """The matrix knows driver and GPUs; what the solve brought in is judged after it."""
    needy = package(
        "pytorch",
        "2.7.1",
        "cuda126_generic_py310_201",
        depends=("python >=3.10,<3.11.0a0", "__cuda", "cuda-version >=12.6,<13", "__glibc >=2.34"),
    )
    home = {"HOME": str(tmp_path / "home"), "CONDA_OVERRIDE_GLIBC": "2.31"}
    forge = fake_forge(tmp_path, environment=home)
    workplace_of(forge).conda.packages = tuple(
        needy if item.name == "pytorch" and "cuda126" in item.build else item
        for item in workplace_of(forge).conda.packages
    )
    with pytest.raises(CannotRunHere, match=r"pytorch 2\.7\.1 needs glibc 2\.34"):
        forge.create("p", **ASKED, source="conda-forge")
    assert not (forge.settings.envs_folder / NAME).exists()
    assert forge.create("p", **ASKED, source="conda-forge", force=True).install is not None
    assert [note for note in warned(forge) if "glibc 2.34" in note] == [
        "pytorch 2.7.1 needs glibc 2.34, and this system has 2.31"
    ]


def test_create_of_what_is_locked_already_is_judged_too(tmp_path: Path) -> None:
    forge = on(Machine(), tmp_path)
    lock = lock_of(forge)
    workplace_of(forge).settings.environment["CONDA_OVERRIDE_GLIBC"] = "2.5"  # type: ignore[index]
    needy = [replace(item, depends=(*item.depends, "__glibc >=2.17")) for item in lock.packages]
    path = forge.settings.envs_folder / NAME / CONDA_LOCK_YML
    path.write_text(conda_lock_yml.write(replace(lock, packages=tuple(needy))))
    with pytest.raises(CannotRunHere, match=r"needs glibc 2\.17"):
        forge.create("p", **ASKED)


def test_add_is_refused_before_it_solves(tmp_path: Path) -> None:
    forge = on(OLD, tmp_path)
    before = {path: path.read_text() for path in (forge.settings.envs_folder / NAME).iterdir()}
    asked = len(workplace_of(forge).conda.asked)
    with pytest.raises(CannotRunHere):
        forge.add("p", ["numpy"])
    assert {path: path.read_text() for path in before} == before
    assert len(workplace_of(forge).conda.asked) == asked

    locked, installed = forge.add("p", ["numpy"], install=False)
    assert (locked.outcome, installed) == ("written", None)
    _, installed = forge.add("p", ["scikit-learn"], force=True)
    assert installed is not None
    assert len(warned(forge)) == 2  # of what was there, and of what it became


def test_a_lock_of_another_tool_is_judged_by_its_packages(tmp_path: Path) -> None:
    forge = on(OLD, tmp_path)
    lock = replace(lock_of(forge), target=None, metadata={})
    with pytest.raises(CannotRunHere, match=r"too old for CUDA 12\.6"):
        gate(forge).check(lock)


def test_packages_for_newer_processors(tmp_path: Path) -> None:
    """Only a lock that asks for a level of x86-64 has the processor looked at."""
    machine = tmp_path / "machine"
    (machine / "proc").mkdir(parents=True)
    (machine / "proc/cpuinfo").write_text("processor : 0\nflags : fpu sse sse2 cx8 cmov fxsr\n")
    forge = on(Machine(), tmp_path / "x", host_root=machine)
    gate(forge).check(lock_of(forge))

    fast = package("fastlib", "1.0", depends=("_x86_64-microarch-level >=3",))
    lock = lock_of(forge)
    with pytest.raises(CannotRunHere, match=r"fastlib is built for x86-64-v3"):
        gate(forge).check(replace(lock, packages=tuple(sorted((*lock.packages, fast)))))


def test_each_lock_is_judged_once(tmp_path: Path) -> None:
    forge = on(OLD, tmp_path)
    one = gate(forge, force=True)
    one.check(lock_of(forge))
    one.check(lock_of(forge))
    assert len(warned(forge)) == 1
    assert notes_of(forge)


def test_the_machine_that_was_described_counts_and_not_this_one(tmp_path: Path) -> None:
    forge = on(H200, tmp_path)
    with pytest.raises(CannotRunHere):
        gate(forge, machine=replace(OLD, origin="described")).check(lock_of(forge))
    gate(forge, machine=OLD).check(lock_of(forge))  # a live one is looked at again


def test_the_live_probe_is_asked_where_nobody_else_looks(tmp_path: Path) -> None:
    """No driver is in sight of the fake machine, so there is nothing to refuse."""
    forge = on(OLD, tmp_path)
    place = workplace_of(forge)
    assert isinstance(place, FakeWorkplace)
    place._probe = None
    place.__dict__.pop("probe", None)
    gate(forge).check(lock_of(forge))
