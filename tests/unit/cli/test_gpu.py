"""`envforge gpu`: the GPUs with who holds them, then what is worth a word."""

from __future__ import annotations

import os
from typing import Any

import pytest
from fakes.command_line import Run
from fakes.server import GIB, allocator, gpu, holder, process

from envforge.around.server.gpu_memory import judged
from envforge.errors import ToolMissing
from envforge.forge import Forge
from envforge.forge.server import watching
from envforge.model.gpu_memory import GpuMemory, GpuReport

pytestmark = pytest.mark.usefixtures("forge")


def shows(monkeypatch: pytest.MonkeyPatch, *gpus: GpuMemory, **given: Any) -> None:
    about = {"driver": "535.1", "seconds": 2.0, **given}
    report = judged(GpuReport(gpus=gpus, **about), uid=0)
    monkeypatch.setattr(Forge, "gpu", lambda *_, **__: report)


def test_who_holds_what(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    bob = process(7, uid=1002, user="bob", program="serve")
    holders = (
        holder(gib=40, allocator=allocator(30, 36.5, 6)),
        holder(7, 20, use="idle", percent=0, process=bob),
        holder(9, None, use="unknown", percent=None, process=None),
    )
    lost = GpuMemory(index=1, name="NVIDIA H200", error="GPU is lost")
    silent = GpuMemory(index=2, name="NVIDIA H200", total=GIB, free=GIB)
    shows(monkeypatch, gpu(*holders), lost, silent)

    done = run("gpu")

    assert done.status == 0
    lines = done.out.splitlines()
    assert lines[:20] == [
        "GPU 0 NVIDIA H200: 79.5 of 140.0 GiB free, busy 50 %, driver keeps 0.5",
        "   PID  USER  MEMORY   USE  TENSORS  CACHED  RETURNS  PROGRAM",
        "  4242  ann     40.0  50 %     30.0     6.5      6.0  python train.py",
        "     7  bob     20.0  idle        -       -        -  serve",
        "     9  ?          -     ?        -       -        -  not in sight",
        "GPU 1 NVIDIA H200: GPU is lost",
        "GPU 2 NVIDIA H200: 1.0 of 1.0 GiB free",
        "  who holds it is not told",
        "",
        "  USER          GPU  MEMORY  IDLE  TENSORS  CACHED  RETURNS",
        "  ann             0    40.0   0.0     30.0     6.5      6.0  1 process",
        "  bob             0    20.0  20.0        -       -        -  1 process",
        "  not in sight    0     0.0   0.0        -       -        -  1 process",
        "",
        "warning: process 4242 (python train.py) of ann could give 6.0 GiB of GPU 0 back:",
        "  its allocator keeps 6.5 GiB that no tensor uses",
        "  mend: torch.cuda.empty_cache() # in that program, when it has a pause",
        "",
        "warning: process 7 (serve) of bob holds 20.0 GiB of GPU 0 and did not use it in",
        "  the 2 s that were watched",
    ]
    assert lines[-2].startswith("TENSORS, CACHED (together: reserved) and RETURNS are told")


def test_long_names_and_marks_stay_within_a_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names come from strangers: what moves a cursor is shown, not done."""
    odd = process(user="ann@corp.example", program="\x1b[2J" + "x" * 99)
    shows(monkeypatch, gpu(holder(gib=0.1, process=odd), is_cut=True))

    lines = run("gpu").out.splitlines()

    assert lines[1] == "  cut up (MIG)"
    assert "\x1b" not in lines[3]
    assert "ann@corp.ex…" in lines[3]
    assert len(lines[3]) == 80


def test_memory_of_nobody_in_sight(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, gpu(free=100 * GIB, busy=None, driver_reserved=None))

    assert run("gpu").out.startswith(
        "GPU 0 NVIDIA H200: 100.0 of 140.0 GiB free, 40.0 by nobody in sight\n\nwarning: 40.0 GiB"
    )


def test_a_user_on_several_gpus(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum first, then each GPU."""
    told = holder(allocator=allocator(4, 9, 1))
    shows(monkeypatch, gpu(told, holder(7, 2)), gpu(holder(gib=3), index=1))

    rows = [line for line in run("gpu").out.splitlines() if line.startswith("  ann ")]

    assert rows == [
        "  ann   all    15.0   0.0      4.0     5.0      1.0  2 processes, 1 told",
        "  ann     0    12.0   0.0      4.0     5.0      1.0  2 processes, 1 told",
        "  ann     1     3.0   0.0        -       -        -  1 process",
    ]


def test_a_driver_without_a_gpu(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch)

    assert run("gpu").out == "driver 535.1 lists no GPU; `envforge doctor` says more\n"


def test_without_a_driver(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, driver=None)

    done = run("gpu")

    assert (done.status, done.out) == (0, "no NVIDIA driver on this machine\n")


def test_a_driver_that_does_not_answer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, problem="NVML does not start: 999")

    done = run("gpu")

    assert done.status == 1
    assert "error: NVML does not start: 999" in done.out
    assert "envforge verify --host" in done.out


def test_as_a_document(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, gpu(holder(allocator=allocator(5, 9, 1))), GpuMemory(index=1, name="x"))

    document = run("gpu", "--json").json

    assert document["schema"] == "envforge.gpu/1"
    first, second = document["gpus"]
    [found] = first["holders"]
    assert (found["user"], found["name"], found["use"]) == ("ann", "python train.py", "busy")
    told = found["allocator"]
    assert (told["cached"], told["stuck"], told["releasable"]) == (4 * GIB, 3 * GIB, GIB)
    assert first["unaccounted"] == 0
    assert (second["holders"], second["unaccounted"]) == (None, None)
    assert document["users"] == first["users"]
    [share] = document["users"]
    assert (share["user"], share["reserved"], share["cached"]) == ("ann", 9 * GIB, 4 * GIB)
    assert document["findings"][0]["check"] == "memory-cached"


def test_a_command_is_run_instead(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what makes it tell; its own options are its own."""
    became: list[Any] = []

    def become(program: str, command: Any, env: Any) -> None:
        became.append((program, tuple(command), env["PYTHONPATH"]))
        raise SystemExit(7)

    monkeypatch.setattr(watching, "become", become)
    monkeypatch.setattr(watching.shutil, "which", lambda name, path: f"/bin/{name}")

    assert run("gpu", "--", "python", "--json", "x.py").status == 7

    [(program, command, path)] = became
    assert (program, command) == ("/bin/python", ("python", "--json", "x.py"))
    assert path.split(os.pathsep)[0].endswith("allocator_hook")


def test_a_command_that_is_not_there(run: Run) -> None:
    done = run("gpu", "--", "no-such-program")

    assert done.status == ToolMissing.exit_code
    assert "`no-such-program` is needed for `envforge gpu -- CMD`" in done.err


def test_an_option_that_does_not_exist(run: Run) -> None:
    done = run("gpu", "--jsn")

    assert done.status == 2
    assert "No such option: '--jsn'" in done.err
