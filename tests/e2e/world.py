"""The world that the end-to-end tests run in: channels to create from, and `envforge` to call.

The channels hold what `fakes.local_channel` holds, with three differences: the interpreter finds
its own library (so that an environment stands alone, as conda's do), torch answers everything
that `verify` asks, and conda-forge has builds of it too.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard
from fakes.conda_package import Entry, make_package
from fakes.local_channel import LocalChannel, index_channel

from envforge.adapters.linking.elf import is_elf, read_dynamic, with_runpath

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_LEFT_OUT = ("ENVFORGE_", "CONDA_", "MAMBA_", "HF_", "RATTLER_", "PIP_", "UV_", "STUB_")
FRAGILE = ("wrong-bytes", "html", "truncated", "404")
"""What befalls a package `fragile-…` on its way, in the tests of faults."""
STAND_IN = Path(__file__).with_name("torch_stand_in.py")
_ARCHITECTURES = "sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90 compute_90"


@dataclass(frozen=True)
class Torch:
    """A build of torch that the channels hold."""

    source: str
    version: str
    cuda: str | None
    cudnn: str | None = None

    @property
    def label(self) -> str:
        return f"cu{self.cuda.replace('.', '')}" if self.cuda else "cpu"

    def name(self, project: str) -> str:
        """The environment's."""
        major, minor = self.version.split(".")[:2]
        return f"{project}-torch{major}{minor}-{self.label}"

    @property
    def options(self) -> tuple[str, ...]:
        """What asks for exactly this build."""
        return (
            *("--torch", self.version, "--cuda", self.cuda or "cpu"),
            *("--source", self.source, "--python", PYTHON),
        )


@dataclass(frozen=True)
class World:
    """Channels below one folder, fit for `--mirror`."""

    root: Path
    pytorch_cuda: Torch
    pytorch_cpu: Torch
    forge_cuda: Torch

    def build(self, which: str) -> Torch:
        found: Torch = getattr(self, which)
        return found


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Place:
    """Where a person sits: a working folder, a home, and variables."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @classmethod
    def beside(cls, folder: Path, world: World, shared: Path) -> Place:
        """The package cache is everybody's, the mirror the folder of channels."""
        return cls(
            folder,
            {
                "ENVFORGE_MIRROR": str(world.root),
                "ENVFORGE_PACKAGE_CACHE": str(shared / "pkgs"),
                "ENVFORGE_CACHE": str(shared / "cache"),
            },
        )

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def envs(self) -> Path:
        return self.folder / "envs"

    @property
    def prefixes(self) -> Path:
        return self.folder / "prefixes"

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The variables of a child."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_LEFT_OUT) and name != "LD_LIBRARY_PATH"
        }
        self.home.mkdir(exist_ok=True)
        ours = {
            "HOME": str(self.home),
            "ENVFORGE_PREFIXES": str(self.prefixes),
            "NO_PROXY": "127.0.0.1",
            **self.variables,
        }
        return {**kept, **ours, **(extra or {})}

    def start(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
        **how: Any,
    ) -> subprocess.Popen[str]:
        """Begin a command, in a process group of its own; `wrapper` goes before it."""
        options: dict[str, Any] = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "cwd": self.folder,
            "start_new_session": True,
            **how,
        }
        return subprocess.Popen(
            [*wrapper, sys.executable, "-m", "envforge", *map(str, arguments)],
            env=self.environment(env),
            **options,
        )

    def run(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        **how: Any,
    ) -> Done:
        """Run a command to its end, whatever that is."""
        with self.start(*arguments, env=env, stdin=subprocess.PIPE, **how) as process:
            out, err = process.communicate(stdin or "", timeout=120)
        return Done(process.returncode, out, err)

    def good(self, *arguments: str | Path, **how: Any) -> Done:
        """Run a command that must succeed."""
        done = self.run(*arguments, **how)
        assert done.status == 0, f"{arguments}: {done.status}\n{done.out}\n{done.err}"
        return done

    def created(self, torch: Torch, project: str, *more: str) -> str:
        """Create an environment, and say its name."""
        self.good("create", project, *torch.options, *more)
        return torch.name(project)

    def tree(self) -> dict[str, bytes | str]:
        """Every file below the working folder, with its content."""
        return {
            str(path.relative_to(self.folder)): (
                str(path.readlink()) if path.is_symlink() else path.read_bytes()
            )
            for path in self.folder.rglob("*")
            if path.is_symlink() or path.is_file()
        }


def build_world(root: Path, local: LocalChannel) -> World:
    """Make the channels below `root`; see `describe` for what they hold."""
    for name in ("conda-forge", "pytorch", "nvidia"):
        shutil.copytree(local.root / name, root / name, copy_function=os.link)
        for index in [*(root / name).rglob("repodata*"), *(root / name).glob("shards")]:
            shutil.rmtree(index) if index.is_dir() else index.unlink()
    forge = root / "conda-forge"
    _stand_alone(local.archive("python"), forge / local.subdir)
    for old in (root / "pytorch").rglob("pytorch-2*.conda"):
        old.unlink()
    world = describe(root, local)
    for torch in (world.pytorch_cuda, world.pytorch_cpu):
        _pytorch_build(root / "pytorch", local, torch)
    _forge_build(forge, local, world.forge_cuda)
    for fault in FRAGILE:
        make_package(forge, f"fragile-{fault}", files={"share/f": "x" * 999}, noarch="generic")
    for name in ("conda-forge", "pytorch", "nvidia"):
        index_channel(root / name)
    return world


def describe(root: Path, local: LocalChannel) -> World:
    """What the channels hold."""
    return World(
        root=root,
        pytorch_cuda=Torch("pytorch", local.torch, local.cuda, local.cudnn),
        pytorch_cpu=Torch("pytorch", local.torch, None),
        forge_cuda=Torch("conda-forge", "2.7.1", "12.6", "9.10.1"),
    )


def _stand_alone(archive: Path, folder: Path) -> None:
    """Repack an interpreter so that it finds its library below its own prefix."""
    name, version, build = archive.stem.rsplit("-", 2)
    files = {path: _relocated(path, entry) for path, entry in _unpacked(archive).items()}
    (folder / archive.name).unlink()  # a hardlink: the other channel keeps its bytes
    make_package(
        folder.parent,
        name,
        version,
        build,
        files=files,
        subdir=folder.name,
        constrains=[f"python_abi {PYTHON}.*"],
        license_="PSF-2.0",
        extra_index={"python_site_packages_path": f"lib/python{PYTHON}/site-packages"},
    )


def _unpacked(archive: Path) -> dict[str, Entry]:
    with zipfile.ZipFile(archive) as opened:
        member = next(item for item in opened.namelist() if item.startswith("pkg-"))
        raw = zstandard.ZstdDecompressor().decompressobj().decompress(opened.read(member))
    entries = {}
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        for member_ in tar:
            stream = tar.extractfile(member_) if member_.isfile() else None
            entries[member_.name] = Entry(
                data=stream.read() if stream else b"",
                executable=bool(member_.mode & 0o100),
                link=member_.linkname if member_.issym() else None,
            )
    return entries


def _relocated(path: str, entry: Entry) -> Entry:
    """Search paths into the interpreter's own prefix become relative ones."""
    if not is_elf(entry.data):
        return entry
    here = sysconfig.get_config_var("LIBDIR") or "/nowhere"
    runpath = read_dynamic(entry.data).runpath or ""
    if here not in runpath.split(":"):
        return entry
    relative = f"$ORIGIN/{os.path.relpath('lib', Path(path).parent)}"
    mended = ":".join(relative if item == here else item for item in runpath.split(":"))
    return Entry(data=with_runpath(entry.data, mended), executable=entry.executable)


def _pytorch_build(folder: Path, local: LocalChannel, torch: Torch) -> None:
    cuda = torch.cuda
    make_package(
        folder,
        "pytorch",
        torch.version,
        local.cuda_build if cuda else local.cpu_build,
        files=_torch_files(torch),
        depends=[
            _this_python(),
            *([f"pytorch-cuda {cuda}.*"] if cuda else []),
            f"pytorch-mutex 1.0 {'cuda' if cuda else 'cpu'}",
        ],
        constrains=["cpuonly <0" if cuda else "pytorch-cuda <0"],
        subdir=local.subdir,
    )


def _forge_build(folder: Path, local: LocalChannel, torch: Torch) -> None:
    """conda-forge's shape: `cuda-version` pins, and its metadata asks for a driver."""
    assert torch.cuda
    build = f"cuda{torch.cuda.replace('.', '')}_mkl_py{PYTHON.replace('.', '')}_h1234567_300"
    make_package(
        folder,
        "pytorch",
        torch.version,
        build,
        files=_torch_files(torch),
        depends=[_this_python(), f"cuda-version >={torch.cuda},<13", "__cuda", "cudnn >=9.10,<10"],
        subdir=local.subdir,
    )
    make_package(
        folder,
        "cuda-version",
        torch.cuda,
        "h7480c83_3",
        noarch="generic",
        constrains=[f"cudatoolkit {torch.cuda}.*", "__cuda >=12"],
    )
    make_package(folder, "cudnn", f"{torch.cudnn}.4", "h7646684_0", subdir=local.subdir)


def _this_python() -> str:
    major, minor = PYTHON.split(".")
    return f"python >={PYTHON},<{major}.{int(minor) + 1}.0a0"


def _torch_files(torch: Torch) -> dict[str, Entry | bytes | str]:
    site = f"lib/python{PYTHON}/site-packages"
    dist = f"{site}/torch-{torch.version}.dist-info"
    files: dict[str, Entry | bytes | str] = {
        f"{site}/torch/__init__.py": STAND_IN.read_bytes(),
        f"{site}/torch/version.py": torch_version_module(torch.version, torch.cuda, torch.cudnn),
        f"{site}/torch/lib/libtorch_cpu.so": _some_elf(),
        f"{dist}/METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {torch.version}\n",
        f"{dist}/INSTALLER": "conda\n",
        f"{dist}/RECORD": "",
    }
    if torch.cuda:
        files[f"{site}/torch/lib/libtorch_cuda.so"] = _some_elf()
    return files


def torch_version_module(version: str, cuda: str | None, cudnn: str | None) -> str:
    """What the stand-in says of itself, and `verify` reads."""
    parts = tuple(map(int, cudnn.split("."))) if cudnn else None
    facts = {
        "__version__": version,
        "cuda": cuda,
        "hip": None,
        "git_version": "e9ebda29d87ce0916ab08c06ab26fd3766a870e5",
        "architectures": _ARCHITECTURES if cuda else None,
        "cudnn": parts,
        "cudnn_number": _number(parts),
    }
    return "".join(f"{key} = {value!r}\n" for key, value in facts.items())


def _number(parts: tuple[int, ...] | None) -> int | None:
    """As cuDNN says it of itself: 8700 for 8.7.0, and 90100 for 9.1.0."""
    if parts is None:
        return None
    return parts[0] * (1000 if parts[0] < 9 else 10000) + parts[1] * 100 + parts[2]


def _some_elf() -> bytes:
    """The smallest extension of the interpreter: a real ELF file."""
    folder = Path(sysconfig.get_path("stdlib")) / "lib-dynload"
    found = sorted(folder.glob("*.so"), key=lambda path: (path.stat().st_size, path.name))
    return found[0].read_bytes() if found else b"\x7fELF stand-in\n"
