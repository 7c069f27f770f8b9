"""What Triton and builders of extensions would find, in folders made for it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes.facts import installed, locked, prefix, torch_files

from envforge.adapters.machine import compiling_facts as compiling
from envforge.adapters.process import RealProcesses
from envforge.model.cuda import ComputeCapability
from envforge.verify.facts import PrefixFacts
from envforge.verify.facts.shell import TritonFiles

H100, B200, THOR, GB10 = (ComputeCapability(*pair) for pair in ((9, 0), (10, 0), (11, 0), (12, 1)))
SITE = "lib/python3.10/site-packages"
REAL = RealProcesses()


def at(folder: Path, **changes: object) -> PrefixFacts:
    folder.mkdir(parents=True, exist_ok=True)
    given = {"interpreter": None, "torch": torch_files(), "conda": (), "wheels": (), **changes}
    return prefix(prefix=str(folder), real=os.path.realpath(folder), **given)


def program(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def put(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# --- toolkits -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "text", "version"),
    [
        ("version.json", '{"cuda": {"name": "CUDA SDK", "version": "12.3.20231016"}}', "12.3"),
        ("version.json", '{"cuda_nvcc": {"version": "11.8.89"}}', "11.8"),
        ("version.json", '{"cuda": {}, "other": 1}', None),
        ("version.json", "[]", None),
        ("version.json", "{", None),
        ("version.txt", "CUDA Version 11.0.228\n", "11.0"),
        ("version.txt", "something\n", None),
        ("include/cuda.h", "/* */\n#define CUDA_VERSION 12080\n", "12.8"),
        ("targets/x86_64-linux/include/cuda.h", "# define CUDA_VERSION 13010\n", "13.1"),
        ("include/cuda.h", "", None),
    ],
)
def test_versions_by_files(tmp_path: Path, file: str, text: str, version: str | None) -> None:
    put(tmp_path / "cuda" / file, text)
    found = compiling.toolkit({"CUDA_HOME": str(tmp_path / "cuda")}, None, REAL)
    assert found is not None
    assert found.version == version
    assert found.witness == (str(tmp_path / "cuda" / file) if version else "")


def test_versions_by_the_compiler(tmp_path: Path) -> None:
    nvcc = program(tmp_path / "cuda/bin/nvcc", "echo Cuda compilation tools, release 12.3, V12.3.1")
    found = compiling.toolkit({"CUDA_PATH": str(tmp_path / "cuda")}, None, REAL)
    assert found is not None
    assert (found.source, found.version, found.witness) == ("CUDA_PATH", "12.3", str(nvcc))
    nvcc.write_text("#!/no/such/interpreter\n")
    found = compiling.toolkit({"CUDA_PATH": str(tmp_path / "cuda")}, None, REAL)
    assert found is not None
    assert found.version is None


def test_the_toolkit_on_path(tmp_path: Path) -> None:
    program(tmp_path / "mine/bin/nvcc", "echo release 12.3")
    found = compiling.toolkit({"PATH": f"{tmp_path}/mine/bin"}, None, REAL)
    assert found is not None
    assert (found.source, found.home) == ("PATH", f"{tmp_path}/mine")
    program(tmp_path / "env/bin/nvcc", "echo release 12.6")
    found = compiling.toolkit({"PATH": f"{tmp_path}/mine/bin"}, at(tmp_path / "env"), REAL)
    assert found is not None
    assert found.version == "12.6"
    assert compiling.toolkit({"PATH": str(tmp_path)}, None, REAL) is None


def test_a_compiler_of_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_SYSTEM", (f"{tmp_path}/usr/",))
    program(tmp_path / "usr/bin/nvcc", "exit 1")
    found = compiling.toolkit({"PATH": f"{tmp_path}/usr/bin"}, None, REAL)
    assert found is not None
    assert found.is_system


def test_a_toolkit_that_is_gone(tmp_path: Path) -> None:
    found = compiling.toolkit({"CUDA_HOME": str(tmp_path / "gone")}, None, REAL)
    assert found is not None
    assert not found.exists


# --- compilers and headers ------------------------------------------------------------------


def test_compilers(tmp_path: Path) -> None:
    env = at(tmp_path / "env")
    path = {"PATH": f"{tmp_path}/bin"}
    assert compiling.compiler(path, env) is None
    assert compiling.compiler(path, None) is None
    cc = program(tmp_path / "bin/cc")
    assert compiling.compiler(path, env) == str(cc)
    long = program(tmp_path / "env/bin/x86_64-conda-linux-gnu-cc")
    assert compiling.compiler(path, env) == str(long)
    clang = program(tmp_path / "bin/clang")
    assert compiling.compiler(path, env) == str(clang)
    gcc = program(tmp_path / "bin/gcc")
    assert compiling.compiler(path, env) == str(gcc)
    assert compiling.compiler({**path, "CC": "clang -O2"}, env) == str(clang)
    assert compiling.compiler({**path, "CC": "ccache gcc"}, env) == str(gcc)
    assert compiling.compiler({**path, "CC": "/gone/gcc"}, env) is None


def elf(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x7fELF")
    return path


def test_headers_of_the_environments_python(tmp_path: Path) -> None:
    python = elf(tmp_path / "env/bin/python3.10")
    env = at(tmp_path / "env", interpreter=str(python))
    found = compiling.headers(env)
    assert found.looked == (f"{tmp_path}/env/include",)
    assert found.found is None
    assert not found.is_system
    put(tmp_path / "env/include/python3.1/Python.h")
    assert compiling.headers(env).found is None
    header = put(tmp_path / "env/include/python3.10d/Python.h")
    assert compiling.headers(env).found == str(header)


def test_headers_of_a_systems_python(tmp_path: Path) -> None:
    real = elf(tmp_path / "usr/bin/python3.12")
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/python").symlink_to(real)
    env = at(tmp_path / "venv", interpreter=f"{tmp_path}/venv/bin/python", torch=None)
    found = compiling.headers(env)
    assert found.is_system
    assert found.python == "3.12"
    header = put(tmp_path / "usr/include/python3.12/Python.h")
    assert compiling.headers(env).found == str(header)


def test_headers_of_what_is_no_program(tmp_path: Path) -> None:
    script = program(tmp_path / "env/bin/python")
    assert compiling.headers(at(tmp_path / "env", interpreter=str(script))).looked == ()
    assert compiling.headers(at(tmp_path / "env", interpreter="/gone")).looked == ()
    assert compiling.headers(at(tmp_path / "env", torch=None)).python is None


# --- Triton ---------------------------------------------------------------------------------

KNOWS = """
case "$*" in
*--version*) echo "Cuda compilation tools, release 12.8, V12.8.93" ;;
*sm_121*) echo "ptxas fatal : Value 'sm_121a' is not defined for option 'gpu-name'"; exit 255 ;;
*) while [ "$1" != -o ]; do shift; done; echo code > "$2" ;;
esac
"""


def triton(
    env: PrefixFacts,
    gpus: Sequence[ComputeCapability] = (),
    root: Path = Path("/nowhere"),
    **environment: str,
) -> TritonFiles | None:
    return compiling.triton_files(environment, env, capabilities=gpus, root=root, processes=REAL)


def test_no_triton(tmp_path: Path) -> None:
    assert triton(at(tmp_path)) is None
    assert triton(at(tmp_path, torch=None)) is None


@pytest.mark.parametrize("name", ["triton", "torchtriton", "pytorch-triton"])
def test_triton_by_its_metadata(tmp_path: Path, name: str) -> None:
    found = triton(at(tmp_path, conda=(installed(locked(name, "2.0.0")),)))
    assert found == TritonFiles(version="2.0.0")


@pytest.mark.parametrize("place", ["backends/nvidia", "third_party/cuda"])
def test_triton_by_its_files(tmp_path: Path, place: str) -> None:
    header = put(tmp_path / SITE / "triton" / place / "include/cuda.h")
    found = triton(at(tmp_path))
    assert found is not None
    assert found.has_backend
    assert found.cuda_header == str(header)


@pytest.mark.parametrize(
    ("place", "environment"),
    [
        ("include/cuda.h", {}),
        ("targets/sbsa-linux/include/cuda.h", {}),
        ("kit/include/cuda.h", {"CUDA_HOME": "kit"}),
        ("more/cuda.h", {"CPATH": "more"}),
        ("machine/usr/local/cuda/include/cuda.h", {}),
    ],
)
def test_cuda_headers_of_others(tmp_path: Path, place: str, environment: dict[str, str]) -> None:
    (tmp_path / SITE / "triton/backends/nvidia").mkdir(parents=True)
    given = {name: str(tmp_path / value) for name, value in environment.items()}
    env = at(tmp_path)
    assert triton(env, root=tmp_path / "machine", **given).cuda_header is None  # type: ignore[union-attr]
    header = put(tmp_path / place)
    assert triton(env, root=tmp_path / "machine", **given).cuda_header == str(header)  # type: ignore[union-attr]


def test_what_ptxas_says(tmp_path: Path) -> None:
    path = program(tmp_path / SITE / "triton/backends/nvidia/bin/ptxas", KNOWS)
    found = triton(at(tmp_path), [GB10, H100, GB10])
    assert found is not None
    [assembler] = found.assemblers
    assert assembler.path == str(path)
    assert assembler.release == "12.8"
    assert assembler.serves == ("sm_90a", "sm_121a")
    assert assembler.accepted == ("sm_90a",)
    assert assembler.refused == ("sm_121a",)


def test_which_ptxas_is_for_which_gpu(tmp_path: Path) -> None:
    folder = tmp_path / SITE / "triton/backends/nvidia/bin"
    for name in ("ptxas", "ptxas-blackwell", "ptxas-thor"):
        program(folder / name, "echo release 13.0")
    found = triton(at(tmp_path), [H100, B200, THOR])
    assert found is not None
    served = {Path(item.path).name: item.serves for item in found.assemblers}
    assert served == {
        "ptxas": ("sm_90a",),
        "ptxas-blackwell": ("sm_100a",),
        "ptxas-thor": ("sm_110a",),
    }


def test_a_ptxas_that_a_variable_names(tmp_path: Path) -> None:
    (tmp_path / SITE / "triton/backends/nvidia").mkdir(parents=True)
    own = program(tmp_path / "new/ptxas", KNOWS)
    found = triton(at(tmp_path), [H100], TRITON_PTXAS_PATH=str(own))
    assert found is not None
    assert found.assemblers[0].variable == "TRITON_PTXAS_PATH"
    found = triton(at(tmp_path), [H100], TRITON_PTXAS_PATH="/gone")
    assert found is not None
    assert not found.assemblers[0].exists


def test_a_ptxas_of_conda(tmp_path: Path) -> None:
    (tmp_path / SITE / "triton/backends/nvidia").mkdir(parents=True)
    assert triton(at(tmp_path), [H100]).assemblers == ()  # type: ignore[union-attr]
    path = program(tmp_path / "bin/ptxas", KNOWS)
    found = triton(at(tmp_path), [H100])
    assert found is not None
    assert found.assemblers[0].path == str(path)


def test_a_ptxas_that_only_lists(tmp_path: Path) -> None:
    text = 'case "$*" in *--list-gpu-arch*) echo compute_80; echo compute_90 ;; esac'
    program(tmp_path / SITE / "triton/backends/nvidia/bin/ptxas", text)
    found = triton(at(tmp_path), [H100, GB10])
    assert found is not None
    [assembler] = found.assemblers
    assert (assembler.accepted, assembler.refused) == (("sm_90a",), ("sm_121a",))


@pytest.mark.parametrize("text", ["exit 0", "kill -11 $$", "printf '\\377\\376' >&2; exit 1"])
def test_a_ptxas_that_says_nothing(tmp_path: Path, text: str) -> None:
    program(tmp_path / SITE / "triton/backends/nvidia/bin/ptxas", text)
    found = triton(at(tmp_path), [H100])
    assert found is not None
    assert found.assemblers[0].error


# --- libcuda --------------------------------------------------------------------------------


def test_libcuda_places(tmp_path: Path) -> None:
    put(tmp_path / "a/libcuda.so.1")
    put(tmp_path / "b/libcuda.so")
    found = compiling.libcuda_places(
        {"LD_LIBRARY_PATH": f"{tmp_path}/a::{tmp_path}/b", "TRITON_LIBCUDA_PATH": f"{tmp_path}/a"},
        tmp_path,
    )
    assert found.on_library_path == ("libcuda.so.1", "libcuda.so")
    assert found.named_files == ("libcuda.so.1",)
    assert found.cached == ()
    put(tmp_path / "etc/ld.so.cache", "nonsense")
    assert compiling.libcuda_places({}, tmp_path).cached == ()
