"""The shell around us, and the tools that compile: each situation, and its healthy twin."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
from fakes.situation import SERIES, Situation, covers
from fakes.stub_driver import RTX_5090, library_folder

from envforge.verify.verify import Report

V100 = ("Tesla V100-SXM2-16GB", "7.0", 16_945_512_448)


@pytest.fixture
def clean(situation: Situation) -> Situation:
    """Only what the system itself has on PATH, as in a new shell."""
    situation.env["PATH"] = "/usr/bin:/bin"
    return situation


def script(path: Path, text: str) -> Path:
    """A program of a few lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def add_triton(situation: Situation, version: str = "3.3.1", *, header: bool = True) -> Path:
    """Triton as its wheel brings it; returns its folder for NVIDIA GPUs."""
    files = {"triton/__init__.py": "", "triton/backends/nvidia/__init__.py": ""}
    if header:
        files["triton/backends/nvidia/include/cuda.h"] = "#define CUDA_VERSION 12080\n"
    situation.add_wheel("triton", version, files=files)
    return situation.site / "triton" / "backends" / "nvidia"


def add_einops(situation: Situation) -> None:
    situation.add_wheel("einops", "0.8.0", files={"einops/__init__.py": ""})


def ld_cache(entries: Mapping[str, str]) -> bytes:
    """A loader's cache in glibc's newer format, for 64-bit programs."""
    header = 48 + 24 * len(entries)
    strings, table = b"", b""
    for name, path in entries.items():
        key = header + len(strings)
        strings += name.encode() + b"\0"
        value = header + len(strings)
        strings += path.encode() + b"\0"
        table += struct.pack("<iIIIQ", 0x0303, key, value, 0, 0)
    start = struct.pack("<20sII", b"glibc-ld.so.cache1.1", len(entries), len(strings))
    return start.ljust(48, b"\0") + table + strings


# --- which Python ---------------------------------------------------------------------------


def activated(situation: Situation) -> None:
    situation.env["CONDA_PREFIX"] = str(situation.prefix)
    situation.env["PATH"] = f"{situation.prefix}/bin:/usr/bin:/bin"


@covers("wrong-python-on-path")
def test_another_python_is_first_on_path(clean: Situation, tmp_path: Path) -> None:
    activated(clean)
    clean.is_healthy(level="static")

    script(tmp_path / "base" / "bin" / "python", "exit 0")
    clean.env["PATH"] = f"{tmp_path}/base/bin:{clean.env['PATH']}"
    report = clean.names("wrong-python-on-path", level="static")

    assert f"{tmp_path}/base/bin/python" in report.findings[0].message
    assert not report.passed


def test_no_python_at_all_is_on_path(clean: Situation, tmp_path: Path) -> None:
    activated(clean)
    clean.env["PATH"] = str(tmp_path)
    clean.names("wrong-python-on-path", level="static")


def test_pip_of_another_python(clean: Situation, tmp_path: Path) -> None:
    """Unless its first line names this environment's interpreter."""
    activated(clean)
    script(clean.prefix / "bin" / "pip", "exit 0")
    foreign = script(tmp_path / "local" / "bin" / "pip", "exit 0")
    clean.env["PATH"] = f"{foreign.parent}:{clean.env['PATH']}"
    clean.names("wrong-python-on-path", level="static")

    foreign.write_text(f"#!{clean.prefix}/bin/python\nimport pip\n")
    clean.is_healthy(level="static")


def test_another_environment_is_activated(clean: Situation, tmp_path: Path) -> None:
    """Verifying from elsewhere is nothing unusual."""
    other = tmp_path / "other"
    (other / "conda-meta").mkdir(parents=True)
    script(other / "bin" / "python", "exit 0")
    clean.env |= {"CONDA_PREFIX": str(other), "PATH": f"{other}/bin:/usr/bin:/bin"}
    clean.env |= {"CC": f"{other}/bin/gcc", "CUDA_HOME": str(other)}
    clean.is_healthy(level="static")


def test_a_venv_upon_an_activated_environment_is_only_warned_of(
    clean: Situation, tmp_path: Path
) -> None:
    activated(clean)
    venv = tmp_path / "venv"
    script(venv / "bin" / "python", "exit 0")
    clean.env |= {"VIRTUAL_ENV": str(venv), "PATH": f"{venv}/bin:{clean.env['PATH']}"}
    assert clean.names("wrong-python-on-path", level="static").passed

    (venv / "pyvenv.cfg").write_text(f"home = {clean.prefix}/bin\nversion = 3.11\n")
    clean.is_healthy(level="static")


@covers("pythonhome-set")
def test_pythonhome(clean: Situation) -> None:
    clean.env["PYTHONHOME"] = "/opt/other"
    clean.names("pythonhome-set", level="static")
    for harmless in ("", str(clean.prefix)):
        clean.env["PYTHONHOME"] = harmless
        clean.is_healthy(level="static")


@covers("pythonpath-shadow")
def test_pythonpath_hides_a_package(clean: Situation, tmp_path: Path) -> None:
    add_einops(clean)
    modules = tmp_path / "modules"
    (modules / "einops").mkdir(parents=True)
    (modules / "einops" / "__init__.py").write_text("")
    clean.env["PYTHONPATH"] = str(modules)
    assert not clean.names("pythonpath-shadow", level="static").passed


def test_pythonpath_of_another_python(clean: Situation, tmp_path: Path) -> None:
    """As ROS exports it; with nothing in it, it does no harm."""
    ros = tmp_path / "ros" / "lib" / "python2.7" / "dist-packages"
    ros.mkdir(parents=True)
    clean.env["PYTHONPATH"] = str(ros)
    clean.is_healthy(level="static")

    (ros / "rospkg.py").write_text("")
    assert clean.names("pythonpath-shadow", level="static").passed


def test_a_project_on_pythonpath_is_healthy(clean: Situation, tmp_path: Path) -> None:
    """Its own modules, tests, and folders of data that happen to be called as packages are."""
    add_einops(clean)
    project = tmp_path / "project"
    for path in ("train.py", "test/__init__.py", "einops/run-1/log.txt", "models/__init__.py"):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text("")
    clean.env["PYTHONPATH"] = f"{project}:{tmp_path}/gone:{clean.site}"
    clean.is_healthy(level="static")

    (project / "typing.py").write_text("")
    assert clean.names("pythonpath-shadow", level="static").passed


# --- variables ------------------------------------------------------------------------------


@covers("activate-var-leak")
def test_variables_of_another_environment(clean: Situation, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "conda-meta").mkdir(parents=True)
    leaks = {
        "CFLAGS": f"-O2 -isystem {other}/include -I{other}/include/x",
        "NVCC_PREPEND_FLAGS": f"-ccbin={other}/bin/x86_64-conda-linux-gnu-c++",
        "CUDA_HOME": str(other),
    }
    for name, value in leaks.items():
        clean.env[name] = value
        report = clean.names("activate-var-leak", level="static")
        assert name in report.findings[0].seen
        assert report.passed
    clean.env |= {name: value.replace(str(other), "/usr") for name, value in leaks.items()}
    del clean.env["CUDA_HOME"]
    clean.is_healthy(level="static")


def test_variables_of_this_environment(clean: Situation) -> None:
    clean.env |= {"CFLAGS": f"-I{clean.prefix}/include", "LDFLAGS": f"-L{clean.prefix}/lib"}
    clean.is_healthy(level="static")


@covers("mkl-threading-layer")
def test_mkl_is_told_to_use_intels_openmp(clean: Situation) -> None:
    clean.add_package("mkl", "2023.1.0")
    clean.add_package("mkl-service", "2.4.0")
    clean.is_healthy(level="static")
    clean.env["MKL_THREADING_LAYER"] = "INTEL"
    clean.names("mkl-threading-layer", level="static")
    clean.env["MKL_THREADING_LAYER"] = "GNU"
    clean.is_healthy(level="static")


def test_mkl_without_its_service(clean: Situation) -> None:
    """Nothing looks at the variable before MKL does."""
    clean.add_package("mkl", "2023.1.0")
    clean.env["MKL_THREADING_LAYER"] = "INTEL"
    clean.is_healthy(level="static")


@covers("alloc-conf-invalid")
@pytest.mark.parametrize(
    ("variable", "value", "word"),
    [
        ("PYTORCH_CUDA_ALLOC_CONF", "expandable_segment:True", "did you mean"),
        ("PYTORCH_CUDA_ALLOC_CONF", "per_process_memory_fraction:0.5", "torch 2.10"),
        ("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:true", "`True`"),
        ("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb=128", "`max_split_size_mb:128` would be"),
        ("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:8", "at least 20"),
        ("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:", "no value"),
        ("PYTORCH_ALLOC_CONF", "expandable_segments:True", "does not read"),
    ],
)
def test_allocator_options(clean: Situation, variable: str, value: str, word: str) -> None:
    clean.env[variable] = value
    report = clean.names("alloc-conf-invalid", level="static")
    [finding] = report.findings
    assert word in finding.message


@pytest.mark.parametrize(
    "value",
    [
        "",
        "expandable_segments:True",
        " max_split_size_mb: 512, garbage_collection_threshold:0.8 ",
        "backend:cudaMallocAsync",
        "roundup_power2_divisions:[256:1,512:2,>:4],expandable_segments:False,",
    ],
)
def test_allocator_options_that_are_right(clean: Situation, value: str) -> None:
    clean.env["PYTORCH_CUDA_ALLOC_CONF"] = value
    clean.is_healthy(level="static")


@covers("illegal-instruction")
def test_a_package_for_newer_processors(clean: Situation) -> None:
    cpuinfo = (clean.root / "proc/cpuinfo").read_text()
    clean.add_package("_x86_64-microarch-level", "4", "3_x86_64_v4")
    clean.is_healthy(level="static")
    without = " ".join(word for word in cpuinfo.split(" ") if not word.startswith("avx512"))
    clean.write("proc/cpuinfo", f"{without}\n")
    report = clean.names("illegal-instruction", level="static")
    assert "v4" in report.findings[0].message
    assert "v3" in report.findings[0].message


def test_a_marker_higher_than_what_is_needed(clean: Situation) -> None:
    """Solved on a newer machine, for packages that ask for less."""
    clean.add_package("_x86_64-microarch-level", "4", "3_zen4")
    clean.add_package("fast", "1.0", depends=["_x86_64-microarch-level >=3"])
    cpuinfo = (clean.root / "proc/cpuinfo").read_text()
    clean.write("proc/cpuinfo", cpuinfo.replace("avx512", "other512"))
    clean.is_healthy(level="static")

    clean.write("proc/cpuinfo", cpuinfo.replace(" bmi2", "").replace("avx512", "other512"))
    report = clean.names("illegal-instruction", level="static")
    assert "fast" in report.findings[0].message


@pytest.mark.parametrize(("missing", "passes"), [(" avx2", True), (" avx ", False)])
def test_a_processor_that_torch_is_not_built_for(
    clean: Situation, missing: str, passes: bool
) -> None:
    cpuinfo = (clean.root / "proc/cpuinfo").read_text()
    clean.write("proc/cpuinfo", cpuinfo.replace(missing, " "))
    assert clean.names("illegal-instruction", level="static").passed is passes


def test_an_import_that_ends_by_an_illegal_instruction(clean: Situation) -> None:
    init = clean.site / "torch" / "__init__.py"
    ending = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"
    init.write_text(ending)
    report = clean.verify(level="import")
    told = [item.check for item in report.findings if item.check != "files-unlike-recorded"]
    assert told[0] == "illegal-instruction"
    assert "torch-import-fails" not in told


def test_a_processor_of_another_kind(clean: Situation) -> None:
    """It names no flags: nothing is claimed."""
    clean.write("proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd sve\n")
    clean.is_healthy(level="static")


# --- the tools that compile -----------------------------------------------------------------


@covers("triton-libcuda-not-found")
def test_triton_does_not_find_libcuda(clean: Situation, tmp_path: Path) -> None:
    add_triton(clean)
    clean.is_healthy(level="static")

    clean.env["TRITON_LIBCUDA_PATH"] = str(tmp_path / "nowhere")
    clean.names("triton-libcuda-not-found", level="static")
    clean.env["TRITON_LIBCUDA_PATH"] = str(library_folder())
    clean.is_healthy(level="static")


def test_the_loaders_cache_is_older_than_the_driver(clean: Situation) -> None:
    """Where it lists a libcuda, Triton does not look at LD_LIBRARY_PATH."""
    add_triton(clean)
    there = "/usr/lib/x86_64-linux-gnu/libcuda.so.1"
    clean.write("etc/ld.so.cache", ld_cache({"libcuda.so.1": "/usr/lib/gone/libcuda.so.1"}))
    assert "triton-libcuda-not-found" in _ids(clean.verify(level="static"))
    clean.write("etc/ld.so.cache", ld_cache({"libcuda.so.1": there, "libc.so.6": "/lib/libc.so"}))
    assert "triton-libcuda-not-found" not in _ids(clean.verify(level="static"))


def test_an_old_triton_wants_the_name_without_a_number(clean: Situation) -> None:
    clean.add_wheel("triton", "2.1.0", files={"triton/__init__.py": ""})
    there = "/usr/lib/x86_64-linux-gnu/libcuda.so.1"
    clean.write("etc/ld.so.cache", ld_cache({"libcuda.so.1": there}))
    assert "triton-libcuda-not-found" in _ids(clean.verify(level="static"))

    (clean.root / "usr/lib/x86_64-linux-gnu/libcuda.so").symlink_to("libcuda.so.1")
    assert "triton-libcuda-not-found" not in _ids(clean.verify(level="static"))


@covers("python-headers-missing")
def test_no_python_header(clean: Situation) -> None:
    add_triton(clean)
    header = clean.prefix / f"include/python{SERIES}/Python.h"
    header.rename(header.with_name("Python.h.hidden"))
    clean.names("python-headers-missing", level="static", beside=["truncated-library"])


def test_no_cuda_header(clean: Situation) -> None:
    add_triton(clean, header=False)
    clean.names("python-headers-missing", level="static")
    clean.add_files({"targets/x86_64-linux/include/cuda.h": "#define CUDA_VERSION 12060\n"})
    clean.is_healthy(level="static")


@covers("no-c-compiler")
def test_no_compiler(clean: Situation, tmp_path: Path) -> None:
    add_triton(clean)
    clean.env["PATH"] = str(tmp_path)
    clean.names("no-c-compiler", level="static")
    script(clean.prefix / "bin" / "x86_64-conda-linux-gnu-gcc", "exit 0")
    clean.is_healthy(level="static")

    clean.env["CC"] = "/gone/bin/gcc"
    clean.names("no-c-compiler", level="static")
    clean.no_gpu()
    clean.is_healthy(level="static")


OLD_PTXAS = """
case "$*" in
*--version*) echo "Cuda compilation tools, release 12.6, V12.6.85" ;;
*sm_12*) echo "ptxas fatal   : Value 'sm_120a' is not defined for option 'gpu-name'" >&2; exit 1 ;;
*) while [ "$1" != -o ]; do shift; done; echo code > "$2" ;;
esac
"""


@covers("ptxas-too-old")
def test_a_ptxas_that_does_not_know_the_gpu(clean: Situation, tmp_path: Path) -> None:
    backend = add_triton(clean)
    script(backend / "bin" / "ptxas", OLD_PTXAS)
    clean.is_healthy()
    clean.driver(gpus=[RTX_5090])
    assert "ptxas-too-old" in _ids(clean.verify())

    # what TRITON_PTXAS_PATH names is taken instead, for the good and for the bad
    knows = script(tmp_path / "new" / "ptxas", OLD_PTXAS.replace("sm_12", "none"))
    clean.env["TRITON_PTXAS_PATH"] = str(knows)
    assert "ptxas-too-old" not in _ids(clean.verify())


def test_a_ptxas_that_only_tells_its_age(clean: Situation) -> None:
    backend = add_triton(clean)
    script(backend / "bin" / "ptxas", 'echo "Cuda compilation tools, release 11.4, V11.4.120"')
    clean.names("ptxas-too-old")
    (backend / "bin" / "ptxas").write_text("#!/bin/sh\necho release 12.8\n")
    clean.is_healthy()


def test_ptxas_for_new_gpus_only(clean: Situation) -> None:
    """Triton 3.6 brings two; the older one does not matter to a Blackwell."""
    backend = add_triton(clean)
    script(backend / "bin" / "ptxas", OLD_PTXAS)
    script(backend / "bin" / "ptxas-blackwell", OLD_PTXAS.replace("sm_12", "none"))
    clean.driver(gpus=[RTX_5090])
    assert "ptxas-too-old" not in _ids(clean.verify())


@covers("inductor-cache-perm")
@pytest.mark.parametrize(
    ("variable", "use"),
    [
        ("TORCHINDUCTOR_CACHE_DIR", "torch.compile"),
        ("TRITON_CACHE_DIR", "Triton"),
        ("TORCH_EXTENSIONS_DIR", "extensions"),
    ],
)
def test_a_cache_that_cannot_be_written(
    clean: Situation, tmp_path: Path, variable: str, use: str
) -> None:
    add_triton(clean)
    folder = tmp_path / "cache"
    folder.mkdir()
    clean.env[variable] = str(folder)
    clean.is_healthy(level="static")
    folder.chmod(0o555)
    try:
        report = clean.names("inductor-cache-perm", level="static")
    finally:
        folder.chmod(0o755)
    assert use in report.findings[0].message


def test_a_default_cache_that_cannot_be_written(clean: Situation) -> None:
    folder = clean.root / "tmp" / "torchinductor_ada"
    folder.mkdir(parents=True)
    clean.is_healthy(level="static")
    folder.chmod(0o555)
    report = clean.names("inductor-cache-perm", level="static")
    assert "torchinductor_ada:" in report.findings[0].message


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives folders away")
def test_a_default_cache_of_another_user(clean: Situation) -> None:
    folder = clean.root / "tmp" / "torchinductor_ada"
    folder.mkdir(parents=True)
    os.chown(folder, 4242, 4242)
    report = clean.names("inductor-cache-perm", level="static")
    assert "4242" in report.findings[0].message


def test_a_file_in_the_way_of_a_cache(clean: Situation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    clean.env["TORCHINDUCTOR_CACHE_DIR"] = f"{tmp_path}/file/cache"
    clean.names("inductor-cache-perm", level="static")


ROOT_MOUNT = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"


@covers("tmp-noexec")
def test_a_cache_that_no_library_is_loaded_from(clean: Situation) -> None:
    mount = "40 22 0:35 / /tmp rw,nosuid,nodev,noexec shared:9 - tmpfs tmpfs rw\n"
    clean.write("proc/self/mountinfo", ROOT_MOUNT + mount.replace(",noexec", ""))
    clean.is_healthy(level="static")
    clean.write("proc/self/mountinfo", ROOT_MOUNT + mount)
    report = clean.names("tmp-noexec", level="static")
    assert "torchinductor_ada:" in report.findings[0].message


def test_a_cache_on_a_read_only_mount(clean: Situation) -> None:
    clean.env["TORCHINDUCTOR_CACHE_DIR"] = "/scratch/me"
    mount = "41 22 0:36 / /scratch ro,relatime shared:9 - nfs4 server:/scratch rw\n"
    clean.write("proc/self/mountinfo", ROOT_MOUNT + mount)
    clean.names("inductor-cache-perm", level="static")


@covers("cuda-home-mismatch")
def test_a_toolkit_of_another_cuda(clean: Situation, tmp_path: Path) -> None:
    home = tmp_path / "cuda"
    nvcc = script(home / "bin" / "nvcc", 'echo "Cuda compilation tools, release 11.8, V11.8.89"')
    clean.env["CUDA_HOME"] = str(home)
    clean.names("cuda-home-mismatch", level="static")
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 12.6, V12.6.85'\n")
    clean.is_healthy(level="static")
    (home / "version.json").write_text('{"cuda": {"name": "CUDA SDK", "version": "12.3.20231016"}}')
    clean.names("cuda-home-mismatch", level="static")


def test_cuda_home_leads_nowhere(clean: Situation, tmp_path: Path) -> None:
    clean.env["CUDA_HOME"] = str(tmp_path / "gone")
    clean.names("cuda-home-mismatch", level="static")


def test_nvcc_on_path(clean: Situation, tmp_path: Path) -> None:
    """Unless it is the system's, which nobody chose for this environment."""
    nvcc = script(tmp_path / "bin" / "nvcc", "echo release 11.8")
    clean.env["PATH"] = f"{nvcc.parent}:{clean.env['PATH']}"
    clean.names("cuda-home-mismatch", level="static")
    nvcc.write_text("#!/bin/sh\necho release 12.6\n")
    clean.is_healthy(level="static")


# --- healthy --------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["static", "import"])
def test_an_ordinary_shell(clean: Situation, level: str) -> None:
    """Home, PATH, language and terminal; Triton with all it needs."""
    backend = add_triton(clean)
    script(backend / "bin" / "ptxas", OLD_PTXAS)
    driver = {name: value for name, value in clean.env.items() if name.startswith(("STUB_", "LD_"))}
    home, path = clean.env["HOME"], clean.env["PATH"]
    clean.env = {**driver, "HOME": home, "PATH": path, "LANG": "C.UTF-8", "TERM": "xterm"}
    clean.is_healthy(level=level)


def _ids(report: Report) -> list[str]:
    return [item.check for item in report.findings]
