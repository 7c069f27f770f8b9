"""From environment.yml to the texts of the three files, with a solver that needs no channel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from fakes.conda_solver import FakeCondaSolver, package

from envforge.errors import Unreachable, Unsolvable, WrongBuild
from envforge.formats.conda import environment_yml, virtual_packages_yml
from envforge.formats.conda_lock import conda_lock_yml
from envforge.formats.conda_lock.content_hash import content_hashes
from envforge.model.cuda import CudaVersion
from envforge.model.lock import LockedPackage
from envforge.model.machine import Platform
from envforge.model.solving import Channel, WheelProblem
from envforge.model.spec import Constraint, VirtualPackage
from envforge.solve.current import is_current
from envforge.solve.lock import Locked, LockInputs, lock

TEXT = """\
name: p-torch27-cu126
channels: [conda-forge, nodefaults]
platforms: [linux-64]
dependencies:
  - python=3.12  # why not
  - pytorch=2.7.1=*cuda126*
  - cuda-version=12.6
  - numpy>=1.26
"""
WHEELS = """\
name: p-torch27-cu126
channels: [conda-forge, nodefaults]
platforms: [linux-64]
dependencies:
  - python=3.12
  - pip:
    - torch==2.7.1
    - numpy>=1.26
"""
BOTH: tuple[Platform, ...] = ("linux-64", "win-64")
NUMPY_BELOW_2 = Constraint(package="numpy", range="<2", reason="built for 1", source="o/r#1")


def records(platform: Platform = "linux-64") -> list[LockedPackage]:
    torch = ("python >=3.12,<3.13.0a0", "__cuda", "cuda-version >=12.6,<13", "mkl >=2023")
    return [
        package("python", "3.12.7", platform=platform),
        package("python", "3.13.1", platform=platform),
        package("pytorch", "2.7.1", "cuda126_mkl_py312_h1_300", platform=platform, depends=torch),
        package("cuda-version", "12.6", platform=platform),
        package("numpy", "1.26.4", platform=platform),
        package("numpy", "2.2.0", platform=platform),
        package("mkl", "2024.2", platform=platform),
        package("mkl", "2023.2", platform=platform),
    ]


@dataclass
class Reporter:
    """Keeps the titles of the steps."""

    steps: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        self.steps.append(title)
        yield

    def progress(self, done: int, total: int | None, unit: str = "", detail: str = "") -> None:
        raise NotImplementedError

    def note(self, message: str) -> None:
        raise NotImplementedError

    def warn(self, message: str) -> None:
        raise NotImplementedError


@dataclass
class Wheels:
    """Answers with the newest version it knows that the constraints do not rule out."""

    numpy: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {"linux-64": ("2.2.0",), "win-64": ("2.2.0",)}
    )
    asked: list[WheelProblem] = field(default_factory=list)

    def resolve(self, problem: WheelProblem) -> tuple[LockedPackage, ...]:
        self.asked.append(problem)
        pins = [item.partition("==")[2] for item in problem.constraints if "==" in item]
        versions = [v for v in self.numpy[problem.platform] if not pins or v in pins]
        if not versions:
            raise Unsolvable(platform=problem.platform, explanation="numpy does not fit")
        index = problem.torch_index or "https://pypi.example/simple"
        local = "+cu126" if problem.torch_index else ""
        return (
            _wheel(problem, "numpy", versions[0], index),
            _wheel(problem, "torch", f"2.7.1{local}", index, depends=("nvidia-cudnn-cu12",)),
            _wheel(problem, "nvidia-cudnn-cu12", "9.5.1.17", index),
            _wheel(problem, "nvidia-cuda-runtime-cu12", "12.6.77", index),
        )


def _wheel(
    problem: WheelProblem, name: str, version: str, index: str, **more: Any
) -> LockedPackage:
    return LockedPackage(
        platform=problem.platform,
        name=name,
        manager="pip",
        version=version,
        url=f"{index}/{name}-{version}.whl",
        sha256="a" * 64,
        **more,
    )


def inputs(text: str = TEXT, **changes: Any) -> LockInputs:
    document = environment_yml.read(text, "environment.yml")
    fields: dict[str, Any] = {
        "document": document,
        "virtual": {
            platform: (VirtualPackage(name="__cuda", version="12.6"),)
            for platform in document.spec.platforms
        },
        "channels": (Channel(name="conda-forge", url="https://conda.anaconda.org/conda-forge"),),
        "source": "conda-forge",
        "cuda": CudaVersion(12, 6),
        "architectures": ("9.0",),
        "min_driver": "525.60.13",
        "metadata": {"k": "v"},
    }
    return LockInputs(**(fields | changes))


def locked(
    given: LockInputs | None = None,
    packages: Sequence[LockedPackage] | None = None,
    wheels: Wheels | None = None,
) -> Locked:
    solver = FakeCondaSolver(records() if packages is None else packages)
    return lock(given or inputs(), solver, wheels or Wheels(), Reporter())


def on_two_platforms(text: str = TEXT) -> str:
    return text.replace("[linux-64]", "[linux-64, win-64]")


def test_versions_are_written_back_and_comments_kept() -> None:
    dependencies = locked().files["environment.yml"].partition("dependencies:\n")[2]
    assert dependencies.splitlines() == [
        "  - python=3.12.7  # asked: =3.12; why not",
        "  - pytorch=2.7.1=*cuda126*",
        "  - cuda-version=12.6",
        "  - numpy=2.2.0  # asked: >=1.26",
    ]


def test_the_lock_is_the_file_and_belongs_to_the_others() -> None:
    """What is returned is what is read back; the hashes are those of the files written."""
    found = locked()
    spec = environment_yml.read(found.files["environment.yml"], "e").spec
    virtual = virtual_packages_yml.read(found.files["virtual-packages.yml"], "v")
    assert conda_lock_yml.read(found.files["conda-lock.yml"], "c") == found.lock
    assert found.lock.content_hash == content_hashes(spec, virtual)
    assert found.lock.channels == ("conda-forge",)
    assert found.lock.metadata == {"k": "v"}
    assert not is_current(found.lock, found.document, virtual)


def test_the_target_is_read_from_what_was_solved() -> None:
    cudnn = package("cudnn", "9.8.0.87")
    torch = replace(records()[2], depends=(*records()[2].depends, "cudnn >=9"))
    target = locked(packages=[*records()[:2], torch, *records()[3:], cudnn]).lock.target
    assert target is not None
    assert (target.torch, target.cuda, target.cudnn) == ("2.7.1", CudaVersion(12, 6), "9.8.0.87")
    assert (target.python, target.source) == ("3.12.7", "conda-forge")
    assert (target.min_driver, target.architectures) == ("525.60.13", ("9.0",))
    assert target.machine_local is False


def test_locking_what_was_locked_changes_nothing() -> None:
    first = locked()
    again = locked(inputs(first.files["environment.yml"]))
    assert again.files == first.files


def test_a_constraint_that_held_something_back_is_shown() -> None:
    mkl = Constraint(package="mkl", range="<2024.1", reason="undefined symbol", source="o/r#2")
    text = locked(inputs(constraints=(mkl, NUMPY_BELOW_2))).files["environment.yml"]
    assert "  - mkl=2023.2  # asked: <2024.1; undefined symbol (o/r#2)\n" in text
    assert "  - numpy=1.26.4  # asked: >=1.26\n" in text


def test_another_python_is_tried_where_it_may_be() -> None:
    """And the first failure is told where none of them helps."""
    text = TEXT.replace("python=3.12", "python=3.13")
    found = locked(inputs(text, other_pythons=("3.12",)), packages=_only_312())
    assert found.notes == ("python 3.12: with 3.13 nothing fits together",)
    assert "python=3.12.7" in found.files["environment.yml"]
    with pytest.raises(Unsolvable, match=r"python =3\.13"):
        locked(inputs(text), packages=_only_312())
    with pytest.raises(Unsolvable, match=r"python =3\.13"):
        locked(inputs(text, other_pythons=("3.9",)), packages=_only_312())


def _only_312() -> list[LockedPackage]:
    return [item for item in records() if (item.name, item.version) != ("python", "3.13.1")]


def test_cuda_libraries_of_a_later_minor_release() -> None:
    """Where those asked for are not to be had, and nobody has edited the file."""
    later = [item for item in records() if item.name != "cuda-version"]
    later.append(package("cuda-version", "12.9"))
    found = locked(inputs(is_fresh=True), packages=later)
    assert "cuda-version=12.9  # asked: >=12.6,<13" in found.files["environment.yml"]
    assert "both run on the same drivers" in found.notes[0]
    with pytest.raises(Unsolvable, match="cuda-version"):
        locked(packages=later)


def test_direct_dependencies_agree_over_platforms() -> None:
    """A second solve takes the newest version that all of them have."""
    windows = [item for item in records("win-64") if item.version != "2.2.0"]
    found = locked(inputs(on_two_platforms()), packages=[*records(), *windows])
    assert {item.version for item in found.lock.packages if item.name == "numpy"} == {"1.26.4"}
    assert "numpy=1.26.4  # asked: >=1.26" in found.files["environment.yml"]
    assert found.notes == ()


def test_a_range_stays_where_no_version_fits_all() -> None:
    """The others still agree, and it is said."""
    windows = [item for item in records("win-64") if item.version not in {"2.2.0", "1.26.4"}]
    windows += [package("numpy", "1.26.1", platform="win-64")]
    windows += [package("python", "3.12.6", platform="win-64")]
    windows = [item for item in windows if item.version != "3.12.7"]
    everything = [*records(), package("python", "3.12.6"), *windows]
    found = locked(inputs(on_two_platforms()), packages=everything)
    assert found.notes == (
        (
            "`numpy` keeps its range in environment.yml: 2.2.0 on linux-64, 1.26.1 on win-64,"
            " and no version fits all"
        ),
    )
    assert "  - numpy>=1.26\n" in found.files["environment.yml"]
    assert "  - python=3.12.6  # asked: =3.12; why not\n" in found.files["environment.yml"]


def test_the_wrong_build_is_refused() -> None:
    text = TEXT.replace("=*cuda126*", "")
    cpu = package("pytorch", "2.7.1", "cpu_mkl_py312_h1_100")
    others = [item for item in records() if item.name != "pytorch"]
    with pytest.raises(WrongBuild, match=r"asked for CUDA 12\.6 on linux-64"):
        locked(inputs(text), packages=[cpu, *others])


@pytest.mark.parametrize("lacking", ["md5", "sha256"])
def test_a_record_without_hashes_cannot_be_locked(lacking: str) -> None:
    """conda-lock refuses such a lock; the record and the remedy are named."""
    numpy = replace(records()[5], **{lacking: ""})
    others = [item for item in records() if item.name != "numpy"]
    with pytest.raises(Unsolvable, match=rf"numpy-2\.2\.0.*has no {lacking}") as error:
        locked(packages=[numpy, *others])
    assert "index the channel again" in str(error.value)


def test_a_misspelt_package_carries_its_spellings() -> None:
    with pytest.raises(Unsolvable) as error:
        locked(inputs(TEXT.replace("numpy", "nunpy")))
    assert error.value.spellings == {"nunpy": ()}


def test_who_uses_defaults_is_told_of_its_terms() -> None:
    [note] = locked(inputs(TEXT.replace("conda-forge, nodefaults", "defaults"))).notes
    assert "terms of service" in note


def test_a_channel_that_is_down_passes_through() -> None:
    with pytest.raises(Unreachable):
        lock(inputs(), FakeCondaSolver([], unreachable="https://host/c"), Wheels(), Reporter())


def test_old_packages_are_preferred() -> None:
    """Those of the old lock that still fit; what moved, moved because it had to."""
    kept = locked(inputs(preferred=(records()[4], records()[7])))
    assert {item.name: item.version for item in kept.lock.packages}["numpy"] == "1.26.4"
    assert kept.lock.find("mkl", "linux-64") == replace(records()[7])


def wheel_inputs(text: str = WHEELS, **changes: Any) -> LockInputs:
    fields: dict[str, Any] = {"source": "wheels", "wheel_index": "pytorch"}
    return inputs(text, **(fields | {"torch_index": "https://whl.example/cu126"} | changes))


def test_wheels_from_an_index_of_their_own_are_named_by_address() -> None:
    """conda and conda-lock read that; they have no option for a second index."""
    wheels = Wheels()
    found = locked(wheel_inputs(), wheels=wheels)
    assert found.files["environment.yml"].splitlines()[-2:] == [
        "    - torch @ https://whl.example/cu126/torch-2.7.1+cu126.whl#sha256="
        + "a" * 64
        + "  # asked: ==2.7.1",
        "    - numpy==2.2.0  # asked: >=1.26",
    ]
    [problem] = wheels.asked
    assert (problem.python, problem.accelerator) == ("3.12.7", "cu126")
    assert problem.torch_requirements == ("torch==2.7.1",)
    assert problem.requirements == ("numpy>=1.26",)
    assert found.lock.target is not None
    assert found.lock.target.cudnn == "9.5.1.17"
    assert found.lock.target.wheel_index == "pytorch"


def test_wheels_of_the_default_index_keep_their_version() -> None:
    text = locked(wheel_inputs(torch_index=None)).files["environment.yml"]
    assert "    - torch==2.7.1\n" in text


def test_one_line_cannot_name_the_files_of_two_platforms() -> None:
    wheels = Wheels(numpy={"linux-64": ("2.2.0", "1.26.4"), "win-64": ("1.26.4",)})
    both = [*records(), *records("win-64")]
    found = locked(wheel_inputs(on_two_platforms(WHEELS)), packages=both, wheels=wheels)
    text = found.files["environment.yml"]
    assert "    - torch==2.7.1\n    - numpy==1.26.4  # asked: >=1.26\n" in text
    assert len(wheels.asked) == 4


def test_wheels_that_cannot_agree_keep_their_ranges() -> None:
    wheels = Wheels(numpy={"linux-64": ("2.2.0",), "win-64": ("1.26.4",)})
    both = [*records(), *records("win-64")]
    found = locked(wheel_inputs(on_two_platforms(WHEELS)), packages=both, wheels=wheels)
    assert "`numpy` (1.26.4 and 2.2.0)" in found.notes[0]
    assert "    - numpy>=1.26\n" in found.files["environment.yml"]


def test_wheels_hear_of_constraints_the_c_library_and_the_old_lock() -> None:
    wheels = Wheels(numpy={"linux-64": ("1.26.4",)})
    old = replace(_old_wheel(), version="1.26.4")
    virtual = {"linux-64": (VirtualPackage(name="__glibc", version="2.28"),)}
    given = wheel_inputs(constraints=(NUMPY_BELOW_2,), preferred=(old,), virtual=virtual)
    locked(given, wheels=wheels)
    assert wheels.asked[0].constraints == ("numpy<2",)
    assert wheels.asked[0].preferred == (old,)
    assert wheels.asked[0].glibc == "2.28"


def _old_wheel() -> LockedPackage:
    problem = WheelProblem(platform="linux-64", python="3.12.7", requirements=())
    return _wheel(problem, "numpy", "1.26.4", "https://pypi.example/simple")


def test_wheels_need_an_interpreter() -> None:
    text = WHEELS.replace("  - python=3.12\n", "  - numpy\n")
    with pytest.raises(Unsolvable, match="lists no `python`"):
        locked(wheel_inputs(text))


def test_files_of_this_machine_mark_the_lock() -> None:
    local = replace(records()[0], url="file:///home/channel/linux-64/python-3.12.7-h0_0.conda")
    target = locked(packages=[local, *records()[1:]]).lock.target
    assert target is not None
    assert target.machine_local
