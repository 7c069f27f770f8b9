"""Level live: on the stand-in that computes, and on real torch where one is named.

`ENVFORGE_TEST_TORCH_PYTHON=/path/of/python` names an interpreter with a CPU build of torch. Its
tensors for `cuda:0` then lie on the CPU (`fakes.cuda_on_cpu`), so that all that is asked of torch
on a GPU is asked of the real one, apart from the hardware.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e.world import STAND_IN, torch_version_module
from fakes.cuda_on_cpu import driver_that_takes_ptx, interpreter, nvrtc
from fakes.stub_driver import H200, V100, stub_driver

from envforge.adapters.prefix.python_probe import PythonProbe
from envforge.adapters.process import RealProcesses
from envforge.verify.facts import DeviceRun, ProbeFacts

SLICES = [f"MIG-{number * 8}-1111-1111-1111-111111111111" for number in "12"]
Ask = Callable[..., ProbeFacts]


def run(python: Path, timeout: float, env: dict[str, str]) -> ProbeFacts:
    variables = {**os.environ, **env}
    return PythonProbe(RealProcesses()).run(
        python, level="live", environment=variables, timeout=timeout
    )


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with the stand-in for torch 2.7.1 and CUDA 12.6."""
    folder = tmp_path_factory.mktemp("venv") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    [site] = folder.glob("lib/python3*/site-packages")
    (site / "torch").mkdir()
    (site / "torch" / "__init__.py").write_text(STAND_IN.read_text())
    (site / "torch" / "version.py").write_text(torch_version_module("2.7.1", "12.6", "9.5.1"))
    return folder / "bin" / "python"


def trials(device: DeviceRun) -> dict[str, bool | None]:
    return {trial.name: trial.right for trial in device.trials}


def test_every_gpu_is_tried_alone(stand_in: Path) -> None:
    """Each by its UUID, with what its capability has."""
    facts = run(stand_in, 30, stub_driver(gpus=[H200, V100]))

    assert [item.device for item in facts.devices] == ["cpu", "cuda:0", "cuda:1"]
    new, old = facts.gpus
    assert {new.visible, old.visible} == set(filter(None, (new.visible, old.visible)))
    assert (new.name, old.name) == (H200[0], V100[0])
    assert all(trials(new)[f"matmul {form}"] for form in ("fp32", "tf32", "fp16", "bf16", "fp8"))
    assert trials(old)["matmul fp16"]
    assert trials(old)["matmul bf16"] is None
    assert "8.0 or newer" in next(t.skipped for t in old.trials if t.name == "matmul bf16")
    assert [item.right for item in new.copies] == [True] * 5
    assert new.before.free == H200[2]
    assert facts.all_reduce is not None
    assert [rank.right for rank in facts.all_reduce.ranks] == [True, True]


def test_slices_are_tried_and_those_of_others_are_left_alone(stand_in: Path) -> None:
    """CUDA shows the first slice only; a name in the variable hides the rest."""
    parts = ",".join(f"{uuid}:NVIDIA H200 MIG 1g.18gb:18000000000:17000000000" for uuid in SLICES)
    driver = stub_driver(gpus=[H200], states=[{"slices": parts}])
    facts = run(stand_in, 30, driver)
    assert [item.visible for item in facts.gpus] == SLICES
    assert facts.all_reduce is not None
    assert len(facts.all_reduce.ranks) == 1
    [only] = run(stand_in, 30, {**driver, "CUDA_VISIBLE_DEVICES": SLICES[1]}).gpus
    assert only.visible == SLICES[1]


def test_a_driver_without_uuids_is_asked_by_number(stand_in: Path) -> None:
    missing = ("cuDeviceGetUuid", "cuDeviceGetUuid_v2")
    facts = run(stand_in, 30, stub_driver(gpus=[H200, V100], missing=missing))
    assert [(item.visible, item.name) for item in facts.gpus] == [
        (None, H200[0]),
        (None, V100[0]),
    ]


@pytest.mark.parametrize(
    ("fault", "ended", "stage"),
    [
        ("matmul=hang", "timeout", "matmul fp32"),
        ("attention=crash", "signal 11", "attention flash"),
        ("copy=CUDA error: an illegal memory access lost", "error", "copies: host to device"),
    ],
)
def test_what_was_found_before_the_end_is_kept(
    stand_in: Path, fault: str, ended: str, stage: str
) -> None:
    [gpu] = run(stand_in, 3, {**stub_driver(), "STUB_TORCH": fault}).gpus
    assert gpu.ending.ended == ended
    assert gpu.ending.stage.startswith(stage)
    assert gpu.kernel_right


def test_little_free_memory(stand_in: Path) -> None:
    """Nothing large is asked for, and the reason is told."""
    env = {**stub_driver(), "STUB_TORCH_FREE": str(20 << 20)}
    [gpu] = run(stand_in, 30, env).gpus
    assert gpu.copies == ()
    assert gpu.copies_skipped == "only 20 MiB of its memory are free"


def test_direct_copies_that_hang(stand_in: Path) -> None:
    """The second try, without them, is told beside the first."""
    env = {**stub_driver(gpus=[H200, H200]), "STUB_TORCH": "all_reduce=hang-p2p"}
    tried = run(stand_in, 3, env).all_reduce
    assert tried is not None
    assert [rank.ending.ended for rank in tried.ranks] == ["timeout", "timeout"]
    assert [rank.right for rank in tried.without_p2p] == [True, True]


def test_torch_compile_uses_a_cache_of_its_own(stand_in: Path, tmp_path: Path) -> None:
    """Which is gone afterwards."""
    env = {**stub_driver(), "STUB_TORCH": "compile=right", "TMPDIR": str(tmp_path)}
    [found] = run(stand_in, 30, env).compile
    assert found.second is not None
    assert (found.first.misses, found.first.hits) == (1, 0)
    assert (found.second.misses, found.second.hits) == (0, 1)
    assert list(tmp_path.iterdir()) == []


# --- real torch -----------------------------------------------------------------------------


@pytest.fixture
def torch_python() -> str:
    python = os.environ.get("ENVFORGE_TEST_TORCH_PYTHON")
    if not python:
        pytest.skip("ENVFORGE_TEST_TORCH_PYTHON names no interpreter with torch")
    return python


@pytest.mark.slow
def test_real_torch(torch_python: str) -> None:
    """On the CPU: everything is right, and torch.compile finds again what it compiled."""
    facts = run(Path(torch_python), 120, {})

    assert facts.torch is not None
    assert facts.torch.ending.is_good, facts.torch.ending
    assert any("libtorch" in path for path in facts.torch.libraries)
    for device in facts.devices:
        assert device.kernel_right, device
        assert all(trials(device).values()), device
    for found in facts.compile:
        assert found.first.right, found.first
        assert found.second is not None
        assert found.second.hits


@pytest.mark.slow
def test_what_is_asked_of_torch_on_gpus(torch_python: str, tmp_path: Path) -> None:
    """Real torch takes every call; what a CPU has not is told as such."""
    python = interpreter(torch_python, tmp_path / "env")
    nvrtc(tmp_path / "libnvrtc.so.13")
    env = stub_driver(gpus=[H200, V100], cuda="13.0")
    env["LD_LIBRARY_PATH"] = f"{driver_that_takes_ptx()}:{tmp_path}"

    facts = run(python, 60, env)

    for device in facts.gpus:
        failed = [t for t in device.trials if not (t.right or t.skipped)]
        assert {t.name for t in failed} <= {"attention efficient", "attention cudnn"}, failed
        assert [item.right for item in device.copies] == [True] * 5
        assert trials(device)["PTX"]
    assert trials(facts.gpus[0])["matmul fp8"]
    assert facts.all_reduce is not None
    assert [rank.right for rank in facts.all_reduce.ranks] == [True, True]


@pytest.mark.slow
def test_the_bounds_see_what_is_wrong(torch_python: str, tmp_path: Path) -> None:
    """Results that are off by one, whatever the kind; NaN in a product."""
    python = interpreter(torch_python, tmp_path / "env")
    faults = "conv2d=wrong,attention=wrong,copy=wrong"
    [gpu] = run(python, 60, {**stub_driver(), "FAKE_GPU_FAULTS": faults}).gpus
    wrong = {name for name, right in trials(gpu).items() if right is False}
    assert wrong == {"convolution", "attention flash", "attention math"}
    assert [item.right for item in gpu.copies] == [False] * 5
    [gpu] = run(python, 60, {**stub_driver(), "FAKE_GPU_FAULTS": "matmul=nan"}).gpus
    assert not any(right for name, right in trials(gpu).items() if name.startswith("matmul"))
