"""Is it installed, is it what was asked for, and is it what runs?"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from e2e.world import torch_version_module
from fakes.situation import CUDA, CUDNN, NAME, SERIES, TORCH, Situation, covers

from envforge.formats.conda.conda_meta import MARKER


def torch_says(situation: Situation, version: str = TORCH, cuda: str = CUDA) -> None:
    """Another torch/version.py, with a record that knows it."""
    path = situation.site / "torch" / "version.py"
    _rewrite(situation, path, torch_version_module(version, cuda, CUDNN))


def _rewrite(situation: Situation, path: Path, text: str) -> None:
    path.write_text(text)
    [record] = (situation.prefix / "conda-meta").glob("pytorch-*.json")
    document = json.loads(record.read_text())
    relative = str(path.relative_to(situation.prefix))
    for item in document["paths_data"]["paths"]:
        if item["_path"] == relative:
            item |= {"size_in_bytes": len(text)}
            item.pop("sha256", None)
            item.pop("sha256_in_prefix", None)
    record.write_text(json.dumps(document))


@covers("prefix-incomplete")
@pytest.mark.parametrize("level", ["static", "import"])
def test_an_install_that_did_not_end(situation: Situation, level: str) -> None:
    marker = situation.prefix / "conda-meta" / MARKER
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "state": "incomplete"}))
    situation.names("prefix-incomplete", level=level)


@covers("python-missing")
def test_no_interpreter(situation: Situation) -> None:
    shutil.rmtree(situation.prefix / "bin")
    report = situation.names("python-missing", beside=["files-unlike-recorded"])
    assert report.unseen


@covers("python-does-not-start")
@pytest.mark.parametrize("script", ["kill -SEGV $$", "exit 3", "exit 0"])
def test_an_interpreter_that_starts_and_fails(situation: Situation, script: str) -> None:
    program = situation.prefix / "bin" / f"python{SERIES}"
    program.unlink()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    beside = ["files-unlike-recorded", "edited-file-in-prefix"]
    report = situation.verify(skip=beside)
    assert [item.check for item in report.findings] == ["python-does-not-start"]
    assert report.unseen


@covers("torch-missing")
def test_torch_is_gone(situation: Situation) -> None:
    """Its record says that it is there."""
    shutil.rmtree(situation.site / "torch")
    situation.names("torch-missing", level="static")


@covers("torch-version-differs")
def test_another_torch(situation: Situation) -> None:
    torch_says(situation, version="2.6.0")
    situation.names("torch-version-differs", level="static")


@covers("other-cuda-build")
def test_torch_for_another_cuda(situation: Situation) -> None:
    torch_says(situation, cuda="12.4")
    situation.names("other-cuda-build", level="static")


@covers("cuda-build-unasked")
def test_cuda_where_a_cpu_build_was_asked_for(situation: Situation) -> None:
    """The folder's lock is for the CPU, and somebody put a CUDA build there."""
    path = situation.folder / "conda-lock.yml"
    text = re.sub(r"envforge\.target\.cuda: .*", "envforge.target.cuda: cpu", path.read_text())
    path.write_text(text)
    told = [item.check for item in situation.verify(level="static").findings]
    assert "cuda-build-unasked" in told
    assert {*told} <= {"cuda-build-unasked", "cpu-build-solved-in-ci", "folder-name-claim"}


@covers("cudnn-differs")
def test_another_cudnn_than_the_lock_is_for(situation: Situation) -> None:
    path = situation.folder / "conda-lock.yml"
    line = re.compile(r"(envforge\.target\.cudnn: ).*")
    assert line.search(path.read_text())
    path.write_text(line.sub(r"\g<1>9.5.1", path.read_text()))
    situation.names("cudnn-differs", level="static")


@covers("folder-name-claim")
def test_a_folder_that_was_renamed(situation: Situation) -> None:
    other = situation.folder.with_name("p-torch26-cu124")
    situation.folder.rename(other)
    situation.names("folder-name-claim", env=other.name, prefix=situation.prefix, level="static")


@covers("machine-local-lock")
def test_a_lock_with_a_package_of_this_machine(situation: Situation) -> None:
    path = situation.folder / "conda-lock.yml"
    text = re.sub(r"url: https://\S+(/numpy-\S+)", r"url: file:///srv/channel\1", path.read_text())
    path.write_text(text)
    report = situation.names("machine-local-lock", level="static")
    assert report.passed


@covers("platform-not-locked")
def test_a_lock_for_another_platform(situation: Situation) -> None:
    path = situation.folder / "conda-lock.yml"
    path.write_text(path.read_text().replace("linux-64", "linux-aarch64"))
    situation.names("platform-not-locked", level="static")
    report = situation.verify(None, lock=path, level="static")
    assert [item.check for item in report.findings] == ["platform-not-locked"]


@covers("torch-from-elsewhere")
def test_a_pth_file_leads_to_another_torch(situation: Situation) -> None:
    """A development checkout that was linked in, long forgotten."""
    checkout = situation.base / "checkout"
    shutil.copytree(situation.site / "torch", checkout / "torch")
    line = f"import sys; sys.path.insert(0, {str(checkout)!r})\n"
    (situation.site / "dev.pth").write_text(line)
    situation.names("torch-from-elsewhere", beside=["library-shadowed", "cudnn-from-two-places"])


@covers("user-site-leak")
def test_a_package_of_the_users_own(situation: Situation) -> None:
    """`pip install --user` years ago; with PYTHONNOUSERSITE it is no matter."""
    site = situation.base / "home/.local/lib" / f"python{SERIES}" / "site-packages"
    (site / "numpy-1.20.0.dist-info").mkdir(parents=True)
    (site / "numpy-1.20.0.dist-info" / "METADATA").write_text("Name: numpy\nVersion: 1.20.0\n")
    (site / "numpy").mkdir()
    (site / "numpy" / "__init__.py").touch()
    situation.names("user-site-leak", level="static")
    situation.env["PYTHONNOUSERSITE"] = "1"
    situation.is_healthy(level="static")


@covers("no-usable-gpu")
def test_a_gpu_is_required_of_a_driver_that_has_none(situation: Situation) -> None:
    """A driver without a GPU: nothing is wrong until one is required."""
    situation.driver(gpus=[])
    report = situation.verify(level="static", require_gpu=True, only=["no-usable-gpu"])
    assert [item.check for item in report.findings] == ["no-usable-gpu"]
    assert situation.verify(level="static", only=["no-usable-gpu"]).findings == ()


@covers("cuda-init-failed")
def test_cuda_does_not_start(situation: Situation) -> None:
    """NVML does not see a GPU either, or that would be the better name for it."""
    situation.driver(cuinit=46, gpus=[], nvml=999)
    report = situation.verify(level="static")
    assert "cuda-init-failed" in [item.check for item in report.findings]


def test_the_environment_is_known_by_its_name(situation: Situation) -> None:
    """Guards what the tests here stand on."""
    assert situation.verify(level="static").subject == NAME
