"""Who holds memory without using it, and what could be given back."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.server import GIB, allocator, gpu, holder, process

from envforge.around.server.gpu_memory import in_short, judged, matched, use_of
from envforge.model.finding import Finding
from envforge.model.gpu_memory import GpuMemory, GpuReport, Holder, Use

ROOT, ANN, BOB = 0, 1001, 1002


def report(*gpus: GpuMemory, uid: int = ANN) -> GpuReport:
    return judged(GpuReport(driver="535.1", seconds=2.0, gpus=gpus), uid=uid)


def findings(*gpus: GpuMemory, uid: int = ANN) -> tuple[Finding, ...]:
    return report(*gpus, uid=uid).findings


def test_who_works_is_not_accused() -> None:
    assert findings(gpu(holder())) == ()


def idle(gib: float | None = 10, **given: Any) -> Holder:
    return holder(gib=gib, use="idle", percent=0, **given)


@pytest.mark.parametrize(
    ("uid", "remedy"),
    [
        (ANN, "kill 4242  # if"),
        (ROOT, "kill 4242  # if"),
        (BOB, "sudo kill 4242  # ask ann"),
    ],
)
def test_memory_that_is_held_and_not_used(uid: int, remedy: str) -> None:
    [finding] = findings(gpu(idle()), uid=uid)

    assert "process 4242 (python train.py) of ann holds 10.0 GiB of GPU 0" in finding.message
    assert "2 s" in finding.message
    assert finding.seen == "10.0 GiB, no kernel, started 2 h ago"
    assert finding.remedy.startswith(remedy)
    assert finding.severity == "warning"


@pytest.mark.parametrize(
    "other",
    [
        idle(0.2),  # a context, not more
        idle(process=process(cpu=95.0)),  # it loads data
        holder(use="unknown", percent=None),
    ],
)
def test_what_may_be_at_work_is_let_alone(other: Holder) -> None:
    assert findings(gpu(other)) == ()


def test_a_holder_that_is_not_in_sight() -> None:
    [finding] = findings(gpu(idle(None, process=None, program="")), uid=ROOT)

    assert finding.message.startswith("process 4242 holds an unknown amount of GPU 0")
    assert finding.remedy.startswith("ps -fp 4242  # on the machine itself")


@pytest.mark.parametrize(
    ("state", "says"),
    [("T", "is stopped"), ("t", "by a debugger"), ("Z", "ended but for some of its threads")],
)
def test_a_process_that_does_not_run(state: str, says: str) -> None:
    """Whatever the samples of the last seconds say. It takes no other signal, and of its parent
    nothing is known: ending 1 ends a container, ending 0 ourselves."""
    [finding] = findings(gpu(holder(process=process(state=state, parent=0))))

    assert says in finding.message
    assert finding.remedy == "kill -KILL 4242  # if it is not needed"


def test_what_an_allocator_could_give_back() -> None:
    [finding] = findings(gpu(holder(allocator=allocator(3, 9, 5.5))))

    assert finding.check == "memory-cached"
    assert "could give 5.5 GiB of GPU 0 back" in finding.message
    assert "keeps 6.0 GiB that no tensor uses" in finding.message
    assert "empty_cache" in finding.remedy


def test_what_lies_between_tensors_cannot_be_given_back() -> None:
    [finding] = findings(gpu(holder(allocator=allocator(5, 9, 0.5))))

    assert finding.check == "memory-fragmented"
    assert finding.message.startswith("3.5 GiB of what process 4242")
    assert "envforge env ENV --allocator expandable" in finding.remedy


def test_a_small_cache_is_nobodys_business() -> None:
    assert findings(gpu(holder(allocator=allocator(9, 9.8, 0.4)))) == ()


def test_memory_that_belongs_to_nobody_in_sight() -> None:
    [finding] = findings(gpu(holder(), free=100 * GIB))

    assert finding.message.startswith("29.5 GiB of GPU 0 are used by no process")
    assert finding.remedy == "sudo fuser -v /dev/nvidia[0-9]*  # on the machine itself"


@pytest.mark.parametrize(
    "unclear",
    [
        gpu(holder(gib=None), free=0),  # one does not tell its share
        gpu(free=None),
        gpu(total=None),
        GpuMemory(index=0, name="x", total=9, free=0),
        gpu(holder(), free=0, is_cut=True),  # MIG: slices of others
    ],
)
def test_where_shares_are_not_known_nobody_is_missed(unclear: GpuMemory) -> None:
    assert findings(unclear) == ()


def test_users_are_added_up_over_all_gpus() -> None:
    one, other = holder(1, 10, process=process(1)), idle(2)
    bobs = holder(3, 30, process=process(3, uid=BOB, user="bob"))
    nobody = holder(9, 1, process=None)

    found = report(gpu(one, bobs), gpu(holder(1, 5, process=process(1)), other, nobody)).users

    assert [(item.user, item.processes, item.memory_bytes // GIB) for item in found] == [
        ("bob", 1, 30),
        ("ann", 2, 17),
        ("", 1, 1),
    ]
    assert [item.idle_bytes // GIB for item in found] == [0, 2, 0]


@pytest.mark.parametrize(
    ("busy", "processes", "use"),
    [
        (90, {7: 35}, ("busy", 35)),
        (90, {8: 35}, ("idle", 0)),
        (0, None, ("idle", 0)),  # the whole GPU rests
        (90, None, ("unknown", None)),
        (None, None, ("unknown", None)),
    ],
)
def test_use_is_told_by_the_samples(busy: Any, processes: Any, use: Any) -> None:
    assert use_of(7, busy, processes) == use


def test_an_allocators_device_is_found_by_its_uuid() -> None:
    """Ordinals of a process are its own: CUDA_VISIBLE_DEVICES changes them."""
    other, mine = allocator(1, 1, 0, uuid="GPU-other"), allocator(2, 2, 0, uuid="GPU-8932F937")
    unnamed = allocator(3, 3, 0, uuid="")

    assert matched((other, mine), gpu(), others=1) == mine
    assert matched((other,), gpu(), others=0) is None
    assert matched((unnamed,), gpu(), others=0) == unnamed
    assert matched((unnamed,), gpu(), others=1) is None
    assert matched((unnamed, unnamed), gpu(), others=0) is None


def test_a_row_for_each_gpu() -> None:
    broken = GpuMemory(index=1, name="", error="GPU is lost")

    assert in_short(report(gpu(holder()), broken)) == {
        "GPU 0": "NVIDIA H200, 129.5 GiB of 140.0 GiB free, held by ann, busy 50 %",
        "GPU 1": "unknown: GPU is lost",
    }


def service(percent: int | None, use: Use) -> Holder:
    """What runs the kernels of its clients."""
    root = process(9, uid=0, user="root", program="nvidia-cuda-mps-server")
    return holder(9, 0.03, use=use, percent=percent, process=root)


def test_clients_of_a_service_that_works_are_not_accused() -> None:
    seen = report(gpu(service(40, "busy"), idle()))

    assert seen.findings == ()
    assert [item.use for item in seen.gpus[0].holders or ()] == ["busy", "unknown"]


def test_clients_of_a_service_that_does_nothing_do_nothing() -> None:
    assert len(findings(gpu(service(0, "idle"), idle()))) == 1


def test_sums_by_user_on_each_gpu_and_on_all() -> None:
    """What nobody tells counts nowhere, and how many told is said."""
    first = gpu(holder(gib=40, allocator=allocator(30, 36, 5)), holder(43, 7))
    second = gpu(holder(gib=10, allocator=allocator(4, 8, 2)), index=1)
    seen = report(first, second)

    sums = [
        (item.processes, item.telling, item.memory_bytes, item.allocated, item.reserved,
         item.cached, item.releasable)
        for item in (*seen.users, *seen.gpus[0].users, *seen.gpus[1].users)
    ]  # fmt: skip
    assert sums == [
        (2, 1, 57 * GIB, 34 * GIB, 44 * GIB, 10 * GIB, 7 * GIB),
        (2, 1, 47 * GIB, 30 * GIB, 36 * GIB, 6 * GIB, 5 * GIB),
        (1, 1, 10 * GIB, 4 * GIB, 8 * GIB, 4 * GIB, 2 * GIB),
    ]
