"""A whole machine with one environment, built in files, seen by the real collectors.

    def test_hidden_gpus(situation: Situation) -> None:
        situation.env["CUDA_VISIBLE_DEVICES"] = "-1"
        situation.names("cvd-empty-or-invalid")

`situation` (a fixture of tests/catalogue/conftest.py) is healthy: a Linux server with one H200
behind the stub driver, and an environment of torch 2.7.1 for CUDA 12.6 from conda-forge. A test
breaks one thing and calls `names(id)`, which runs the real `Forge().verify` and asserts that this
id is named first and nothing else beside it; `is_healthy()` asserts that nothing is named.

| part | what it is |
|---|---|
| `root` | the machine's files: `proc/`, `sys/`, `dev/`, `etc/` …; `write("proc/x", "…")` |
| `env` | variables of the process; `driver(cuinit=802)` steers the stub driver |
| `prefix` | an installed environment: interpreter, small real libraries, records with hashes |
| `site` | its site-packages; `torch/` there is a stand-in that loads `lib/libtorch_cuda.so` |
| `folder` | the environment's folder with environment.yml and conda-lock.yml |

`add_package`, `add_wheel` and `build_library` add to the prefix; a package that is added is also
locked unless `locked=False`. The loader, gcc and the interpreter are this machine's own.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from e2e.world import STAND_IN, torch_version_module
from fakes.conda_solver import package
from fakes.installing import make_settings
from fakes.stub_driver import stub_driver
from fakes.workplace import fake_forge, workplace_of

from envforge.cli.rendering.render_report import as_text
from envforge.forge import Forge
from envforge.model.finding import Report
from envforge.model.lock import LockedPackage

_F = TypeVar("_F", bound=Callable[..., Any])

SERIES = f"{sys.version_info[0]}.{sys.version_info[1]}"
PYTHON = ".".join(str(part) for part in sys.version_info[:3])
TORCH, CUDA, DRIVER, KERNEL = "2.7.1", "12.6", "570.124.06", "5.15.0-122-generic"
NAME = "p-torch27-cu126"
CUDNN = "9.10.2"


def covers(*ids: str) -> Callable[[_F], _F]:
    """Say which checks a catalogue test proves; `tests/catalogue/page.py` reads these marks."""

    def mark(function: _F) -> _F:
        function.covers = ids  # type: ignore[attr-defined]
        return function

    return mark


# --- libraries ------------------------------------------------------------------------------


def compile_library(
    path: Path,
    source: str = "",
    *,
    soname: str | None = None,
    needed: Sequence[Path] = (),
    versions: str | None = None,
    flags: Sequence[str] = (),
) -> Path:
    """A shared object made by gcc.

    Args:
        path: where it is written.
        source: C.
        soname: None: the file's name.
        needed: libraries it is linked with, whether it uses them or not.
        versions: a linker version script, for versioned symbols.
        flags: more for gcc, `-Wl,-rpath,$ORIGIN` and the like.
    """
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("libraries are built by gcc")
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(path), "-x", "c", "-", "-x", "none"]
    command += [f"-Wl,-soname,{soname or path.name}", "-Wl,--no-as-needed", *map(str, needed)]
    with tempfile.TemporaryDirectory() as scratch:
        if versions is not None:
            script = Path(scratch) / "versions"
            script.write_text(versions)
            command.append(f"-Wl,--version-script={script}")
        subprocess.run([*command, *flags], input=source, text=True, check=True)
    return path


_ORIGIN = "-Wl,-rpath,$ORIGIN,--disable-new-dtags"  # DT_RPATH, as NVIDIA's and torch's have
_CUDNN_PARTS = ("ops", "cnn", "adv", "graph", "heuristic", "engines_precompiled")


@functools.cache
def _libraries() -> Path:
    """What CUDA, cuDNN and torch put into `lib/`, in small; built once a process."""
    folder = Path(tempfile.mkdtemp(prefix="situation-libraries-"))
    import atexit

    atexit.register(shutil.rmtree, folder, ignore_errors=True)

    def build(name: str, source: str = "", needed: Iterable[str] = (), **how: Any) -> None:
        libraries = [folder / item for item in needed]
        compile_library(folder / name, source, needed=libraries, flags=[_ORIGIN], **how)

    build("libcudart.so.12", "int cudaRuntimeGetVersion(int *v) { *v = 12060; return 0; }")
    build(
        "libnvJitLink.so.12",
        "int __nvJitLinkAddData_12_6(void) { return 0; }",
        versions="libnvJitLink.so.12 { global: *; };",
    )
    build(
        "libcusparse.so.12",
        "int __nvJitLinkAddData_12_6(void);\n"
        "int cusparseCreate(void) { return __nvJitLinkAddData_12_6(); }",
        ["libnvJitLink.so.12"],
    )
    build(
        "libcublasLt.so.12",
        "int cublasLtCreate(void) { return 0; }",
        versions="libcublasLt.so.12 { global: *; };",
    )
    build(
        "libcublas.so.12",
        "int cublasLtCreate(void);\nint cublasCreate_v2(void) { return cublasLtCreate(); }",
        ["libcublasLt.so.12"],
    )
    number = "".join(f"{int(part):02d}" for part in CUDNN.split(".")).lstrip("0")
    build(
        "libcudnn.so.9",
        f"unsigned long cudnnGetVersion(void) {{ return {number}; }}",
        versions="libcudnn.so.9 { global: *; };",
    )
    for part in _CUDNN_PARTS:
        build(
            f"libcudnn_{part}.so.9",
            f"unsigned long cudnn_{part}_version(void) {{ return {number}; }}",
        )
    build("libnccl.so.2", "int ncclGetVersion(int *v) { *v = 22603; return 0; }")
    build("libnvrtc.so.12", "int nvrtcVersion(int *a, int *b) { *a = 12; *b = 6; return 0; }")
    build("libnvrtc-builtins.so.12.6", "int nvrtc_builtins_version = 1206;")
    build("libc10.so", "int _ZN3c105ErrorC2Ev(void) { return 0; }")
    build("libc10_cuda.so", "", ["libc10.so", "libcudart.so.12"])
    build("libtorch_cpu.so", "int _ZN2at4onesEv(void) { return 0; }", ["libc10.so"])
    build(
        "libtorch_cuda.so",
        "unsigned long cudnnGetVersion(void);\nint cusparseCreate(void);\n"
        "int cublasCreate_v2(void);\n"
        "unsigned long torch_cudnn(void) { return cudnnGetVersion(); }\n"
        "int torch_sparse(void) { return cusparseCreate() + cublasCreate_v2(); }",
        [
            "libc10_cuda.so",
            "libtorch_cpu.so",
            "libcudart.so.12",
            "libcudnn.so.9",
            "libcublas.so.12",
            "libcusparse.so.12",
            "libnccl.so.2",
        ],
    )
    return folder


_OWNERS: Mapping[str, tuple[str, ...]] = {
    "cuda-cudart": ("libcudart.so.12",),
    "libnvjitlink": ("libnvJitLink.so.12",),
    "libcusparse": ("libcusparse.so.12",),
    "libcublas": ("libcublas.so.12", "libcublasLt.so.12"),
    "libcudnn": ("libcudnn.so.9", *(f"libcudnn_{part}.so.9" for part in _CUDNN_PARTS)),
    "nccl": ("libnccl.so.2",),
    "cuda-nvrtc": ("libnvrtc.so.12", "libnvrtc-builtins.so.12.6"),
    "libtorch": ("libc10.so", "libc10_cuda.so", "libtorch_cpu.so", "libtorch_cuda.so"),
}

_TORCH_ENDING = """

import os as _os

_prefix = _os.path.abspath(_os.path.join(_os.path.dirname(__file__), *[".."] * 4))
_library = _os.path.join(_prefix, "lib", "libtorch_cuda.so")
if _os.path.exists(_library):
    _cuda_library = ctypes.CDLL(_library, mode=ctypes.RTLD_GLOBAL)
    _cuda_library.torch_cudnn.restype = ctypes.c_ulong
    _C._cudnn.getRuntimeVersion = lambda: _cuda_library.torch_cudnn()
    backends.cudnn.version = lambda: _cuda_library.torch_cudnn()
if "zeros" not in globals():
    zeros = lambda *shape: Tensor([0.0] * shape[0], shape, float32)
if not hasattr(Tensor, "numpy"):
    Tensor.numpy = lambda self: self.values
    from_numpy = lambda array: array
"""


# --- the situation --------------------------------------------------------------------------


@dataclass
class Situation:
    """See the module's docstring."""

    base: Path
    env: dict[str, str]
    packages: list[LockedPackage] = field(default_factory=list)
    """What else the channel holds and the environment asks for; before `build`."""

    @property
    def root(self) -> Path:
        return self.base / "machine"

    @property
    def prefix(self) -> Path:
        return self.base / "prefix"

    @property
    def site(self) -> Path:
        return self.prefix / "lib" / f"python{SERIES}" / "site-packages"

    @property
    def folder(self) -> Path:
        return self.base / "envs" / NAME

    # --- the machine ------------------------------------------------------------------------

    def write(self, path: str, text: str | bytes = "", mode: int | None = None) -> Path:
        """A file of the machine, `proc/modules`."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)
        if mode is not None:
            target.chmod(mode)
        return target

    def remove(self, *paths: str) -> None:
        """Take files or folders away from the machine."""
        for path in paths:
            target = self.root / path
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink()

    def driver(self, **changes: Any) -> None:
        """The stub driver, answering as `fakes.stub_driver.stub_driver` says."""
        for name in [name for name in self.env if name.startswith("STUB_")]:
            del self.env[name]
        self.env.update(stub_driver(**{"driver": DRIVER, "cuda": "12.8", **changes}))

    def no_gpu(self) -> None:
        """A machine without GPU and driver: a laptop, a login node, CI."""
        for name in [*self.env]:
            if name.startswith("STUB_") or name == "LD_LIBRARY_PATH":
                del self.env[name]
        for path in ("proc/driver", "sys/bus/pci/devices", "dev", "lib/modules"):
            shutil.rmtree(self.root / path, ignore_errors=True)
        for library in (self.root / "usr/lib/x86_64-linux-gnu").glob("lib*.so*"):
            library.unlink()
        self.write("proc/modules", "ext4 999424 1 - Live 0x0\n")
        self.write("proc/devices", "Character devices:\n  1 mem\n")

    # --- the environment --------------------------------------------------------------------

    def add_files(self, files: Mapping[str, str | bytes | Path]) -> dict[str, str | bytes | Path]:
        """Put files into the prefix, by their path in it; a Path is copied."""
        for path, content in files.items():
            target = self.prefix / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                if content != target:
                    shutil.copy2(content, target)
            else:
                data = content.encode() if isinstance(content, str) else content
                target.write_bytes(data)
        return dict(files)

    def add_package(
        self,
        name: str,
        version: str,
        build: str = "h0_0",
        *,
        channel: str = "conda-forge",
        files: Mapping[str, str | bytes | Path] | None = None,
        locked: bool = True,
        **record: Any,
    ) -> Path:
        """A conda package: its files, its record, its line in the lock; returns the record."""
        found = package(name, version, build, channel=channel)
        self.add_files(files or {})
        if locked:
            self._lock_too(found)
        return self._record(found, list(files or {}), **record)

    def _record(self, found: LockedPackage, files: Sequence[str], **more: Any) -> Path:
        paths = [self._path_entry(path) for path in sorted(files)]
        document = {
            "name": found.name,
            "version": found.version,
            "build": found.build,
            "build_number": 0,
            "channel": found.channel_url,
            "subdir": found.subdir,
            "fn": found.filename,
            "url": found.url,
            "sha256": found.sha256,
            "md5": found.md5,
            "depends": list(found.depends),
            "files": [item["_path"] for item in paths],
            "paths_data": {"paths_version": 1, "paths": paths},
            **more,
        }
        stem = f"{found.name}-{found.version}-{found.build}"
        path = self.prefix / "conda-meta" / f"{stem}.json"
        path.write_text(json.dumps(document, indent=2) + "\n")
        return path

    def _path_entry(self, path: str) -> dict[str, Any]:
        target = self.prefix / path
        if target.is_symlink():
            return {"_path": path, "path_type": "softlink"}
        data = target.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        hashes = {"sha256": digest, "sha256_in_prefix": digest, "size_in_bytes": len(data)}
        return {"_path": path, "path_type": "hardlink", **hashes}

    def rerecord(self, name: str) -> None:
        """Make a conda package's record say what its files are now: nobody edited them."""
        [path] = (self.prefix / "conda-meta").glob(f"{name}-[0-9]*.json")
        document = json.loads(path.read_text())
        document["paths_data"]["paths"] = [
            self._path_entry(item) for item in sorted(document["files"])
        ]
        path.write_text(json.dumps(document, indent=2) + "\n")

    def add_wheel(
        self,
        name: str,
        version: str,
        *,
        files: Mapping[str, str | bytes | Path] | None = None,
        requires: Sequence[str] = (),
        tag: str = "py3-none-any",
        installer: str = "uv",
        locked: bool = True,
        replaces: str | None = None,
    ) -> Path:
        """A wheel: files below site-packages, dist-info with RECORD; returns the dist-info.

        `replaces` is a version that was added before, and goes.
        """
        if replaces is not None:
            shutil.rmtree(self.site / f"{name.replace('-', '_')}-{replaces}.dist-info")
        relative = f"lib/python{SERIES}/site-packages"
        self.add_files({f"{relative}/{path}": item for path, item in (files or {}).items()})
        folder = self.site / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir(parents=True, exist_ok=True)
        metadata = [
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}",
            *(f"Requires-Dist: {item}" for item in requires),
        ]
        (folder / "METADATA").write_text("\n".join(metadata) + "\n")
        (folder / "WHEEL").write_text(f"Wheel-Version: 1.0\nTag: {tag}\n")
        (folder / "INSTALLER").write_text(installer)
        rows = [_row(self.site, path) for path in (files or {})]
        rows += [
            _row(self.site, f"{folder.name}/{item}") for item in ("METADATA", "WHEEL", "INSTALLER")
        ]
        (folder / "RECORD").write_text("\n".join([*rows, f"{folder.name}/RECORD,,"]) + "\n")
        if locked:
            url = f"https://files.pythonhosted.org/packages/{name}-{version}-{tag}.whl"
            self._lock_too(
                LockedPackage(
                    platform="linux-64",
                    name=name,
                    manager="pip",
                    version=version,
                    url=url,
                    sha256=hashlib.sha256(url.encode()).hexdigest(),
                )
            )
        return folder

    def _lock_too(self, item: LockedPackage) -> None:
        """Put a package into conda-lock.yml, as if it had been solved."""
        from dataclasses import replace

        from envforge.formats.conda_lock import conda_lock_yml

        path = self.folder / "conda-lock.yml"
        lock = conda_lock_yml.read(path.read_text(), str(path))
        others = [
            old for old in lock.packages if (old.name, old.platform) != (item.name, item.platform)
        ]
        path.write_text(
            conda_lock_yml.write(replace(lock, packages=tuple(sorted([*others, item]))))
        )

    def build_library(self, path: str, source: str = "", **how: Any) -> Path:
        """A shared object in the prefix (`lib/libx.so.1`), owned by no package."""
        return compile_library(self.prefix / path, source, **how)

    # --- verify -----------------------------------------------------------------------------

    def forge(self, **settings: Any) -> Forge:
        """The real thing in this world."""
        given = {"environment": dict(self.env), "host_root": self.root, **settings}
        made = make_settings(self.base, **given)
        return Forge(settings=made)

    def verify(self, env: str | None = NAME, **how: Any) -> Report:
        """The real verify; level import unless told otherwise."""
        how.setdefault("level", "import")
        how.setdefault("timeout", 20.0)
        [report] = self.forge().verify(env, **how)
        return report

    def names(self, wanted: str, *, beside: Sequence[str] = (), **how: Any) -> Report:
        """Assert that `wanted` is what is named first, and nothing but `beside` with it."""
        report = self.verify(**how)
        told = [item.check for item in report.findings]
        assert told, f"nothing was found, {wanted} expected\n{as_text(report)}"
        assert told[0] == wanted, f"{told} instead of {wanted}\n{as_text(report)}"
        assert {*told} <= {wanted, *beside}, f"{told}, more than {wanted}\n{as_text(report)}"
        self._no_crash(report)
        return report

    def is_healthy(self, **how: Any) -> Report:
        """Assert that nothing at all is named."""
        report = self.verify(**how)
        assert not report.findings, as_text(report)
        self._no_crash(report)
        return report

    @staticmethod
    def _no_crash(report: Report) -> None:
        crashed = [item for item in report.outcomes if item.verdict == "crashed"]
        assert not crashed, crashed


def _row(site: Path, path: str) -> str:
    data = (site / path).read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(data)}"


# --- building a healthy one -----------------------------------------------------------------


def healthy(base: Path) -> Situation:
    """A GPU server and an environment that is as it should be."""
    home = base / "home"
    home.mkdir(parents=True)
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "USER": "ada"}
    made = Situation(base=base, env=env)
    _build_machine(made)
    made.driver()
    _build_environment(made)
    return made


def _build_machine(made: Situation) -> None:
    version = (
        f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {DRIVER}  Wed Feb 26 01:29:28 UTC 2025"
    )
    write = made.write
    write("proc/driver/nvidia/version", f"{version}\nGCC version:  gcc version 11.4.0\n")
    write("proc/version", f"Linux version {KERNEL} (gcc 11.4.0) #1 SMP\n")
    write("proc/sys/kernel/osrelease", f"{KERNEL}\n")
    write("proc/cmdline", f"BOOT_IMAGE=/vmlinuz-{KERNEL} root=/dev/sda1 ro quiet\n")
    modules = ("nvidia_uvm", "nvidia_drm", "nvidia_modeset", "nvidia", "ext4")
    write("proc/modules", "".join(f"{name} 999424 1 - Live 0x0\n" for name in modules))
    devices = ("  1 mem", "195 nvidia", "195 nvidiactl", "510 nvidia-uvm", "511 nvidia-caps")
    write("proc/devices", "Character devices:\n" + "\n".join(devices) + "\n")
    write("proc/cpuinfo", _cpuinfo())
    write("proc/self/mountinfo", "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n")
    write("proc/1/cgroup", "0::/init.scope\n")
    write("proc/self/cgroup", "0::/user.slice/user-1000.slice/session-3.scope\n")
    for node in ("nvidia0", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"):
        write(f"dev/{node}", mode=0o666)
    (made.root / "dev/shm").mkdir()
    _pci_device(made, "0000:17:00.0", "0x2335", "0x030200", "nvidia")
    write(f"lib/modules/{KERNEL}/updates/dkms/nvidia.ko", "module\n")
    _host_libraries(made)


def _pci_device(made: Situation, address: str, device: str, kind: str, driver: str | None) -> None:
    folder = f"sys/bus/pci/devices/{address}"
    made.write(f"{folder}/vendor", "0x10de\n")
    made.write(f"{folder}/device", f"{device}\n")
    made.write(f"{folder}/class", f"{kind}\n")
    if driver is not None:
        (made.root / f"sys/bus/pci/drivers/{driver}").mkdir(parents=True, exist_ok=True)
        (made.root / folder / "driver").symlink_to(f"../../drivers/{driver}")


def _cpuinfo() -> str:
    flags = (
        "fpu tsc msr cx8 cmov mmx fxsr sse sse2 ht syscall nx lm constant_tsc pni pclmulqdq ssse3"
        " fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave osxsave avx f16c rdrand hypervisor lahf_lm"
        " abm 3dnowprefetch fsgsbase bmi1 avx2 smep bmi2 erms avx512f avx512dq avx512cd avx512bw"
        " avx512vl"
    )
    return f"processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon\nflags\t\t: {flags}\n\n"


def _host_libraries(made: Situation) -> None:
    """The C library of this machine, and the driver's libraries by name and link."""
    folder = made.root / "usr/lib/x86_64-linux-gnu"
    folder.mkdir(parents=True)
    for name in ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1"):
        _copy_host_library(name, folder)
    for name in ("libcuda.so", "libnvidia-ml.so"):
        (folder / f"{name}.{DRIVER}").write_bytes(b"stand-in\n")
        (folder / f"{name}.1").symlink_to(f"{name}.{DRIVER}")


def _copy_host_library(name: str, folder: Path) -> None:
    for place in ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64"):
        source = Path(place) / name
        if source.exists():
            try:
                os.link(source.resolve(), folder / name)
            except OSError:
                shutil.copy(source, folder / name)
            return


def _channel() -> tuple[LockedPackage, ...]:
    cuda = tuple(
        package(name, version)
        for name, version in (
            ("cuda-cudart", "12.6.77"),
            ("libnvjitlink", "12.6.85"),
            ("libcusparse", "12.5.4.2"),
            ("libcublas", "12.6.4.1"),
            ("libcudnn", f"{CUDNN}.21"),
            ("nccl", "2.26.5.1"),
            ("cuda-nvrtc", "12.6.85"),
        )
    )
    tag = f"cuda126_generic_py{SERIES.replace('.', '')}"
    libtorch = package(
        "libtorch", TORCH, "cuda126_generic_h0_200", depends=tuple(p.name for p in cuda)
    )
    torch = package(
        "pytorch",
        TORCH,
        f"{tag}_200",
        depends=(f"python >={SERIES}", "__cuda", "cuda-version >=12.6,<13", "libtorch"),
    )
    return (
        *cuda,
        libtorch,
        torch,
        package("python", PYTHON),
        package("numpy", "2.2.6"),
        package("pip", "25.1"),
        package("cuda-version", CUDA),
    )


def _build_environment(made: Situation) -> None:
    forge = fake_forge(made.base)
    workplace_of(forge).conda.packages = _channel()
    name = forge.lock(
        "p", torch=TORCH, cuda=CUDA, python=SERIES, source="conda-forge", packages=["numpy"]
    ).folder.name
    assert name == NAME
    forge.install(NAME, prefix=made.prefix)
    shutil.rmtree(made.prefix / "lib", ignore_errors=True)
    shutil.rmtree(made.prefix / "bin", ignore_errors=True)
    from envforge.formats.conda_lock import conda_lock_yml

    path = made.folder / "conda-lock.yml"
    lock = conda_lock_yml.read(path.read_text(), str(path))
    for record in (made.prefix / "conda-meta").glob("*.json"):
        record.unlink()
    for item in lock.for_platform("linux-64"):
        made._record(item, _files_of(made, item.name))


def _files_of(made: Situation, name: str) -> list[str]:
    """Write what a package brings; its paths in the prefix."""
    if name in _OWNERS:
        source = _libraries()
        return list(made.add_files({f"lib/{item}": source / item for item in _OWNERS[name]}))
    if name == "python":
        return _python(made)
    relative = f"lib/python{SERIES}/site-packages"
    if name == "pytorch":
        text = STAND_IN.read_text() + _TORCH_ENDING
        files = {
            f"{relative}/torch/__init__.py": text,
            f"{relative}/torch/version.py": torch_version_module(TORCH, CUDA, CUDNN),
        }
        return list(made.add_files(files | _dist_info("torch", TORCH)))
    if name == "numpy":
        files = {f"{relative}/numpy/__init__.py": '__version__ = "2.2.6"\n'}
        return list(made.add_files(files | _dist_info("numpy", "2.2.6")))
    return []


def _dist_info(name: str, version: str) -> dict[str, str]:
    folder = f"lib/python{SERIES}/site-packages/{name}-{version}.dist-info"
    return {
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{folder}/RECORD": "",
        f"{folder}/INSTALLER": "conda",
    }


def _python(made: Situation) -> list[str]:
    """This interpreter, as if conda had put it here: a program, and links to its library."""
    base = Path(sys.base_prefix)
    program = Path(os.path.realpath(sys.executable))
    (made.prefix / "bin").mkdir(parents=True)
    target = made.prefix / "bin" / f"python{SERIES}"
    try:
        os.link(program, target)
    except OSError:
        shutil.copy2(program, target)
    for name in ("python", "python3"):
        (made.prefix / "bin" / name).symlink_to(target.name)
    stdlib = Path(sysconfig.get_path("stdlib", vars={"base": str(base)}))
    own = made.prefix / "lib" / f"python{SERIES}"
    made.site.mkdir(parents=True, exist_ok=True)
    for item in stdlib.iterdir():
        if item.name not in {"site-packages", "__pycache__"}:
            (own / item.name).symlink_to(item)
    header = f"include/python{SERIES}/Python.h"
    made.add_files({header: "/* Python.h */\n"})
    return [f"bin/python{SERIES}", "bin/python", "bin/python3", header]
