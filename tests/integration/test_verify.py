"""From a prefix on disk and a driver to a report: real collectors, real checks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.facts import LOCKED, TARGET, locked
from fakes.prefix_on_disk import SITE, add_record, add_wheel, forge_prefix
from fakes.stub_driver import H200, RTX_5090, V100, stub_driver

from envforge.adapters.machine.host_facts import host_facts
from envforge.adapters.machine.machine_probe import LiveMachineProbe
from envforge.adapters.prefix.prefix_facts import read_prefix
from envforge.adapters.process import RealProcesses
from envforge.cli.rendering.render_report import as_text
from envforge.model.cuda import CudaVersion
from envforge.model.finding import Report
from envforge.model.prefix import PrefixState
from envforge.verify.facts import Subject
from envforge.verify.verify import report

TORCH = {"__version__": "2.0.1", "cuda": "11.8", "hip": None}
NAME = "nlp-bert-torch20-cu118"


def verify(prefix: Path, env: Mapping[str, str], **changes: object) -> Report:
    """The static level, with everything looked up for real."""
    environment = {"HOME": str(prefix.parent), **env}
    probe = LiveMachineProbe(
        RealProcesses(),
        {"PATH": os.environ["PATH"], **environment},
        root=prefix.parent,
        timeout=0.5,
    )
    facts = Subject(
        name=NAME,
        level="static",
        folder=NAME,
        declared_name=NAME,
        target=TARGET,
        locked=LOCKED,
        host=host_facts(probe.driver, environment, root=prefix.parent),
        prefix=read_prefix(prefix, state=PrefixState.INSTALLED, environment=environment),
        missing={"probe": "level static"},
    )
    return report(replace(facts, **changes))  # type: ignore[arg-type]


def first(found: Report) -> str:
    """The id that is named first."""
    assert found.findings, as_text(found)
    assert not found.passed or found.findings[0].severity == "warning"
    return found.findings[0].check


@pytest.fixture
def forged(tmp_path: Path) -> Path:
    return forge_prefix(tmp_path / "prefix", LOCKED, torch=TORCH)


def test_a_healthy_environment_on_a_gpu_machine(forged: Path) -> None:
    """No finding at all, and the driver is among what was proven."""
    found = verify(forged, stub_driver())

    assert found.findings == ()
    assert found.passed
    assert found.proven["driver"] == "535.104.05, runs CUDA 12.2 natively"
    assert found.proven["GPU 0"].startswith("NVIDIA H200 (9.0), 140 GiB")
    assert found.proven["CUDA compiled"] == "11.8"


def test_a_healthy_environment_on_a_login_node(forged: Path) -> None:
    """No driver: it passes, and says what could not be proven."""
    found = verify(forged, {})

    assert found.passed
    assert {item.check for item in found.unproven} >= {"driver-too-old", "arch-too-new"}
    assert "no NVIDIA driver on this machine" in as_text(found)


def test_a_gpu_can_be_required(forged: Path) -> None:
    """Then its absence is a failure."""
    assert first(verify(forged, {}, require_gpu=True)) == "no-driver-at-all"


def test_a_cpu_build_where_cuda_was_asked_for(tmp_path: Path) -> None:
    """The first promise: never silently."""
    packages = (*LOCKED[:2], locked("pytorch", "2.0.1", "py3.10_cpu_0"), LOCKED[3])
    prefix = forge_prefix(
        tmp_path / "prefix", packages, torch={**TORCH, "cuda": None}, cuda_library=False
    )
    found = verify(prefix, stub_driver())
    assert first(found) == "cpu-build-from-conda-solve"
    assert found.findings[0].remedy == f"envforge install {NAME}"


@pytest.mark.parametrize(
    ("driver", "check", "says"),
    [
        ({"driver": "440.33.01", "cuda": "10.2"}, "driver-too-old", "440.33.01"),
        ({"gpus": [RTX_5090], "driver": "580.65.06", "cuda": "13.0"}, "arch-too-new", "12.0"),
        ({"cuinit": 802}, "fabric-not-ready-802", "802"),
        ({"cuinit": 803, "nvml": 18}, "driver-library-mismatch-nvml", "old kernel module"),
        ({"cuinit": 804}, "cuda-803-driver-combination", "does not fit"),
        ({"cuinit": 999}, "cuda-unknown-999-uvm", "nvidia_uvm"),
        ({"cuinit": 46}, "nvml-says-yes-cuda-says-no", "46"),
        ({"visible": ""}, "cvd-empty-or-invalid", "hides every GPU"),
        ({"visible": "0,5", "gpus": [H200, V100]}, "cvd-empty-or-invalid", "GPU 5"),
        ({"hang": 60}, "driver-does-not-answer", "does not answer"),
        ({"crash": True}, "driver-does-not-answer", "signal 6"),
        ({"libraries": ["libnvidia-ml.so.1"]}, "cuda-init-failed", "libcuda.so.1"),
    ],
)
def test_broken_drivers_are_named(
    forged: Path, driver: dict[str, object], check: str, says: str
) -> None:
    """Each by its own id, first."""
    found = verify(forged, stub_driver(**driver))  # type: ignore[arg-type]
    assert first(found) == check
    assert says in found.findings[0].message + found.findings[0].seen


def test_a_too_old_driver_is_told_with_what_it_does_run(forged: Path) -> None:
    """As a command, for the same project."""
    target = replace(TARGET, cuda=CudaVersion(12, 1), torch="2.1.0", cudnn=None)
    found = verify(
        forged,
        stub_driver(driver="470.82.01", cuda="11.4", gpus=[V100]),
        target=target,
        locked=None,
    )
    [too_old] = [item for item in found.findings if item.check == "driver-too-old"]
    assert "envforge create nlp-bert --torch 2.1.0 --cuda 11.8" in too_old.remedy
    assert "525.60.13" in too_old.remedy


def test_drift_damage_and_leaks(forged: Path, tmp_path: Path) -> None:
    """Several things are wrong: each is named, none hides another."""
    [record] = forged.glob("conda-meta/numpy-*.json")
    record.unlink()
    add_record(forged, locked("numpy", "1.25.0"))
    add_record(forged, locked("cudnn", "8.7.0"), {"lib/libcudnn.so.8.7.0": 10})
    add_wheel(forged, "black", "25.1")
    (forged / SITE / "~orch").mkdir()
    shadow = tmp_path / "ros"
    (shadow / "numpy").mkdir(parents=True)
    (forged / SITE / "numpy").mkdir()

    found = verify(forged, {**stub_driver(), "PYTHONPATH": str(shadow)})

    assert [item.check for item in found.findings] == [
        "metadata-broken",
        "lock-drift",
        "pythonpath-shadow",
        "library-gone",
        "lock-drift",
    ]
    assert [item.severity for item in found.findings][-1] == "warning"


def test_the_name_is_a_claim(forged: Path) -> None:
    """Folder, lock and environment.yml must agree."""
    assert first(verify(forged, stub_driver(), folder="nlp-bert-torch21-cu118")) == (
        "folder-name-claim"
    )
