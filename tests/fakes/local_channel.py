"""Three small conda channels of real packages, made once a test run and shared by its workers.

    def test_it(local_channel):              # pytest finds the fixtures by `pytest_plugins`
        local_channel.root                   # conda-forge/, pytorch/, nvidia/: fit for `--mirror`
        local_channel.locked("greeter", "pip")   # LockedPackage records, dependencies not added
    def test_that(channel_server):           # the same over loopback HTTP, with faults

The Python in it is the running interpreter, repacked: it starts and imports.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import platform as host_platform
import shutil
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fakes.channel_server import ChannelServer, Fault, serve
from fakes.conda_package import PLACEHOLDER, Entry, make_package, md5, sha256

from envforge.model.lock import LockedPackage

__all__ = [
    "PLACEHOLDER",
    "ChannelServer",
    "Entry",
    "Fault",
    "LocalChannel",
    "channel_server",
    "index_channel",
    "local_channel",
    "locked_package",
    "make_package",
    "serve",
]

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHON_FULL = ".".join(map(str, sys.version_info[:3]))
CANONICAL = "https://conda.anaconda.org"
_SUBDIR = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}.get(
    host_platform.machine(), "linux-64"
)
_BARE_STDLIB = (
    "test",
    "idlelib",
    "turtledemo",
    "tkinter",
    "lib2to3",
    "pydoc_data",
    "ensurepip",
    "site-packages",
    "dist-packages",
    "__pycache__",
    "config-*",
    "*.a",
    "*.pyc",
    "_test*",
    "_ctypes_test*",
    "_tkinter*",
)


@dataclass(frozen=True)
class LocalChannel:
    """The channels, and what lies in them."""

    root: Path
    subdir: str = _SUBDIR
    python: str = PYTHON
    python_full: str = PYTHON_FULL
    torch: str = "2.0.1" if sys.version_info < (3, 12) else "2.5.1"
    cuda: str = "11.8" if sys.version_info < (3, 12) else "12.1"
    cudnn: str = "8.7.0" if sys.version_info < (3, 12) else "9.1.0"

    @property
    def cuda_build(self) -> str:
        """`py3.11_cuda11.8_cudnn8.7.0_0`."""
        return f"py{self.python}_cuda{self.cuda}_cudnn{self.cudnn}_0"

    @property
    def cpu_build(self) -> str:
        return f"py{self.python}_cpu_0"

    def archive(self, name: str, which: str | None = None) -> Path:
        """The only archive of a package, or the one of this version or build."""
        found = [
            path
            for path in self.root.rglob("*.conda")
            if path.stem.rsplit("-", 2)[0] == name
            and (which is None or which in path.stem.rsplit("-", 2))
        ]
        [path] = found
        return path

    def locked(
        self, *names: str | tuple[str, str], base: str = CANONICAL
    ) -> tuple[LockedPackage, ...]:
        """These packages (`name`, or name and version or build), pinned.

        `base` is the address that the channels' root lies at.
        """
        return tuple(
            sorted(
                locked_package(
                    self.archive(*((name,) if isinstance(name, str) else name)),
                    root=self.root,
                    base=base,
                    platform=self.subdir,
                )
                for name in names
            )
        )


def locked_package(
    archive: Path, *, root: Path, base: str = CANONICAL, platform: str = _SUBDIR
) -> LockedPackage:
    """What a lock says of an archive below `root`."""
    name, version, build = archive.stem.rsplit("-", 2)
    index = _index_json(archive)
    return LockedPackage(
        platform=platform,
        name=name,
        version=version,
        build=build,
        url=f"{base}/{archive.relative_to(root).as_posix()}",
        sha256=sha256(archive),
        md5=md5(archive),
        depends=tuple(index["depends"]),
        size=archive.stat().st_size,
    )


def without_details(packages: tuple[LockedPackage, ...]) -> tuple[LockedPackage, ...]:
    """As another tool's lock has them: no size, no build strings in dependencies."""
    return tuple(
        replace(item, size=None, depends=tuple(" ".join(d.split()[:2]) for d in item.depends))
        for item in packages
    )


def index_channel(folder: Path) -> None:
    """Write repodata.json (and its zst and shards) as rattler-index does."""
    from rattler.index import index_fs

    (folder / "noarch").mkdir(exist_ok=True, parents=True)
    asyncio.run(index_fs(folder))


@pytest.fixture(scope="session")
def local_channel(tmp_path_factory: pytest.TempPathFactory) -> LocalChannel:
    """The channels, built once for all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = shared / "local-channel"
    with (shared / "local-channel.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            aside = folder.with_suffix(".making")
            shutil.rmtree(aside, ignore_errors=True)
            _build(LocalChannel(root=aside))
            aside.rename(folder)
    return LocalChannel(root=folder)


@pytest.fixture
def channel_server(local_channel: LocalChannel) -> Iterator[ChannelServer]:
    """The channels over loopback HTTP."""
    with serve(local_channel.root) as server:
        yield server


def _build(channel: LocalChannel) -> None:
    forge = channel.root / "conda-forge"
    _python(forge, channel)
    _pip(forge, channel)
    _small_ones(forge, channel)
    _torch(channel)
    for name in ("conda-forge", "pytorch", "nvidia"):
        index_channel(channel.root / name)


def _python(folder: Path, channel: LocalChannel) -> None:
    """The running interpreter with its standard library, and without what tests never import."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    base = f"lib/python{channel.python}"
    files: dict[str, Entry] = {}
    for path in _files(stdlib):
        files[f"{base}/{path.relative_to(stdlib)}"] = _copied(path)
    executable = Path(os.path.realpath(sys.executable))
    files[f"bin/python{channel.python}"] = Entry(data=executable.read_bytes(), executable=True)
    for alias in ("bin/python", "bin/python3"):
        files[alias] = Entry(link=f"python{channel.python}")
    library = sysconfig.get_config_var("INSTSONAME")
    shared = Path(sysconfig.get_config_var("LIBDIR") or "/nowhere") / str(library)
    if sysconfig.get_config_var("Py_ENABLE_SHARED") and shared.is_file():
        files[f"lib/{library}"] = _copied(shared)
    files[f"{base}/site-packages/README.txt"] = Entry(data=b"packages go here\n")
    make_package(
        folder,
        "python",
        channel.python_full,
        "h0_0_cpython",
        files=files,
        subdir=channel.subdir,
        constrains=[f"python_abi {channel.python}.*"],
        license_="PSF-2.0",
        extra_index={"python_site_packages_path": f"{base}/site-packages"},
    )


def _files(stdlib: Path) -> Iterator[Path]:
    ignore = shutil.ignore_patterns(*_BARE_STDLIB)
    for where, folders, names in os.walk(stdlib):
        left_out = ignore(where, [*folders, *names])
        folders[:] = sorted(name for name in folders if name not in left_out)
        for name in sorted(set(names) - set(left_out)):
            path = Path(where, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _copied(path: Path) -> Entry:
    return Entry(data=path.read_bytes(), executable=os.access(path, os.X_OK))


def _pip(folder: Path, channel: LocalChannel) -> None:
    """Pip as the interpreter's own ensurepip carries it."""
    import ensurepip

    bundled = Path(ensurepip.__file__).parent / "_bundled"
    [wheel] = sorted(bundled.glob("pip-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        files = {f"site-packages/{name}": archive.read(name) for name in archive.namelist()}
    make_package(
        folder,
        "pip",
        wheel.name.split("-")[1],
        "pyh0_0",
        files=files,
        noarch="python",
        depends=["python >=3.8"],
        entry_points=["pip = pip._internal.cli.main:main"],
    )


def _dist_info(name: str, version: str, requires: tuple[str, ...] = ()) -> dict[str, str]:
    folder = f"site-packages/{name.replace('-', '_')}-{version}.dist-info"
    lines = "".join(f"Requires-Dist: {item}\n" for item in requires)
    return {
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}",
        f"{folder}/INSTALLER": "conda\n",
        f"{folder}/RECORD": "",
    }


def _small_ones(folder: Path, channel: LocalChannel) -> None:
    make_package(
        folder,
        "greeter",
        "1.2",
        "pyh0_0",
        files={
            "site-packages/greeter/__init__.py": "def main():\n    print('hello')\n",
            **_dist_info("greeter", "1.2"),
        },
        noarch="python",
        entry_points=["greet = greeter:main"],
        depends=["python >=3.8"],
        constrains=["loud-greeter <1"],
    )
    make_package(
        folder,
        "greeter",
        "1.3",
        "pyh0_0",
        files={
            "site-packages/greeter/__init__.py": "def main():\n    print('hello again')\n",
            **_dist_info("greeter", "1.3"),
        },
        noarch="python",
        entry_points=["greet = greeter:main"],
        depends=["python >=3.8"],
    )
    make_package(
        folder,
        "scripted",
        files={
            "share/scripted/data": "data\n",
            "bin/.scripted-post-link.sh": Entry(
                data=b'#!/bin/sh\necho ran > "$PREFIX/share/scripted/ran"\n', executable=True
            ),
        },
        subdir=channel.subdir,
    )
    make_package(
        folder,
        "failing",
        files={
            "bin/.failing-post-link.sh": Entry(data=b"#!/bin/sh\nexit 3\n", executable=True),
        },
        subdir=channel.subdir,
    )
    make_package(
        folder,
        "placeheld",
        files={
            "bin/placeheld": Entry(
                data=f"#!/bin/sh\necho {PLACEHOLDER}/share/placeheld\n".encode(),
                executable=True,
                placeholder="text",
            ),
            "lib/placeheld.bin": Entry(
                data=b"\x7fBIN\0" + PLACEHOLDER.encode() + b"/lib\0after\0", placeholder="binary"
            ),
            "share/placeheld/plain.txt": "plain\n",
            "share/placeheld/link.txt": Entry(link="plain.txt"),
            "etc/conda/activate.d/placeheld.sh": "export PLACEHELD_ACTIVE=1\n",
            "etc/conda/deactivate.d/placeheld.sh": "unset PLACEHELD_ACTIVE\n",
            "etc/conda/env_vars.d/placeheld.json": json.dumps({"PLACEHELD_HOME": "share"}),
        },
        subdir=channel.subdir,
        track_features="placeheld",
    )


def _torch(channel: LocalChannel) -> None:
    """A CUDA-labelled stand-in beside a CPU one, shaped as the pytorch channel's builds are."""
    pytorch, nvidia = channel.root / "pytorch", channel.root / "nvidia"
    following = f"{channel.python.split('.')[0]}.{int(channel.python.split('.')[1]) + 1}"
    python = f"python >={channel.python},<{following}.0a0"
    for cuda in (channel.cuda, None):
        label = "cuda" if cuda else "cpu"
        make_package(
            pytorch,
            "pytorch",
            channel.torch,
            channel.cuda_build if cuda else channel.cpu_build,
            files=_torch_files(channel, cuda),
            depends=[
                python,
                *([f"pytorch-cuda {cuda}.*"] if cuda else []),
                f"pytorch-mutex 1.0 {label}",
            ],
            constrains=["cpuonly <0" if cuda else "pytorch-cuda <0"],
            subdir=channel.subdir,
        )
        make_package(pytorch, "pytorch-mutex", "1.0", label, noarch="generic")
    make_package(
        pytorch,
        "cpuonly",
        "2.0",
        "0",
        depends=["pytorch-mutex 1.0 cpu"],
        noarch="generic",
        track_features="cpuonly",
    )
    make_package(
        pytorch,
        "pytorch-cuda",
        channel.cuda,
        "h7e8668a_5",
        depends=[f"cuda-cudart {channel.cuda}.*"],
        subdir=channel.subdir,
    )
    make_package(
        nvidia,
        "cuda-cudart",
        f"{channel.cuda}.89",
        "0",
        files={"lib/libcudart.so.stand-in": b"\x7fELF stand-in\n"},
        subdir=channel.subdir,
    )


def _torch_files(channel: LocalChannel, cuda: str | None) -> dict[str, Entry | bytes | str]:
    site = f"lib/python{channel.python}/site-packages"
    cudnn = _cudnn_number(channel.cudnn) if cuda else None
    files: dict[str, Entry | bytes | str] = {
        f"{site}/torch/__init__.py": (
            "from . import version\n"
            "from .version import __version__\n"
            "from . import backends, cuda\n"
        ),
        f"{site}/torch/version.py": (
            f"__version__ = {channel.torch!r}\ndebug = False\ncuda = {cuda!r}\n"
            "git_version = 'e9ebda29d87ce0916ab08c06ab26fd3766a870e5'\nhip = None\n"
        ),
        f"{site}/torch/cuda/__init__.py": (
            "def is_available():\n    return False\n\n\ndef device_count():\n    return 0\n"
        ),
        f"{site}/torch/backends/__init__.py": "from . import cudnn\n",
        f"{site}/torch/backends/cudnn/__init__.py": (f"def version():\n    return {cudnn!r}\n"),
        f"{site}/torch/lib/libtorch_cpu.so": _some_elf(),
    }
    if cuda:
        files[f"{site}/torch/lib/libtorch_cuda.so"] = _some_elf()
    for path, text in _dist_info("torch", channel.torch).items():
        files[path.replace("site-packages", site)] = text
    return files


def _cudnn_number(version: str) -> int:
    """As cuDNN says it of itself: 8700 for 8.7.0, and 90100 for 9.1.0."""
    major, minor, patch = map(int, version.split("."))
    return major * (1000 if major < 9 else 10000) + minor * 100 + patch


def _some_elf() -> bytes:
    """The smallest shared library of the interpreter: a real ELF file."""
    folder = Path(sysconfig.get_path("stdlib")) / "lib-dynload"
    found = sorted(folder.glob("*.so"), key=lambda path: (path.stat().st_size, path.name))
    return found[0].read_bytes() if found else b"\x7fELF stand-in\n"


def _index_json(archive: Path) -> dict[str, list[str]]:
    import io
    import tarfile

    import zstandard

    with zipfile.ZipFile(archive) as opened:
        member = next(name for name in opened.namelist() if name.startswith("info-"))
        raw = zstandard.ZstdDecompressor().decompressobj().decompress(opened.read(member))
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        stream = tar.extractfile("info/index.json")
        assert stream is not None
        return json.load(stream)
