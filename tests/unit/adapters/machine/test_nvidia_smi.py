"""What nvidia-smi prints becomes facts, and what is not understood does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from envforge.adapters.machine.nvidia_smi import (
    FIELDS,
    NvidiaSmi,
    read_licenses,
    read_ready,
    read_rows,
    read_switch,
)
from envforge.errors import ToolFailed
from envforge.ports import Completed
from envforge.verify.facts import SmiWitness

ROW = "0, NVIDIA H200, GPU-1f, 00000000:17:00.0, 570.124.06, 143771"


class Answers:
    """Processes that print what a test wants, by the last argument."""

    def __init__(self, answer: Completed | Exception) -> None:
        self.answer = answer
        self.commands: list[Sequence[str]] = []

    def run(self, command: Sequence[str], **options: Any) -> Completed:
        self.commands.append(command)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with the program."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return str(tmp_path)


def smi(path: str, stdout: str = "", status: int = 0, stderr: str = "") -> NvidiaSmi:
    answers = Answers(Completed(status=status, stdout=stdout, stderr=stderr))
    return NvidiaSmi(answers, {"PATH": path}, timeout=1)


def test_driver_and_gpus(path: str) -> None:
    """Bus ids are spelled as the other witnesses spell them, memory is in bytes."""
    answers = Answers(Completed(status=0, stdout=f"{ROW}\n", stderr=""))

    found = NvidiaSmi(answers, {"PATH": path}, timeout=1).gpus()

    assert found.driver == "570.124.06"
    [gpu] = found.gpus
    assert (gpu.index, gpu.uuid, gpu.bus_id) == (0, "GPU-1f", "0000:17:00.0")
    assert gpu.memory_bytes == 143771 * 2**20
    [command] = answers.commands
    assert command[1:] == [f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No devices were found",
        "0, NVIDIA H200",
        "index, name, uuid, pci.bus_id, driver_version, memory.total [MiB]",
        "a, b, c, d, e, f",
    ],
)
def test_lines_that_are_not_about_a_gpu_are_left_out(text: str) -> None:
    """Headings and messages."""
    assert read_rows(text) == []


def test_memory_that_is_not_told(path: str) -> None:
    """`[N/A]` on boards that share it with the CPU."""
    [gpu] = smi(path, ROW.replace("143771", "[N/A]")).gpus().gpus
    assert gpu.memory_bytes is None


def test_failures_are_told_in_its_own_words(path: str) -> None:
    """Of whichever stream they came on, the first line."""
    found = smi(path, status=9, stderr="NVIDIA-SMI has failed\nmore").gpus()
    assert (found.status, found.message) == (9, "NVIDIA-SMI has failed")
    late = NvidiaSmi(
        Answers(ToolFailed(command=("x",), status="no answer within 1 s", output="")),
        {"PATH": path},
        timeout=1,
    )
    assert late.gpus().status is None
    assert "no answer" in late.gpus().message
    assert late.with_confidential(SmiWitness()).ready is None


def test_without_the_program_nothing_is_started() -> None:
    """Nor where PATH is not set at all."""
    answers = Answers(AssertionError("started"))
    for environment in ({}, {"PATH": "/nonexistent"}):
        none = NvidiaSmi(answers, environment, timeout=1)
        assert none.gpus() == SmiWitness()
        assert none.with_confidential(SmiWitness()) == SmiWitness()
        assert none.with_licenses(SmiWitness()) == SmiWitness()


def test_further_questions_are_added(path: str) -> None:
    """Each to what is known already."""
    told = smi(path, "CC status: ON\nGPUs Ready state: not-ready")
    found = told.with_confidential(SmiWitness(driver="570.1"))
    assert (found.driver, found.confidential, found.ready) == ("570.1", True, False)
    licenses = smi(path, "License Status : Licensed (Expiry: N/A)").with_licenses(found).licenses
    assert licenses == ((None, "licensed"),)
    assert smi(path, "License Status : Licensed", status=1).with_licenses(found).licenses == ()


@pytest.mark.parametrize(
    ("text", "switch"),
    [
        ("CC status: ON", True),
        ("CC status: OFF", False),
        ("CC State : ENABLED\n", True),
        ("CC status: DISABLED", False),
        ("Depends on the board", None),
        ("", None),
        ("one ON\nother OFF", None),
    ],
)
def test_switches(text: str, switch: bool | None) -> None:
    """By the last word of a line."""
    assert read_switch(text) is switch


@pytest.mark.parametrize(
    ("text", "ready"),
    [
        ("Confidential Compute GPUs Ready state: ready", True),
        ("Confidential Compute GPUs Ready state: not-ready", False),
        ("Confidential Compute GPUs Ready state : Not Ready", False),
        ("not_ready", False),
        ("ready", True),
        ("already known", None),
        ("Unable to query", None),
    ],
)
def test_readiness(text: str, ready: bool | None) -> None:
    """Whatever the line is called."""
    assert read_ready(text) is ready


def test_licences_of_several_gpus() -> None:
    """Each below its heading; other statuses are none."""
    text = """
GPU 00000000:02:00.0
    Product Name                          : GRID A100D-16C
        License Status                    : Licensed (Expiry: 2030-1-1 0:0:0 GMT)
GPU 00000001:03:00.0
        License Status                    : Unlicensed (Unrestricted)
GPU 00000002:03:00.0
        License Status                    : N/A
"""
    assert read_licenses(text) == (("0000:02:00.0", "licensed"), ("0001:03:00.0", "unlicensed"))
