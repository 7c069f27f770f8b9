"""What a lock says of its GPU build."""

from __future__ import annotations

from fakes.conda_solver import package
from fakes.locks import lock, torch_target

from envforge.model.cuda import CudaVersion
from envforge.model.difference import GpuRow
from envforge.model.lock import Lock, Target
from envforge.team.gpu_rows import rows

OLD = torch_target()
NEW = torch_target(
    torch="2.7.1",
    cuda=CudaVersion(12, 8),
    cudnn="9.7",
    source="conda-forge",
    min_driver="525.60.13",
    architectures=("9.0+PTX", "12.0"),
)
CPU = Target(torch="2.7.1", cuda=None, cudnn=None, python="3.10", source="conda-forge")


def told(before: Target | None, after: Target | None, old: Lock, new: Lock) -> dict[str, GpuRow]:
    claims = {id(old): before, id(new): after}
    found = rows(old, new, ["linux-64"], lambda lock, _: claims[id(lock)])
    return {row.fact: row for row in found}


def a_lock(torch: str, *more: str) -> Lock:
    packages = [package("pytorch", torch), package("python", "3.10.4")]
    return lock(*packages, *(package(*item.split()) for item in more))


def test_every_fact_before_and_after() -> None:
    found = told(OLD, NEW, a_lock("2.0.1", "nccl 2.14"), a_lock("2.7.1", "nccl 2.26"))
    assert {fact: (row.before, row.after) for fact, row in found.items()} == {
        "torch": ("2.0.1", "2.7.1"),
        "CUDA": ("11.8", "12.8"),
        "cuDNN": ("8.7.0", "9.7"),
        "NCCL": ("2.14", "2.26"),
        "driver": ("450.80.02 or newer", "525.60.13 or newer"),
        "GPUs": ("3.7 9.0", "9.0+PTX 12.0"),
        "source": ("pytorch", "conda-forge"),
        "python": ("3.10.4", "3.10.4"),
    }
    assert [fact for fact, row in found.items() if not row.differs] == ["python"]


def test_architectures_gained_and_lost_whatever_their_ptx() -> None:
    row = told(OLD, NEW, a_lock("2.0.1"), a_lock("2.7.1"))["GPUs"]
    assert (row.lost, row.gained) == (("3.7",), ("12.0",))


def test_a_cpu_build_has_no_driver_floor_and_no_gpus() -> None:
    found = told(OLD, CPU, a_lock("2.0.1"), a_lock("2.7.1"))
    assert (found["CUDA"].before, found["CUDA"].after) == ("11.8", "CPU")
    assert found["driver"].after == found["GPUs"].after == ""
    assert found["GPUs"].lost == ()


def test_a_torch_that_nobody_knows_is_told_by_its_version_alone() -> None:
    found = told(None, None, a_lock("2.0"), a_lock("2.1"))
    assert list(found) == ["torch", "python"]


def test_no_torch_no_rows() -> None:
    assert (
        rows(lock(package("a", "1")), lock(package("a", "2")), ["linux-64"], lambda *_: None) == ()
    )


def test_a_row_for_each_value_with_its_platforms() -> None:
    old, new = (
        lock(*(package("pytorch", version, platform=item) for item in ("linux-64", "win-64")))
        for version in ("2.0", "2.1")
    )
    [row] = rows(old, new, ["linux-64", "win-64"], lambda *_: None)
    assert row.platforms == ("linux-64", "win-64")
