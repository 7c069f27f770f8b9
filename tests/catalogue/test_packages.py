"""Packages: the build that was installed, records, files, owners, places."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from e2e.world import torch_version_module
from fakes.prefix_on_disk import add_script, add_torch, forge_venv
from fakes.prefix_on_disk import add_wheel as forge_wheel
from fakes.situation import CUDA, SERIES, TORCH, Situation, covers

from envforge.adapters.prefix_reader import read_record
from envforge.adapters.prefix_writer import write_marker
from envforge.adapters.publishing import freezing
from envforge.model.finding import Report

SITE = f"lib/python{SERIES}/site-packages"
NOT_LOADED = ("torch-import-fails", "python-does-not-start")


@pytest.fixture
def situation(situation: Situation) -> Situation:
    """The healthy one, with a conda package of Python modules."""
    folder = f"{SITE}/tqdm-4.67.1.dist-info"
    files = {
        f"{SITE}/tqdm/__init__.py": '__version__ = "4.67.1"\n',
        f"{folder}/METADATA": "Metadata-Version: 2.1\nName: tqdm\nVersion: 4.67.1\n",
        f"{folder}/RECORD": "tqdm/__init__.py,,\n",
        f"{folder}/INSTALLER": "conda",
    }
    situation.add_package("tqdm", "4.67.1", files=files)
    return situation


def change_record(situation: Situation, name: str, **fields: Any) -> Path:
    """Other fields in a package's record, and a file name that fits."""
    [path] = (situation.prefix / "conda-meta").glob(f"{name}-[0-9]*.json")
    document = {**json.loads(path.read_text()), **fields}
    path.unlink()
    stem = "{name}-{version}-{build}".format(**document)
    path = path.with_name(f"{stem}.json")
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path


def relock(situation: Situation, name: str, change: Callable[[str], str]) -> None:
    """Change a package's lines in the lock, as text."""
    path = situation.folder / "conda-lock.yml"
    text = path.read_text()
    blocks = text.split("\n- name: ")
    changed = [change(item) if item.startswith(f"{name}\n") else item for item in blocks]
    assert changed != blocks
    path.write_text("\n- name: ".join(changed))


@contextmanager
def restored(situation: Situation) -> Iterator[None]:
    """Whatever is done to the prefix and the lock is undone; quicker than building both anew."""
    kept = situation.base / "kept"
    lock = (situation.folder / "conda-lock.yml").read_bytes()
    shutil.copytree(situation.prefix, kept, symlinks=True)
    try:
        yield
    finally:
        shutil.rmtree(situation.prefix)
        kept.rename(situation.prefix)
        (situation.folder / "conda-lock.yml").write_bytes(lock)


def cpu_torch(situation: Situation) -> None:
    """torch's files as a CPU build has them."""
    text = torch_version_module(TORCH, CUDA, "9.10.2")
    (situation.site / "torch/version.py").write_text(re.sub("cuda = .*", "cuda = None", text))
    for library in ("libtorch_cuda.so", "libc10_cuda.so"):
        (situation.prefix / "lib" / library).unlink()
    nothing = {"files": [], "paths_data": {"paths": []}}
    change_record(situation, "pytorch", build="cpu_generic_py_h0_0")
    change_record(situation, "libtorch", build="cpu_generic_h0_0", **nothing)


def verify_prefix(situation: Situation, prefix: Path, **how: Any) -> Report:
    """`envforge verify --prefix`."""
    how.setdefault("level", "static")
    [report] = situation.forge().verify(prefix=prefix, **how)
    return report


def named(report: Report) -> list[str]:
    return [item.check for item in report.findings]


# --- the build ------------------------------------------------------------------------------


@covers("cpu-build-from-conda-solve")
def test_a_cpu_build_that_conda_chose(situation: Situation) -> None:
    cpu_torch(situation)

    report = situation.names("cpu-build-from-conda-solve", beside=["lock-drift"], level="static")

    assert "cpu_generic" in report.findings[0].seen


@covers("cpu-build-from-conda-solve")
def test_a_cpu_build_on_a_gpu_machine_that_nobody_asked_for(situation: Situation) -> None:
    """Without a claim it is a word of warning, and without a GPU nothing."""
    cpu_torch(situation)
    (situation.prefix / "conda-meta" / "envforge-install").unlink()

    found = verify_prefix(situation, situation.prefix)
    assert [(item.check, item.severity) for item in found.findings] == [
        ("cpu-build-from-conda-solve", "warning")
    ]
    situation.no_gpu()
    assert named(verify_prefix(situation, situation.prefix)) == []


@covers("cpu-wheel-from-pip")
def test_a_cpu_wheel_in_place_of_condas_build(situation: Situation) -> None:
    """What `pip install` of another package brings along."""
    text = torch_version_module(TORCH, CUDA, "9.10.2")
    (situation.site / "torch/version.py").write_text(re.sub("cuda = .*", "cuda = None", text))
    shutil.rmtree(situation.site / f"torch-{TORCH}.dist-info")
    situation.add_wheel("torch", f"{TORCH}+cpu", installer="pip", locked=False)

    report = situation.names("cpu-wheel-from-pip", beside=["lock-drift"], level="static")

    assert "in place of conda's pytorch" in report.findings[0].seen


@covers("aarch64-cpu-wheel")
@pytest.mark.parametrize("claim", [True, False])
def test_a_cpu_wheel_on_an_arm_machine(situation: Situation, tmp_path: Path, claim: bool) -> None:
    """The tags of the wheel tell, whatever machine the tests run on."""
    venv = forge_venv(tmp_path / ("p-torch27-cu128" if claim else "env"), python=SERIES)
    add_torch(venv, {"__version__": "2.7.1", "cuda": None}, cuda_library=False, python=SERIES)
    tag = "cp311-cp311-manylinux_2_28_aarch64"
    forge_wheel(venv, "torch", "2.7.1", tags=[tag], python=SERIES)

    report = verify_prefix(situation, venv)

    assert named(report) == ["aarch64-cpu-wheel"]
    assert report.passed is not claim
    situation.no_gpu()
    assert named(verify_prefix(situation, venv)) == (["aarch64-cpu-wheel"] if claim else [])


@covers("cpu-wheel-from-pip", "aarch64-cpu-wheel")
@pytest.mark.parametrize(
    ("version", "machine", "wanted"),
    [
        ("2.3.1+cpu", "x86_64", "cpu-wheel-from-pip"),
        ("2.9.0", "aarch64", "aarch64-cpu-wheel"),
        ("2.9.0", "x86_64", None),
        ("2.9.0+cu126", "x86_64", None),
    ],
)
def test_a_wheel_of_which_the_metadata_alone_is_there(
    situation: Situation, tmp_path: Path, version: str, machine: str, wanted: str | None
) -> None:
    """Its label, its tag and what it asks for tell which build it was."""
    venv = forge_venv(tmp_path / "env", python=SERIES)
    tag = f"cp311-cp311-manylinux_2_28_{machine}"
    asks = ["nvidia-nccl-cu12==2.27.5"] if version == "2.9.0" and machine == "x86_64" else []
    forge_wheel(venv, "torch", version, tags=[tag], requires=asks, python=SERIES)

    assert named(verify_prefix(situation, venv)) == ([wanted] if wanted else [])


@covers("cpu-build-from-conda-solve")
@pytest.mark.parametrize("files", [True, False])
def test_a_cpu_build_by_a_record_without_lists_of_files(situation: Situation, files: bool) -> None:
    """The dist-info that says `conda` is the package's, whichever files it records."""
    cpu_torch(situation)
    (situation.prefix / "conda-meta" / "envforge-install").unlink()
    [record] = (situation.prefix / "conda-meta").glob("pytorch-*.json")
    fields = json.loads(record.read_text())
    names = ("name", "version", "build", "build_number", "depends", "channel", "subdir")
    record.write_text(json.dumps({name: fields[name] for name in names}, separators=(",", ":")))
    if not files:
        for path in situation.site.glob("torch*"):
            shutil.rmtree(path)

    report = verify_prefix(situation, situation.prefix)

    assert named(report) == ["cpu-build-from-conda-solve"]


@covers("rocm-or-xpu-build-on-nvidia")
@pytest.mark.parametrize("field", ["hip", "xpu"])
def test_a_build_for_another_makers_gpus(situation: Situation, tmp_path: Path, field: str) -> None:
    venv = forge_venv(tmp_path / "env", python=SERIES)
    values = {"__version__": "2.7.1", "cuda": None, field: "6.3"}
    add_torch(venv, values, cuda_library=False, python=SERIES)
    forge_wheel(venv, "torch", "2.7.1", python=SERIES)

    assert named(verify_prefix(situation, venv)) == ["rocm-or-xpu-build-on-nvidia"]
    situation.no_gpu()
    assert named(verify_prefix(situation, venv)) == []


@covers("cpu-build-solved-in-ci")
def test_a_lock_that_was_made_without_a_gpu(situation: Situation) -> None:
    """The lock claims CUDA and holds the CPU build; it is wrong before anything is installed."""
    relock(situation, "pytorch", lambda text: text.replace("cuda126_generic", "cpu_generic"))
    shutil.rmtree(situation.prefix)

    report = situation.verify(level="static")

    assert "cpu-build-solved-in-ci" in named(report)


@covers("cpu-build-solved-in-ci")
def test_a_lock_alone_that_was_made_without_a_gpu(situation: Situation) -> None:
    lock = situation.folder / "conda-lock.yml"
    [healthy] = situation.forge().verify(lock=lock, level="static")
    relock(situation, "pytorch", lambda text: text.replace("cuda126_generic", "cpu_generic"))

    [report] = situation.forge().verify(lock=lock, level="static")

    assert named(healthy) == []
    assert named(report)[0] == "cpu-build-solved-in-ci"


# --- against the lock -----------------------------------------------------------------------


@covers("lock-drift")
def test_another_package_than_is_locked(situation: Situation) -> None:
    for fields in (
        {"version": "4.66.0"},
        {"build": "h1_1"},
        {"sha256": "1" * 64},
        {"sha256": "", "md5": "1" * 32},
        {"sha256": "", "md5": "", "url": "https://conda.anaconda.org/other/linux-64/n-1-0.conda"},
    ):
        with restored(situation):
            change_record(situation, "tqdm", **fields)
            report = situation.names("lock-drift", level="static")
            assert report.findings[0].seen != report.findings[0].expected


@covers("lock-drift")
def test_a_missing_and_a_further_package(situation: Situation) -> None:
    [record] = (situation.prefix / "conda-meta").glob("nccl-*.json")
    record.unlink()
    situation.add_wheel("black", "25.1.0", locked=False)

    report = situation.names("lock-drift", level="static")

    assert [item.severity for item in report.findings] == ["error", "warning"]


@covers("lock-drift")
def test_a_wheel_over_a_conda_package(situation: Situation) -> None:
    """`pip install -U tqdm`: pip takes conda's files out, and conda's record stays."""
    shutil.rmtree(situation.site / "tqdm-4.67.1.dist-info")
    situation.add_wheel(
        "tqdm", "4.68.0", installer="pip", locked=False, files={"tqdm/__init__.py": "# new\n"}
    )

    report = situation.names("lock-drift")

    assert "overwritten by a wheel" in report.findings[0].message


@covers("lock-drift")
def test_a_wheel_from_elsewhere(situation: Situation) -> None:
    """The same version, from a folder."""
    folder = situation.add_wheel("einops", "0.8.1", files={"einops/__init__.py": ""})
    situation.is_healthy(level="static")
    (folder / "direct_url.json").write_text(
        json.dumps({"url": "file:///home/ada/einops", "dir_info": {"editable": True}})
    )
    situation.names("lock-drift", level="static")


# --- records --------------------------------------------------------------------------------


def cut_json(situation: Situation) -> None:
    [record] = (situation.prefix / "conda-meta").glob("tqdm-*.json")
    record.write_bytes(record.read_bytes()[:300])


def empty_json(situation: Situation) -> None:
    [record] = (situation.prefix / "conda-meta").glob("tqdm-*.json")
    record.write_bytes(b"")


def two_records(situation: Situation) -> None:
    [record] = (situation.prefix / "conda-meta").glob("tqdm-*.json")
    document = {**json.loads(record.read_text()), "version": "4.67.0"}
    record.with_name("tqdm-4.67.0-h0_0.json").write_text(json.dumps(document, indent=2) + "\n")


def tilde(situation: Situation) -> None:
    (situation.site / "~orch-2.1.dist-info").mkdir()


def no_metadata(situation: Situation) -> None:
    (situation.add_wheel("einops", "0.8.1") / "METADATA").unlink()


def no_record(situation: Situation) -> None:
    (situation.add_wheel("einops", "0.8.1") / "RECORD").unlink()


def empty_record(situation: Situation) -> None:
    (situation.add_wheel("einops", "0.8.1") / "RECORD").write_text("")


def garbage(situation: Situation) -> None:
    (situation.add_wheel("einops", "0.8.1") / "METADATA").write_bytes(bytes(200))


def two_versions(situation: Situation) -> None:
    situation.add_wheel("einops", "0.8.0", locked=False)
    situation.add_wheel("einops", "0.8.1")


def pipe(situation: Situation) -> None:
    os.mkfifo(situation.prefix / "conda-meta" / "odd-1.0-0.json")


BROKEN = (
    cut_json,
    empty_json,
    two_records,
    tilde,
    no_metadata,
    no_record,
    empty_record,
    garbage,
    two_versions,
    pipe,
)


@covers("metadata-broken")
def test_records_that_cannot_be_used(situation: Situation) -> None:
    for break_it in BROKEN:
        with restored(situation):
            break_it(situation)
            situation.names("metadata-broken", level="static")
    situation.is_healthy(level="static")


# --- interrupted ----------------------------------------------------------------------------


@covers("quota-exceeded-partial-install")
def test_what_an_interrupted_conda_left(situation: Situation) -> None:
    deep = f"{SITE}/tqdm/core.py.c~"
    for leftover in ("lib/libz.so.1.c~", ".conda_trash", "bin/x.conda_trash_1", deep):
        situation.add_files({leftover: "x"})
        level = "import" if leftover == deep else "static"
        report = situation.names("quota-exceeded-partial-install", level=level)
        assert leftover in report.findings[0].seen
        (situation.prefix / leftover).unlink()


@covers("quota-exceeded-partial-install")
def test_a_history_that_names_what_has_no_record(situation: Situation) -> None:
    history = situation.prefix / "conda-meta" / "history"
    lines = "==> 2025-03-01 10:00:00 <==\n# cmd: /opt/conda/bin/conda install scipy\n"
    history.write_text(history.read_text() + lines + "+conda-forge/linux-64::scipy-1.15.2-h0_0\n")

    situation.is_healthy(level="static")  # a lock tells better what is missing
    (situation.prefix / "conda-meta" / "envforge-install").unlink()
    report = verify_prefix(situation, situation.prefix)

    assert named(report) == ["quota-exceeded-partial-install"]
    assert "scipy" in report.findings[0].seen
    removed = "==> 2025-03-02 10:00:00 <==\n-conda-forge/linux-64::scipy-1.15.2-h0_0\n"
    history.write_text(history.read_text() + removed)
    assert named(verify_prefix(situation, situation.prefix)) == []


def test_an_install_that_did_not_end(situation: Situation) -> None:
    """What follows from it is not told beside it."""
    marker = situation.prefix / "conda-meta" / "envforge-install"
    marker.write_text(marker.read_text().replace('"complete"', '"incomplete"'))
    [record] = (situation.prefix / "conda-meta").glob("tqdm-*.json")
    record.unlink()
    situation.names("prefix-incomplete")


# --- files ----------------------------------------------------------------------------------


def newer(path: Path) -> None:
    """Written a minute later than everything else."""
    later = path.stat().st_mtime + 60
    os.utime(path, (later, later))


@covers("edited-file-in-prefix")
@pytest.mark.parametrize("path", [f"{SITE}/tqdm/__init__.py", "lib/libnccl.so.2"])
def test_a_byte_more(situation: Situation, path: str) -> None:
    with (situation.prefix / path).open("ab") as stream:
        stream.write(b"\n")
    report = situation.names("edited-file-in-prefix")
    assert path in report.findings[0].seen


@covers("edited-file-in-prefix")
def test_other_content_of_the_same_size(situation: Situation) -> None:
    path = situation.site / "tqdm" / "__init__.py"
    path.write_text(path.read_text().replace("4.67.1", "4.67.2"))
    newer(path)
    situation.names("edited-file-in-prefix")


@covers("edited-file-in-prefix")
def test_an_edit_that_hides_its_time_is_found_by_hashes(situation: Situation) -> None:
    path = situation.site / "tqdm" / "__init__.py"
    before = path.stat()
    path.write_text(path.read_text().replace("4.67.1", "4.67.2"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    situation.is_healthy()
    situation.names("edited-file-in-prefix", hashes=True)


@covers("edited-file-in-prefix")
def test_a_shared_file_that_was_edited(situation: Situation, tmp_path: Path) -> None:
    """Every environment that shares it changes; the finding says so."""
    path = situation.site / "tqdm" / "__init__.py"
    os.link(path, tmp_path / "elsewhere")
    situation.is_healthy()
    with path.open("a") as stream:
        stream.write("x = 1\n")
    report = situation.names("edited-file-in-prefix")
    assert "1 other place shares" in report.findings[0].message


@covers("edited-file-in-prefix")
def test_a_wheels_module_that_was_edited(situation: Situation) -> None:
    situation.add_wheel("einops", "0.8.1", files={"einops/__init__.py": "a = 1\nb = 2\n"})
    situation.is_healthy(hashes=True)
    (situation.site / "einops" / "__init__.py").write_text("a = 1\n")
    situation.names("edited-file-in-prefix")


def test_what_is_no_edit(situation: Situation) -> None:
    """Compiled modules, settings, regenerated caches, spared documents, rewritten prefixes."""
    files = {
        f"{SITE}/tqdm/a.py": "a = 1\n",
        f"{SITE}/tqdm/__pycache__/a.cpython-310.pyc": "old",
        "etc/jupyter/config.json": "{}",
        "share/icons/hicolor/icon-theme.cache": "old",
        "share/man/man1/x.1": "text",
        "lib/libx.a": "archive",
        "lib/gdk/loaders.cache": "old",
        "lib/libold.so.1": "one",
    }
    situation.add_package("things", "1.0", files=files)
    situation.add_package("later", "1.0", files={"lib/libold.so.1": "one"})
    for path in ("etc/jupyter/config.json", "share/icons/hicolor/icon-theme.cache"):
        (situation.prefix / path).write_text("something longer")
        newer(situation.prefix / path)
    (situation.prefix / f"{SITE}/tqdm/__pycache__/a.cpython-310.pyc").write_text("compiled anew")
    for path in ("share/man/man1/x.1", "lib/libx.a"):
        (situation.prefix / path).unlink()
    newer(situation.prefix / f"{SITE}/tqdm/a.py")
    situation.is_healthy(hashes=True)


def test_two_packages_of_which_the_later_wins(situation: Situation) -> None:
    """conda warns of it and goes on: the file is as one of the two recorded it."""
    situation.add_package("one", "1.0", files={f"{SITE}/tests/__init__.py": "one\n"})
    situation.add_package("two", "1.0", files={f"{SITE}/tests/__init__.py": "# two\n"})
    situation.add_wheel("three", "1.0", files={"google/__init__.py": ""})
    situation.add_wheel("four", "1.0", files={"google/__init__.py": ""})
    newer(situation.site / "tests/__init__.py")
    situation.is_healthy(hashes=True)


@covers("truncated-library")
@pytest.mark.parametrize("keep", [0, 5000])
def test_a_truncated_library(situation: Situation, keep: int) -> None:
    path = situation.prefix / "lib" / "libnccl.so.2"
    os.truncate(path, keep)
    for level in ("static", "import"):
        report = situation.verify(level=level)
        assert named(report)[0] == "truncated-library"
    assert "edited-file-in-prefix" not in named(report)


@covers("library-gone")
@pytest.mark.parametrize("level", ["static", "import"])
def test_a_library_that_is_gone(situation: Situation, level: str) -> None:
    """One that nothing needs at once; of one that is needed, the check of its kind tells."""
    library = situation.build_library("lib/libcurand.so.10", "int curand;")
    situation.add_package("libcurand", "10.3.7.77", files={"lib/libcurand.so.10": library})
    library.unlink()

    report = situation.names("library-gone", level=level)

    assert "1 shared object missing" in report.findings[0].message


@covers("library-gone")
@pytest.mark.parametrize("level", ["static", "import"])
def test_a_needed_library_that_is_gone(situation: Situation, level: str) -> None:
    """The record still lists it: what it is for is told, and not only that a file is gone."""
    (situation.prefix / "lib" / "libnvrtc-builtins.so.12.6").unlink()

    situation.names("nvrtc-builtins-missing", level=level)


@covers("files-unlike-recorded")
def test_files_that_are_gone(situation: Situation) -> None:
    situation.add_package("things", "1.0", files={"lib/things.conf": "x", "bin/thing": "x" * 90})
    (situation.prefix / "lib/things.conf").unlink()
    os.truncate(situation.prefix / "bin/thing", 10)
    report = situation.names("files-unlike-recorded")
    assert "2 files of things 1.0 missing or cut off" in report.findings[0].message


@covers("torch-missing")
def test_a_pipe_in_place_of_torchs_version(situation: Situation) -> None:
    """Nobody waits for what never comes."""
    (situation.site / "torch" / "version.py").unlink()
    os.mkfifo(situation.site / "torch" / "version.py")

    assert "torch-missing" in named(situation.verify(level="static"))


# --- the cache ------------------------------------------------------------------------------


def cached(situation: Situation, folder: Path) -> Path:
    """tqdm, unpacked in a package cache."""
    unpacked = folder / "tqdm-4.67.1-h0_0"
    (unpacked / "info").mkdir(parents=True)
    (unpacked / "site-packages/tqdm").mkdir(parents=True)
    source = (situation.site / "tqdm/__init__.py").read_bytes()
    (unpacked / "site-packages/tqdm/__init__.py").write_bytes(source)
    entry = {
        "_path": "site-packages/tqdm/__init__.py",
        "path_type": "hardlink",
        "size_in_bytes": len(source),
    }
    (unpacked / "info/index.json").write_text('{"name": "tqdm"}')
    (unpacked / "info/paths.json").write_text(json.dumps({"paths": [entry], "paths_version": 1}))
    return unpacked


def the_build(situation: Situation) -> str:
    [record] = (situation.prefix / "conda-meta").glob("tqdm-*.json")
    return str(json.loads(record.read_text())["build"])


def cut_file(unpacked: Path) -> None:
    os.truncate(unpacked / "site-packages/tqdm/__init__.py", 3)


def lost_file(unpacked: Path) -> None:
    (unpacked / "site-packages/tqdm/__init__.py").unlink()


def cut_manifest(unpacked: Path) -> None:
    os.truncate(unpacked / "info/paths.json", 20)


def no_manifest(unpacked: Path) -> None:
    shutil.rmtree(unpacked / "info")


@covers("package-cache-corrupt")
@pytest.mark.parametrize("where", ["settings", "record"])
def test_a_damaged_package_in_the_cache(situation: Situation, tmp_path: Path, where: str) -> None:
    """In the cache that installs use, or in the one that the record says it came from."""
    cache = situation.forge()._workplace.settings.package_cache
    folder = cache if where == "settings" else tmp_path / "pkgs"
    assert the_build(situation) == "h0_0"
    for break_it in (None, cut_file, lost_file, cut_manifest, no_manifest):
        shutil.rmtree(folder / "tqdm-4.67.1-h0_0", ignore_errors=True)
        unpacked = cached(situation, folder)
        if break_it is None:
            if where == "record":
                change_record(situation, "tqdm", extracted_package_dir=str(unpacked))
            situation.is_healthy()
            continue
        break_it(unpacked)
        report = situation.names("package-cache-corrupt")
        assert str(unpacked) in report.findings[0].remedy


@covers("package-cache-corrupt")
def test_an_edit_that_the_cache_shares_is_told_once(situation: Situation, tmp_path: Path) -> None:
    unpacked = cached(situation, tmp_path / "pkgs")
    shared = unpacked / "site-packages/tqdm/__init__.py"
    shared.unlink()
    os.link(situation.site / "tqdm/__init__.py", shared)
    change_record(situation, "tqdm", extracted_package_dir=str(unpacked))
    with shared.open("a") as stream:
        stream.write("x = 1\n")
    report = situation.names("edited-file-in-prefix")
    assert f"rm -r {unpacked}" in report.findings[0].remedy


# --- moved ----------------------------------------------------------------------------------


@covers("moved-env-broken-shebang")
def test_an_environment_that_was_renamed(situation: Situation) -> None:
    add_script(situation.prefix, "torchrun")
    situation.is_healthy()
    add_script(situation.prefix, "torchrun", situation.base / "old")
    add_script(situation.prefix, "pip", situation.base / "old")
    report = situation.names("moved-env-broken-shebang")
    assert f"mv -T {situation.prefix} {situation.base}/old" in report.findings[0].remedy


@covers("moved-env-broken-shebang")
def test_an_environment_that_was_copied(situation: Situation, tmp_path: Path) -> None:
    """The old one is still there, and its Python is what runs."""
    venv = forge_venv(tmp_path / "env", python=SERIES)
    assert named(verify_prefix(situation, venv)) == []
    copy = tmp_path / "copy"
    shutil.copytree(venv, copy, symlinks=True)

    report = verify_prefix(situation, copy)

    assert named(report) == ["moved-env-broken-shebang"]
    assert "the Python of another one" in report.findings[0].message


@covers("moved-env-broken-shebang")
def test_a_place_that_is_only_spelled_otherwise(situation: Situation, tmp_path: Path) -> None:
    venv = forge_venv(tmp_path / "env", python=SERIES)
    (tmp_path / "link").symlink_to(venv)
    assert named(verify_prefix(situation, tmp_path / "link")) == []


FIRST_LINES = (
    ("#!/bin/sh\n'''exec' \"{old}/bin/python\" \"$0\" \"$@\"\n' '''\n", False),
    ("#!/bin/sh\n'''exec' \"{prefix}/bin/python\" \"$0\" \"$@\"\n' '''\n", True),
    ("#!/bin/sh\n'''exec' \"$(dirname \"$0\")\"/'python' \"$0\" \"$@\"\n' '''\n", True),
    ("#!{old}/bin/python3.10 -s\n", False),
    ("#!{prefix}/bin/python9.9\n", False),
    ("#!{old}/bin/perl\n", True),
    ("#!/usr/bin/env python\n", True),
    ("#!/usr/bin/python3\n", True),
    ("#!/home/conda/feedstock_root/build/_h_env_placehold/bin/python\n", True),
    ("#! /bin/bash\n", True),
    ("#!\n", True),
    ("\x7fELF", True),
)


@covers("moved-env-broken-shebang")
def test_first_lines(situation: Situation) -> None:
    script = add_script(situation.prefix, "tool")
    for line, healthy in FIRST_LINES:
        script.write_text(line.format(old="/nowhere/old", prefix=situation.prefix))
        report = situation.verify(level="static")
        assert named(report) == ([] if healthy else ["moved-env-broken-shebang"]), line


@covers("moved-env-broken-shebang")
@pytest.mark.parametrize(("length", "severity"), [(150, "warning"), (300, "error")])
def test_a_first_line_that_is_cut(situation: Situation, length: int, severity: str) -> None:
    add_script(situation.prefix, "tool", "/" + "x" * length)
    report = situation.names("moved-env-broken-shebang", level="static")
    assert report.findings[0].severity == severity


# --- owners and channels --------------------------------------------------------------------


@covers("nvidia-wheels-two-majors")
def test_wheels_for_two_cuda_majors(situation: Situation) -> None:
    library = "nvidia/cudnn/lib/libcudnn.so.9"
    situation.add_wheel("nvidia-cudnn-cu12", "9.10.2.21", files={library: "twelve"})
    situation.is_healthy()
    situation.add_wheel("nvidia-cudnn-cu13", "9.13.0.50", files={library: "thirteen"})

    report = situation.verify()

    assert named(report)[0] == "nvidia-wheels-two-majors"
    assert library in report.findings[0].seen
    assert "library-of-two-packages" not in named(report)


def test_wheels_for_two_cuda_majors_that_keep_apart(situation: Situation) -> None:
    """CUDA 13's wheels have a folder of their own."""
    situation.add_wheel(
        "nvidia-cublas-cu12", "12.6.4.1", files={"nvidia/cublas/lib/libcublas.so.12": "a"}
    )
    situation.add_wheel(
        "nvidia-cublas", "13.0.0.19", files={"nvidia/cu13/lib/libcublas.so.13": "b"}
    )
    assert "nvidia-wheels-two-majors" not in named(situation.verify())


@covers("library-of-two-packages")
def test_a_library_that_two_packages_bring(situation: Situation) -> None:
    situation.add_wheel("opencv-python", "4.11", files={"cv2/cv2.abi3.so": "one"})
    situation.is_healthy()
    situation.add_wheel("opencv-python-headless", "4.12", files={"cv2/cv2.abi3.so": "two"})
    report = situation.names("library-of-two-packages")
    assert report.passed


@covers("channel-mix")
@pytest.mark.parametrize("where", ["url", "channel"])
def test_libraries_of_two_families_of_channels(situation: Situation, where: str) -> None:
    situation.add_package("openssl", "3.5.0")
    situation.add_package("libstdcxx-ng", "15.1.0")
    situation.is_healthy(level="static")
    place = "https://repo.anaconda.com/pkgs/main/linux-64"
    fields = {"url": f"{place}/mkl-2023.1.0-h0_0.conda", "channel": place}
    if where == "channel":
        fields = {"url": "", "channel": "defaults"}
    situation.add_package("mkl", "2023.1.0", **fields)

    report = situation.names("channel-mix", level="static")

    assert report.findings[0].severity == "warning"


def test_noarch_packages_of_any_channel_are_no_mix(situation: Situation) -> None:
    place = "https://repo.anaconda.com/pkgs/main"
    situation.add_package(
        "click", "8.2", url=f"{place}/noarch/click-8.2-h0_0.conda", channel=place, subdir="noarch"
    )
    situation.add_package("openssl", "3.5.0")
    situation.is_healthy(level="static")


# --- the interpreter ------------------------------------------------------------------------


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere/python3.9")


def not_executable(path: Path) -> None:
    path.chmod(0o644)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def for_arm(path: Path) -> None:
    path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00" + bytes(44))


def for_windows(path: Path) -> None:
    path.write_bytes(b"MZ\x90\x00" + bytes(60))


def for_macos(path: Path) -> None:
    path.write_bytes(b"\xcf\xfa\xed\xfe" + bytes(60))


def test_a_python_that_cannot_be_started(situation: Situation, tmp_path: Path) -> None:
    breaks = [dangling, not_executable, empty, for_windows, for_macos, Path.unlink]
    if os.uname().machine != "aarch64":
        breaks.append(for_arm)
    for number, break_it in enumerate(breaks):
        venv = forge_venv(tmp_path / f"env{number}", python=SERIES)
        assert named(verify_prefix(situation, venv)) == []
        break_it(venv / "bin" / "python")
        assert named(verify_prefix(situation, venv)) == ["python-missing"]


# --- other kinds of prefixes ----------------------------------------------------------------


def test_a_conda_environment_in_which_pip_worked(situation: Situation) -> None:
    """Packages beside conda's, an editable install, a `.pth`, odd and missing metadata."""
    situation.add_wheel("Odd.Name", "1.0", installer="pip", files={"odd/__init__.py": ""})
    (situation.site / "Odd.Name-1.0.dist-info" / "INSTALLER").unlink()
    record = situation.site / "Odd.Name-1.0.dist-info" / "RECORD"
    record.write_text("odd/__init__.py,,\nodd/__pycache__/__init__.cpython-310.pyc,,\n")
    (situation.prefix / "conda-meta" / "envforge-install").unlink()
    editable = situation.add_wheel("mine", "0.1.dev0", locked=False, installer="pip")
    source = situation.base / "mine"
    source.mkdir()
    (situation.site / "__editable__.mine.pth").write_text(f"{source}\n")
    direct = {"url": f"file://{source}", "dir_info": {"editable": True}}
    (editable / "direct_url.json").write_text(json.dumps(direct))
    report = verify_prefix(situation, situation.prefix, level="import")
    assert named(report) == []


def test_a_directory_that_is_no_environment(situation: Situation, tmp_path: Path) -> None:
    from envforge.errors import EnvforgeError

    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name in ("empty", "file", "absent"):
        with pytest.raises(EnvforgeError) as raised:
            verify_prefix(situation, tmp_path / name)
        assert name in str(raised.value)


# --- a published environment ----------------------------------------------------------------


@pytest.fixture
def published(situation: Situation) -> Iterator[Situation]:
    """The situation's environment, frozen for everybody."""
    prefix = situation.prefix
    library = prefix / "lib" / f"python{SERIES}"
    (library / "os.py").touch()
    record = read_record(prefix)
    assert record is not None
    write_marker(prefix, replace(record, published=True))
    freezing.freeze(prefix, "ask ada")
    yield situation
    freezing.thaw(prefix)


@covers("published-unprotected")
def test_a_published_environment_that_conda_would_change(published: Situation) -> None:
    published.is_healthy()
    meta = published.prefix / "conda-meta"
    meta.chmod(0o755)
    (meta / "frozen").unlink()
    meta.chmod(0o555)
    assert "no conda-meta/frozen" in published.names("published-unprotected").findings[0].seen


@covers("published-unprotected")
def test_a_published_environment_that_pip_would_change(published: Situation) -> None:
    [library] = freezing.standard_libraries(published.prefix)
    library.chmod(0o755)
    (library / freezing.MANAGED).unlink()
    library.chmod(0o555)
    assert "no EXTERNALLY-MANAGED" in published.names("published-unprotected").findings[0].seen


@covers("published-unprotected")
@pytest.mark.parametrize("mode", [0o755, 0o575, 0o557])
def test_a_published_environment_with_a_folder_to_write(published: Situation, mode: int) -> None:
    (published.prefix / "lib").chmod(mode)
    assert "may write lib" in published.names("published-unprotected").findings[0].seen


@covers("published-unprotected")
def test_a_folder_far_down_is_found_where_every_file_is_looked_at(published: Situation) -> None:
    (published.site / "tqdm").chmod(0o777)
    published.is_healthy(level="static")
    published.names("published-unprotected")


@covers("published-unprotected")
def test_compiled_modules_that_anybody_may_replace(published: Situation) -> None:
    """Python runs what it finds there, whatever the source says, if the times agree."""
    cache = published.site / "tqdm"
    cache.chmod(0o755)
    (cache / "__pycache__").mkdir()
    cache.chmod(0o555)
    published.is_healthy()
    (cache / "__pycache__").chmod(0o777)
    published.names("published-unprotected")
