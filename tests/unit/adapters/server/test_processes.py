"""Processes as a `/proc` tells, a made-up one and ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from envforge.adapters.server.processes import ProcessWatch, process


def put(
    proc: Path, pid: int, *arguments: str, state: str = "S", flags: int = 0, ticks: int = 0
) -> None:
    """One process, whose name holds all that a name may."""
    folder = proc / str(pid)
    folder.mkdir(exist_ok=True)
    fields = [state, "77", *["0"] * 4, str(flags), *["0"] * 4, str(ticks), "0", *["0"] * 6, "100"]
    (folder / "stat").write_text(f"{pid} (a) S (b\n) {' '.join(fields)} 0\n")
    (folder / "cmdline").write_bytes(b"\0".join(os.fsencode(item) for item in arguments))
    (folder / "comm").write_text("kept-name\n")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (
            ("/usr/bin/python3.11", "-u", "/home/ann/secret project/train.py", "--token", "x"),
            "train.py",
        ),
        (("python", "-m", "torch.distributed.run", "a.py"), "-m torch.distributed.run"),
        (("python3", "-c", "password = 1"), "-c"),
        (("python3",), ""),
    ],
)
def test_of_an_interpreter_the_script_is_shown_and_no_argument(
    tmp_path: Path, arguments: tuple[str, ...], shown: str
) -> None:
    put(tmp_path, 42, *arguments)

    found = process(42, tmp_path)

    assert found is not None
    assert found.program == f"{Path(arguments[0]).name} {shown}".strip()


def test_of_any_other_program_its_name(tmp_path: Path) -> None:
    put(tmp_path, 42, "/opt/vllm/bin/serve", "--api-key", "secret")
    put(tmp_path, 43)

    assert [process(pid, tmp_path).program for pid in (42, 43)] == ["serve", "kept-name"]  # type: ignore[union-attr]


def test_what_holds_no_gpu_is_not_in_sight(tmp_path: Path) -> None:
    """A thread of the kernel: the number is another's, seen from outside our container."""
    put(tmp_path, 42, flags=0x00200000)
    (tmp_path / "43").mkdir()
    (tmp_path / "43/stat").write_text("43 (cut")

    assert [process(pid, tmp_path) for pid in (42, 43, 44)] == [None, None, None]


def test_facts_are_read_behind_a_name_that_holds_anything(tmp_path: Path) -> None:
    put(tmp_path, 42, "x", state="T")
    (tmp_path / "uptime").write_text("3601.00 9.9\n")

    found = process(42, tmp_path)

    assert found is not None
    assert (found.state, found.parent, found.uid) == ("T", 77, os.getuid())
    assert found.age == pytest.approx(3601 - 100 / os.sysconf("SC_CLK_TCK"))
    (tmp_path / "uptime").unlink()
    assert process(42, tmp_path).age is None  # type: ignore[union-attr]


def test_work_between_two_looks_is_told(tmp_path: Path) -> None:
    """Of a process that came in between, it is not known."""
    put(tmp_path, 42, "x", ticks=100)
    watch = ProcessWatch(tmp_path)
    watch.begin()
    put(tmp_path, 42, "x", ticks=10_000)
    put(tmp_path, 43, "x", ticks=10_000)

    found = watch.facts([42, 43, 44])

    assert (found[42].cpu or 0) > 100
    assert found[43].cpu is None
    assert 44 not in found


def test_without_proc_nothing_is_in_sight(tmp_path: Path) -> None:
    watch = ProcessWatch(tmp_path / "none")
    watch.begin()
    assert watch.facts([1]) == {}


def test_a_real_process() -> None:
    watch = ProcessWatch()
    watch.begin()
    command = [sys.executable, "-u", "-c", "print(); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()  # it is there, and is what it was started as
        found = watch.facts([child.pid])[child.pid]
        child.communicate(b"\n")

    assert found.uid == os.getuid()
    assert found.parent == os.getpid()
    assert found.program == "python -c"
    assert found.age is not None
    assert found.age < 60


def test_in_a_container_a_number_may_be_anothers(tmp_path: Path) -> None:
    """Drivers count processes as the machine does: only who has a GPU open is meant."""
    for pid, device in ((42, "/dev/null"), (43, "/dev/nvidia0"), (44, None)):
        put(tmp_path, pid, "train")
        if device:
            (tmp_path / f"{pid}/fd").mkdir()
            (tmp_path / f"{pid}/fd/3").symlink_to(device)
    namespace = tmp_path / "self/ns/pid"
    namespace.parent.mkdir(parents=True)

    namespace.symlink_to("pid:[4026531836]")
    assert set(ProcessWatch(tmp_path).facts([42, 43, 44])) == {42, 43, 44}
    namespace.unlink()
    namespace.symlink_to("pid:[4026532281]")
    assert set(ProcessWatch(tmp_path).facts([42, 43, 44])) == {43}
