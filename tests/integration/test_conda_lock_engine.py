"""conda-lock as the second solver; the conda below it is a stand-in (`fakes.conda_stand_in`)."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest
from fakes.conda_stand_in import make_conda

from envforge.adapters.conda_lock_engine import CondaLockEngine
from envforge.adapters.process import RealProcesses
from envforge.errors import ToolFailed, ToolMissing, Unsolvable
from envforge.formats.conda import environment_yml
from envforge.formats.conda_lock.content_hash import content_hashes
from envforge.model.lock import Lock
from envforge.model.machine import Platform
from envforge.model.solving import Channel
from envforge.model.spec import EnvironmentSpec, VirtualPackage

PUBLIC = "https://conda.anaconda.org"
MACHINES: dict[Platform, tuple[VirtualPackage, ...]] = {
    "linux-64": (VirtualPackage(name="__cuda", version="11.8"),),
    "win-64": (VirtualPackage(name="__cuda", version="11.8"),),
}


def record(name: str, version: str, build: str, depends: list[str], subdir: str) -> dict[str, Any]:
    """A repodata record; nobody fetches the archive, so its hashes are made up."""
    digest = hashlib.sha256(f"{subdir}{name}{version}{build}".encode()).hexdigest()
    return {
        "name": name,
        "version": version,
        "build": build,
        "build_number": 0,
        "depends": depends,
        "md5": digest[:32],
        "sha256": digest,
        "size": 1,
        "subdir": subdir,
        "timestamp": 1_600_000_000_000,
    }


def write_channel(folder: Path, subdir: str, *records: dict[str, Any]) -> None:
    target = folder / subdir
    target.mkdir(parents=True, exist_ok=True)
    packages = {f"{r['name']}-{r['version']}-{r['build']}.conda": r for r in records}
    content = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": packages}
    (target / "repodata.json").write_text(json.dumps(content))


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """Two channels in a folder whose name has a blank, as a site might mirror them."""
    root = tmp_path / "the mirror"
    for subdir in ("linux-64", "win-64"):
        write_channel(
            root / "conda-forge",
            subdir,
            record("python", "3.10.1", "h0_cpython", ["python_abi 3.10.* *_cp310"], subdir),
            record("torch", "9.9", "cpu_0", [], subdir),
        )
        write_channel(
            root / "pytorch",
            subdir,
            record("torch", "2.0.1", "py3.10_cuda11.8_0", ["python >=3.10", "__cuda >=11"], subdir),
        )
    write_channel(
        root / "conda-forge", "noarch", record("python_abi", "3.10", "5_cp310", [], "noarch")
    )
    return root


@pytest.fixture
def conda(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    return make_conda(folder)


def engine(conda: Path, **fields: Any) -> CondaLockEngine:
    environment = {
        "PATH": f"{conda.parent}:{os.defpath}",
        "HOME": str(conda.parent),
        "CONDA_LOCK_CONDA": "/nonexistent",
    }
    return CondaLockEngine(
        **{"processes": RealProcesses(), "environment": environment, "timeout": 120.0, **fields}
    )


def spec(dependencies: str) -> EnvironmentSpec:
    text = (
        "name: x\nchannels: [conda-forge, pytorch, nodefaults]\nplatforms: [linux-64, win-64]\n"
        f"dependencies: {dependencies}\n"
    )
    return environment_yml.read(text, "environment.yml").spec


def channels(root: Path | None) -> tuple[Channel, ...]:
    return tuple(
        Channel(name=name, url=f"{PUBLIC}/{name}", mirror=str(root / name) if root else None)
        for name in ("conda-forge", "pytorch")
    )


def calls(conda: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (conda.parent / "calls.jsonl").read_text().splitlines()]


def test_all_platforms_are_locked_under_canonical_addresses(mirror: Path, conda: Path) -> None:
    """From a mirror, with a package asked for from a channel by name."""
    asked = spec("[python=3.10, 'pytorch::torch=2.0.1=*cuda11.8*']")

    packages = engine(conda).lock(asked, MACHINES, channels(mirror))

    assert [(item.platform, item.name, item.build, item.url) for item in packages] == [
        (platform, name, build, f"{PUBLIC}/{channel}/{subdir}/{name}-{version}-{build}.conda")
        for platform in ("linux-64", "win-64")
        for name, version, build, channel, subdir in (
            ("python", "3.10.1", "h0_cpython", "conda-forge", platform),
            ("python_abi", "3.10", "5_cp310", "conda-forge", "noarch"),
            ("torch", "2.0.1", "py3.10_cuda11.8_0", "pytorch", platform),
        )
    ]
    assert all(len(item.md5) == 32 and len(item.sha256) == 64 for item in packages)
    first = calls(conda)[0]
    assert first["alias"] == f"file://{mirror}"
    assert first["channels"][:2] == ["conda-forge", "pytorch"]


def test_mirrors_that_lie_apart_are_asked_by_address(
    mirror: Path, conda: Path, tmp_path: Path
) -> None:
    apart = tmp_path / "elsewhere"
    (mirror / "pytorch").rename(apart)
    listed = (
        channels(mirror)[0],
        Channel(name="pytorch", url=f"{PUBLIC}/pytorch", mirror=f"file://{apart}/"),
    )

    packages = engine(conda).lock(spec("[python]"), MACHINES, listed)

    assert {item.channel_url for item in packages} == {f"{PUBLIC}/conda-forge"}
    assert calls(conda)[0]["channels"][:2] == [f"file://{mirror}/conda-forge", f"file://{apart}"]


def test_without_mirrors_conda_finds_the_channels_itself(mirror: Path, conda: Path) -> None:
    """The stand-in finds nothing on the network, so the solve fails: but it was asked rightly."""
    with pytest.raises(Unsolvable) as caught:
        engine(conda).lock(spec("[python]"), MACHINES, channels(None))

    assert caught.value.platform == "linux-64"
    assert "python" in caught.value.explanation
    assert calls(conda)[0]["alias"] == PUBLIC


def test_an_unsolvable_spec_carries_the_solvers_words(mirror: Path, conda: Path) -> None:
    with pytest.raises(Unsolvable) as caught:
        engine(conda).lock(spec("['torch>=100']"), MACHINES, channels(mirror))

    assert "torch" in caught.value.explanation
    assert "Command:" not in caught.value.explanation


def test_the_virtual_packages_of_the_target_count(mirror: Path, conda: Path) -> None:
    """No `__cuda`, no CUDA build; the host is not asked."""
    with pytest.raises(Unsolvable, match="__cuda"):
        engine(conda).lock(spec("['pytorch::torch']"), {}, channels(mirror))


def test_another_failure_keeps_conda_locks_words(mirror: Path, conda: Path) -> None:
    conda.write_text("#!/bin/sh\necho kaputt >&2\nexit 3\n")

    with pytest.raises(ToolFailed) as caught:
        engine(conda).lock(spec("[python]"), MACHINES, channels(mirror))

    assert "conda" in caught.value.output


def test_a_program_can_be_named(mirror: Path, conda: Path) -> None:
    other = conda.with_name("micromamba-2")
    conda.rename(other)

    found = engine(conda, program=str(other)).lock(spec("[python]"), MACHINES, channels(mirror))

    assert {item.name for item in found} == {"python", "python_abi"}


def test_conda_of_the_shell_is_found_without_path(mirror: Path, conda: Path) -> None:
    environment = {"PATH": "/nonexistent", "HOME": str(conda.parent), "CONDA_EXE": str(conda)}

    found = engine(conda, environment=environment)._solver()

    assert found == str(conda)


@pytest.mark.parametrize("program", [None, "no-such-conda"])
def test_no_program_to_solve_with(program: str | None, tmp_path: Path) -> None:
    bare = engine(tmp_path / "conda", environment={"PATH": str(tmp_path)}, program=program)

    with pytest.raises(ToolMissing) as caught:
        bare.lock(spec("[python]"), MACHINES, channels(None))

    assert caught.value.tool == (program or "conda, mamba or micromamba")
    assert caught.value.hint is not None


def test_conda_lock_is_optional(conda: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ToolMissing) as caught:
        engine(conda).lock(spec("[python]"), MACHINES, channels(None))
    with pytest.raises(ToolMissing):
        engine(conda).render(Lock(packages=(), platforms=(), channels=(), content_hash={}))

    assert caught.value.hint == "pip install 'envforge[conda-lock]'"


@pytest.mark.parametrize("kind", ["explicit", "env"])
def test_a_lock_is_rendered(kind: Any, mirror: Path, conda: Path) -> None:
    asked = spec("[python=3.10]")
    packages = engine(conda).lock(asked, MACHINES, channels(mirror))
    lock = Lock(
        packages=packages,
        platforms=asked.platforms,
        channels=("conda-forge", "pytorch"),
        content_hash=content_hashes(asked, MACHINES),
    )

    rendered = engine(conda).render(lock, kind)

    assert rendered.keys() == {"linux-64", "win-64"}
    python = lock.find("python", "win-64")
    assert python is not None
    expected = f"{python.url}#{python.md5}" if kind == "explicit" else "python=3.10.1=h0_cpython"
    assert expected in rendered["win-64"]
