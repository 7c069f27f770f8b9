"""Libraries that are missing, mixed, shadowed or of another build: real ELF files, by gcc.

Where a test runs at level import the real loader has its say too: what was foreseen happens.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes.situation import Situation, compile_library, covers

RUNPATH = "-Wl,-rpath,$ORIGIN,--enable-new-dtags"
RPATH = "-Wl,-rpath,$ORIGIN,--disable-new-dtags"
CUDNN = "libcudnn.so.9 { global: *; };"
TORCH_CUDA = """
unsigned long cudnnGetVersion(void);
int cusparseCreate(void);
int cublasCreate_v2(void);
unsigned long torch_cudnn(void) { return cudnnGetVersion(); }
int torch_sparse(void) { return cusparseCreate() + cublasCreate_v2(); }
"""


def library(folder: Path, name: str, source: str = "", **how: object) -> Path:
    """A small shared object."""
    return compile_library(folder / name, source, **how)  # type: ignore[arg-type]


def with_runpath(situation: Situation) -> Path:
    """torch and the CUDA libraries with DT_RUNPATH, as older wheels have it: variables win."""
    lib = situation.prefix / "lib"
    library(
        lib,
        "libcusparse.so.12",
        "int __nvJitLinkAddData_12_6(void);\n"
        "int cusparseCreate(void) { return __nvJitLinkAddData_12_6(); }",
        needed=[lib / "libnvJitLink.so.12"],
        flags=[RUNPATH],
    )
    library(
        lib,
        "libcublas.so.12",
        "int cublasLtCreate(void);\nint cublasCreate_v2(void) { return cublasLtCreate(); }",
        needed=[lib / "libcublasLt.so.12"],
        flags=[RUNPATH],
    )
    names = ("c10_cuda", "torch_cpu", "cudart", "cudnn", "cublas", "cusparse", "nccl")
    numbers = {"c10_cuda": "", "torch_cpu": "", "cudnn": ".9", "nccl": ".2"}
    needed = [lib / f"lib{name}.so{numbers.get(name, '.12')}" for name in names]
    library(lib, "libtorch_cuda.so", TORCH_CUDA, needed=needed, flags=[RUNPATH])
    for package in ("libcusparse", "libcublas", "libtorch"):
        situation.rerecord(package)
    return lib


def search(situation: Situation, *folders: Path) -> None:
    """Put folders before what LD_LIBRARY_PATH holds."""
    old = situation.env.get("LD_LIBRARY_PATH")
    situation.env["LD_LIBRARY_PATH"] = ":".join([*map(str, folders), *([old] if old else [])])


def forget(situation: Situation, package: str, name: str) -> None:
    """The package never had this file: it is not damage that it is gone."""
    [path] = situation.prefix.glob(f"conda-meta/{package}-[0-9]*.json")
    record = json.loads(path.read_text())
    record["files"] = [item for item in record["files"] if item != f"lib/{name}"]
    path.write_text(json.dumps(record))
    situation.rerecord(package)


def relocked(situation: Situation, package: str, *files: Path) -> None:
    """Files were replaced, and the package's record says so."""
    assert all(item.exists() for item in files)
    situation.rerecord(package)


# --- cuDNN ----------------------------------------------------------------------------------


def old_cudnn(folder: Path) -> Path:
    return library(
        folder,
        "libcudnn.so.9",
        "unsigned long cudnnGetVersion(void) { return 90100; }",
        versions=CUDNN,
    )


@covers("cudnn-older-than-built")
@pytest.mark.parametrize("level", ["static", "import"])
def test_an_older_cudnn_on_the_search_path(
    situation: Situation, tmp_path: Path, level: str
) -> None:
    """It wins over a RUNPATH, and is asked for its version in a child."""
    with_runpath(situation)
    old_cudnn(tmp_path / "toolkit")
    search(situation, tmp_path / "toolkit")

    report = situation.names("cudnn-older-than-built", level=level)

    [finding] = report.findings
    assert "9.1.0" in finding.message
    assert "9.10.2" in finding.message
    assert finding.remedy.startswith("unset LD_LIBRARY_PATH")


@pytest.mark.parametrize("level", ["static", "import"])
def test_builds_with_rpath_do_not_see_it(situation: Situation, tmp_path: Path, level: str) -> None:
    """DT_RPATH goes before the variable: nothing is wrong."""
    old_cudnn(tmp_path / "toolkit")
    search(situation, tmp_path / "toolkit")

    situation.is_healthy(level=level)


def test_the_version_may_stand_in_the_files_name(situation: Situation, tmp_path: Path) -> None:
    """As distributions install it; the file need not even be a library that works."""
    with_runpath(situation)
    real = library(tmp_path, "libcudnn.so.9.1.0", versions=CUDNN, soname="libcudnn.so.9")
    (tmp_path / "libcudnn.so.9").symlink_to(real.name)
    search(situation, tmp_path)

    situation.names("cudnn-older-than-built", level="static")


@covers("ld-preload-leak")
@pytest.mark.parametrize("level", ["static", "import"])
def test_a_preloaded_cudnn(situation: Situation, tmp_path: Path, level: str) -> None:
    """LD_PRELOAD goes before every search path, DT_RPATH too."""
    situation.env["LD_PRELOAD"] = str(old_cudnn(tmp_path))

    situation.names("ld-preload-leak", level=level)


def test_a_preloaded_cudnn_that_lacks_what_torch_wants(
    situation: Situation, tmp_path: Path
) -> None:
    """What it breaks besides is no finding of its own."""
    hack = library(tmp_path, "libcudnn.so.9", "int other;", versions=CUDNN)
    situation.env["LD_PRELOAD"] = str(hack)

    situation.names("ld-preload-leak", level="static")


def test_a_preloaded_library_of_another_kind(situation: Situation, tmp_path: Path) -> None:
    """An allocator, or a file that is not there, replaces nothing."""
    allocator = library(tmp_path, "libjemalloc.so.2", "int mallctl_of_ours;")
    situation.env["LD_PRELOAD"] = f"{allocator} /gone/libfoo.so"

    situation.is_healthy(level="static")


def test_a_preloaded_library_under_another_name(situation: Situation, tmp_path: Path) -> None:
    """The soname counts, not the file's name."""
    hack = library(
        tmp_path,
        "fix.so",
        "unsigned long cudnnGetVersion(void) { return 91002; }",
        soname="libcudnn.so.9",
        versions=CUDNN,
    )
    situation.env["LD_PRELOAD"] = str(hack)

    situation.names("ld-preload-leak", level="static")


@covers("library-shadowed")
@pytest.mark.parametrize("level", ["static", "import"])
def test_a_newer_cudnn_from_outside(situation: Situation, tmp_path: Path, level: str) -> None:
    """It would do, but it is not what was locked."""
    with_runpath(situation)
    library(
        tmp_path,
        "libcudnn.so.9",
        "unsigned long cudnnGetVersion(void) { return 92000; }",
        versions=CUDNN,
    )
    for part in ("ops", "cnn", "adv", "graph", "heuristic", "engines_precompiled"):
        library(tmp_path, f"libcudnn_{part}.so.9")
    search(situation, tmp_path)

    situation.names("library-shadowed", level=level)


@covers("cudnn-sublibrary-mix")
def test_a_sublibrary_from_elsewhere(situation: Situation, tmp_path: Path) -> None:
    """The package lacks one, and a folder of LD_LIBRARY_PATH has it."""
    (situation.prefix / "lib" / "libcudnn_cnn.so.9").unlink()
    forget(situation, "libcudnn", "libcudnn_cnn.so.9")
    library(tmp_path, "libcudnn_cnn.so.9")
    search(situation, tmp_path)

    report = situation.names("cudnn-sublibrary-mix", level="static")

    assert str(tmp_path) in report.findings[0].message


def test_a_sublibrary_that_is_nowhere(situation: Situation) -> None:
    """An incomplete package."""
    (situation.prefix / "lib" / "libcudnn_cnn.so.9").unlink()
    forget(situation, "libcudnn", "libcudnn_cnn.so.9")

    situation.names("cudnn-sublibrary-mix", level="static")


def test_the_link_of_cudnn_is_gone(situation: Situation) -> None:
    """Its file is there, under a name that nobody asks for: of the same major."""
    lib = situation.prefix / "lib"
    (lib / "libcudnn.so.9").rename(lib / "libcudnn.so.9.10.2")
    forget(situation, "libcudnn", "libcudnn.so.9")

    situation.names("missing-cuda-lib", level="static")


@covers("cudnn-major-8-vs-9")
def test_an_extension_wants_cudnn_8(situation: Situation, tmp_path: Path) -> None:
    """By DT_NEEDED."""
    eight = library(tmp_path, "libcudnn.so.8", "int cudnn8;")
    path = situation.site / "fastasr" / f"_ext.cpython-{tag()}.so"
    library(path.parent, path.name, "int PyInit__ext;", needed=[eight])
    situation.add_wheel("fastasr", "1.0", files={f"fastasr/{path.name}": path})

    report = situation.names("cudnn-major-8-vs-9", level="import")

    assert "fastasr" in report.findings[0].message


@pytest.mark.parametrize("has_both", [False, True])
def test_an_engine_that_its_package_opens_wants_cudnn_8(
    situation: Situation, tmp_path: Path, has_both: bool
) -> None:
    """A plug-in is no module; one of two builds that are chosen from harms nobody."""
    eight = library(tmp_path, "libcudnn.so.8", "int cudnn8;")
    names = ["libengine_cuda11.so", "libengine_cuda12.so"] if has_both else ["libengine.so"]
    paths = [
        library(situation.site / "asr" / "lib", name, "int run;", needed=[eight]) for name in names
    ]
    situation.add_wheel("asr", "1.0", files={f"asr/lib/{path.name}": path for path in paths})

    if has_both:
        situation.is_healthy(level="import")
    else:
        situation.names("cudnn-major-8-vs-9", level="import")


@pytest.mark.parametrize(
    ("opened", "healthy"), [("libcudnn_ops_infer.so.8", False), ("libcudnn_ops.so.9", True)]
)
def test_an_engine_that_opens_cudnn_by_name(
    situation: Situation, opened: str, healthy: bool
) -> None:
    """ctranslate2 has the name in its library; torch brings cuDNN 9."""
    path = situation.site / "ctranslate2.libs" / "libctranslate2-bc15bf3f.so.4.4.0"
    library(path.parent, path.name, f'const char *cudnn = "{opened}";')
    situation.add_wheel("ctranslate2", "4.4.0", files={f"ctranslate2.libs/{path.name}": path})

    if healthy:
        situation.is_healthy(level="static")
    else:
        situation.names("cudnn-major-8-vs-9", level="static")


# --- symbols --------------------------------------------------------------------------------


@covers("nvjitlink-symbol")
@pytest.mark.parametrize("level", ["static", "import"])
def test_an_older_nvjitlink_on_the_search_path(
    situation: Situation, tmp_path: Path, level: str
) -> None:
    """Same name, same version, and the symbol is not in it."""
    with_runpath(situation)
    library(
        tmp_path,
        "libnvJitLink.so.12",
        "int __nvJitLinkAddData_12_0(void) { return 0; }",
        versions="libnvJitLink.so.12 { global: *; };",
    )
    search(situation, tmp_path)

    report = situation.names("nvjitlink-symbol", level=level)

    assert report.findings[0].remedy == "unset LD_LIBRARY_PATH"
    assert "__nvJitLinkAddData_12_6" in report.findings[0].message


def test_an_older_nvjitlink_in_the_environment(situation: Situation) -> None:
    """A package that was replaced: no variable is to blame."""
    path = library(
        situation.prefix / "lib",
        "libnvJitLink.so.12",
        "int __nvJitLinkAddData_12_0(void) { return 0; }",
        versions="libnvJitLink.so.12 { global: *; };",
    )
    relocked(situation, "libnvjitlink", path)

    report = situation.names("nvjitlink-symbol", level="import")

    assert report.findings[0].remedy.startswith("envforge install")


@covers("cublaslt-symbol")
@pytest.mark.parametrize("versions", ["libcublasLt.so.12 { global: *; };", None])
def test_another_toolkits_cublaslt(
    situation: Situation, tmp_path: Path, versions: str | None
) -> None:
    """With symbol versions, and without."""
    with_runpath(situation)
    library(tmp_path, "libcublasLt.so.12", "int cublasLtOld(void) { return 0; }", versions=versions)
    search(situation, tmp_path)

    situation.names("cublaslt-symbol", level="import")


@covers("mkl-ijit")
def test_mkl_without_the_profilers_symbol(situation: Situation) -> None:
    """libtorch_cpu takes it from MKL, and MKL no longer has it."""
    lib = situation.prefix / "lib"
    mkl = library(lib, "libmkl_intel_lp64.so.2", "int mkl_lp64;")
    library(
        lib,
        "libtorch_cpu.so",
        "int iJIT_NotifyEvent(void);\nint _ZN2at4onesEv(void) { return iJIT_NotifyEvent(); }",
        needed=[lib / "libc10.so", mkl],
        flags=[RPATH],
    )
    relocked(situation, "libtorch", mkl)
    situation.add_package("mkl", "2024.2.0", files={"lib/libmkl_intel_lp64.so.2": mkl})

    situation.names("mkl-ijit", level="import")


@covers("mkl-ijit")
@pytest.mark.parametrize(
    ("torch", "mkl", "broken"),
    [("2.1.0", "2024.1.0", True), ("2.1.0", "2024.0.0", False), ("2.3.0", "2024.1.0", False)],
)
def test_mkl_by_records(situation: Situation, torch: str, mkl: str, broken: bool) -> None:
    """A build of the pytorch channel, whose library here does not tell what it takes from MKL."""
    (situation.prefix / "conda-meta/envforge-install").unlink()
    [record] = (situation.prefix / "conda-meta").glob("pytorch-*.json")
    fields = json.loads(record.read_text())
    fields |= {"version": torch, "build": "py3.11_cuda12.6_cudnn9.10.2_0", "channel": "pytorch"}
    record.write_text(json.dumps(fields))
    situation.add_package("mkl", mkl)

    [report] = situation.forge().verify(prefix=situation.prefix, level="static")

    assert [item.check for item in report.findings] == (["mkl-ijit"] if broken else [])


def test_mkl_with_the_profilers_symbol(situation: Situation) -> None:
    """The healthy twin."""
    lib = situation.prefix / "lib"
    mkl = library(lib, "libmkl_intel_thread.so.2", "int iJIT_NotifyEvent(void) { return 0; }")
    library(
        lib,
        "libtorch_cpu.so",
        "int iJIT_NotifyEvent(void);\nint _ZN2at4onesEv(void) { return iJIT_NotifyEvent(); }",
        needed=[lib / "libc10.so", mkl],
        flags=[RPATH],
    )
    relocked(situation, "libtorch", mkl)
    situation.add_package("mkl", "2024.0.0", files={"lib/libmkl_intel_thread.so.2": mkl})

    situation.is_healthy(level="import")


def cxx(folder: Path, newest: int) -> Path:
    """A libstdc++ up to one version."""
    versions = "".join(f"GLIBCXX_3.4.{n} {{ global: new_{n}; }};\n" for n in (20, newest))
    source = "".join(f"int new_{n}(void) {{ return 0; }}\n" for n in (20, newest))
    return library(folder, "libstdc++.so.6", source, versions=versions)


def uses_cxx(situation: Situation, newest: int, flag: str) -> None:
    """libtorch_cpu is linked with the environment's own libstdc++."""
    lib = situation.prefix / "lib"
    own = cxx(lib, newest)
    library(
        lib,
        "libtorch_cpu.so",
        f"int new_{newest}(void);\nint _ZN2at4onesEv(void) {{ return new_{newest}(); }}",
        needed=[lib / "libc10.so", own],
        flags=[flag],
    )
    relocked(situation, "libtorch", own)
    situation.add_package("libstdcxx", "14.2.0", files={"lib/libstdc++.so.6": own})


@covers("glibcxx-too-old")
@pytest.mark.parametrize("level", ["static", "import"])
def test_an_old_libstdcxx_on_the_search_path(
    situation: Situation, tmp_path: Path, level: str
) -> None:
    """The version that torch asks for is not in the one that is found first."""
    uses_cxx(situation, 30, RUNPATH)
    cxx(tmp_path, 22)
    search(situation, tmp_path)

    report = situation.names("glibcxx-too-old", level=level)

    assert "GLIBCXX_3.4.30" in report.findings[0].message
    assert "GLIBCXX_3.4.22" in report.findings[0].seen
    assert report.findings[0].remedy == "unset LD_LIBRARY_PATH"


def test_a_new_libstdcxx_that_is_found(situation: Situation, tmp_path: Path) -> None:
    """DT_RPATH: the variable has no say."""
    uses_cxx(situation, 30, RPATH)
    cxx(tmp_path, 22)
    search(situation, tmp_path)

    situation.is_healthy(level="import")


def test_an_extension_newer_than_the_environments_libstdcxx(
    situation: Situation, tmp_path: Path
) -> None:
    """Built with the system's compiler."""
    uses_cxx(situation, 22, RPATH)
    newer = cxx(tmp_path, 32)
    path = situation.site / "fastop" / f"_ext.cpython-{tag()}.so"
    up = "-Wl,-rpath,$ORIGIN/../../../,--disable-new-dtags"
    library(
        path.parent,
        path.name,
        "int new_32(void);\nint PyInit__ext(void) { return new_32(); }",
        needed=[newer],
        flags=[up],
    )
    situation.add_wheel("fastop", "1.0", files={f"fastop/{path.name}": path})

    report = situation.names("glibcxx-too-old", level="import")

    assert "_ext" in report.findings[0].message


@covers("openssl-clash")
def test_another_openssl_on_the_search_path(situation: Situation, tmp_path: Path) -> None:
    """Python's ssl module finds one that is older than the one it was built with."""
    lib = situation.prefix / "lib"
    versions = "OPENSSL_3.0.0 {{ global: old; }};\nOPENSSL_3.3.0 {{ global: {}; }};\n"
    own = library(
        lib,
        "libcrypto.so.3",
        "int old(void) { return 0; }\nint fresh(void) { return 0; }",
        versions=versions.format("fresh"),
    )
    python = next(lib.glob("python3.*"))
    dynload = python / "lib-dynload"
    names = [item.name for item in dynload.iterdir()]
    real = dynload.resolve()
    dynload.unlink()
    dynload.mkdir()
    ours = f"_ssl.cpython-{tag()}.so"
    for name in names:
        if not name.startswith("_ssl."):
            (dynload / name).symlink_to(real / name)
    library(
        dynload,
        ours,
        "int fresh(void);\nint PyInit__ssl(void) { return fresh(); }",
        needed=[own],
        flags=["-Wl,-rpath,$ORIGIN/../..,--enable-new-dtags"],
    )
    situation.add_package("openssl", "3.3.2", files={"lib/libcrypto.so.3": own})
    situation.is_healthy(level="static")

    library(
        tmp_path,
        "libcrypto.so.3",
        "int old(void) { return 0; }",
        versions="OPENSSL_3.0.0 { global: old; };",
    )
    search(situation, tmp_path)
    situation.names("openssl-clash", level="static")


def test_the_link_of_libstdcxx_is_gone(situation: Situation) -> None:
    """The file is there under its full name only, and the system's older one is found."""
    uses_cxx(situation, 30, RPATH)
    lib = situation.prefix / "lib"
    (lib / "libstdc++.so.6").rename(lib / "libstdc++.so.6.0.33")
    forget(situation, "libstdcxx", "libstdc++.so.6")
    system = cxx(situation.base / "system", 22)
    situation.write("usr/lib/x86_64-linux-gnu/libstdc++.so.6", system.read_bytes())

    report = situation.names("glibcxx-too-old", level="static")

    remedy = report.findings[0].remedy
    assert remedy == f"ln -s libstdc++.so.6.0.33 {lib}/libstdc++.so.6"


def test_the_environments_openssl_leaks_into_the_system(situation: Situation) -> None:
    """LD_LIBRARY_PATH leads the system's programs to it, and they need another."""
    versions = "OPENSSL_3.0.0 {{ global: old; }};\nOPENSSL_3.0.9 {{ global: {}; }};\n"
    source = "int old(void) { return 0; }\nint fresh(void) { return 0; }"
    host = situation.base / "host"
    crypto = library(host, "libcrypto.so.3", source, versions=versions.format("fresh"))
    ssl = library(
        host,
        "libssl.so.3",
        "int fresh(void);\nint tls(void) { return fresh(); }",
        needed=[crypto],
    )
    for path in (crypto, ssl):
        situation.write(f"usr/lib/x86_64-linux-gnu/{path.name}", path.read_bytes())
    own = library(
        situation.prefix / "lib",
        "libcrypto.so.3",
        "int old(void) { return 0; }",
        versions="OPENSSL_3.0.0 { global: old; };",
    )
    situation.add_package("openssl", "3.0.2", files={"lib/libcrypto.so.3": own})
    next(situation.prefix.glob("lib/python3.*/lib-dynload")).unlink()
    situation.is_healthy(level="static")

    search(situation, situation.prefix / "lib")
    report = situation.names("openssl-clash", level="static")

    assert "/usr/lib/x86_64-linux-gnu/libssl.so.3" in report.findings[0].seen


@pytest.mark.parametrize("place", ["conda-meta/state", "etc/conda/activate.d/env_vars.sh"])
def test_a_variable_that_activation_sets(situation: Situation, place: str) -> None:
    """Stored by `conda env config vars set`, or in a script as many a guide has it."""
    with_runpath(situation)
    old_cudnn(situation.base / "toolkit")
    folder = situation.base / "toolkit"
    script = f'export LD_LIBRARY_PATH="$CONDA_PREFIX/share:{folder}:${{LD_LIBRARY_PATH}}:$(x)"\n'
    state = json.dumps({"env_vars": {"LD_LIBRARY_PATH": str(folder)}})
    situation.add_files({place: state if place.endswith("state") else script})
    situation.no_gpu()

    situation.names("cudnn-older-than-built", level="static")


@covers("symbol-version-missing")
def test_a_version_of_any_other_library(situation: Situation, tmp_path: Path) -> None:
    """The generic case: a codec."""
    own = library(
        situation.prefix / "lib",
        "libcodec.so.1",
        "int a(void) { return 0; }\nint b(void) { return 0; }",
        versions="CODEC_1 { global: a; };\nCODEC_2 { global: b; };",
    )
    path = situation.site / "video" / f"_ext.cpython-{tag()}.so"
    library(
        path.parent,
        path.name,
        "int b(void);\nint PyInit__ext(void) { return b(); }",
        needed=[own],
        flags=["-Wl,-rpath,$ORIGIN/../../..,--enable-new-dtags"],
    )
    situation.add_package("codec", "2.0", files={"lib/libcodec.so.1": own})
    situation.add_wheel("video", "1.0", files={f"video/{path.name}": path})
    situation.is_healthy(level="import")

    library(tmp_path, "libcodec.so.1", "int a(void) { return 0; }", versions="CODEC_1 {};")
    search(situation, tmp_path)
    situation.names("symbol-version-missing", level="import")


# --- libraries that are not found -----------------------------------------------------------


@covers("missing-cuda-lib")
@pytest.mark.parametrize("level", ["static", "import"])
def test_a_cuda_library_that_was_left_out(situation: Situation, level: str) -> None:
    """Its package is not there: nothing lies where the search path leads."""
    (situation.prefix / "lib" / "libcudart.so.12").unlink()
    forget(situation, "cuda-cudart", "libcudart.so.12")

    report = situation.names("missing-cuda-lib", level=level)

    assert "libcudart.so.12" in report.findings[0].message


def test_a_cuda_library_in_another_place(situation: Situation) -> None:
    """A split of lib and lib64: it is there, and no search path leads to it."""
    lib = situation.prefix / "lib"
    elsewhere = situation.prefix / "lib64" / next(lib.glob("python3.*")).name
    target = elsewhere / "site-packages" / "nvidia" / "cuda_runtime" / "lib"
    target.mkdir(parents=True)
    (lib / "libcudart.so.12").rename(target / "libcudart.so.12")
    forget(situation, "cuda-cudart", "libcudart.so.12")

    report = situation.names("missing-cuda-lib", level="static")

    assert "lib64" in report.findings[0].seen
    assert "LD_LIBRARY_PATH" in report.findings[0].remedy


def test_many_libraries_in_another_place_are_one_finding(situation: Situation) -> None:
    """And one command that helps all of them."""
    lib = situation.prefix / "lib"
    target = situation.prefix / "lib64" / next(lib.glob("python3.*")).name / "site-packages/nvidia"
    moved = {"cuda_runtime": "libcudart.so.12", "nccl": "libnccl.so.2"}
    for (folder, name), package in zip(moved.items(), ("cuda-cudart", "nccl"), strict=True):
        (target / folder / "lib").mkdir(parents=True)
        (lib / name).rename(target / folder / "lib" / name)
        forget(situation, package, name)

    [finding] = situation.names("missing-cuda-lib", level="static").findings

    assert "1 more" in finding.message
    assert all(f"/{folder}/lib" in finding.remedy for folder in moved)


def test_an_extension_for_another_cuda(situation: Situation, tmp_path: Path) -> None:
    """Linked with CUDA 11's runtime beside torch for CUDA 12."""
    eleven = library(tmp_path, "libcudart.so.11.0", "int cudart11;")
    extension(situation, "torch_sparse", needed=[eleven])

    report = situation.names("missing-cuda-lib", level="import")

    assert "torch-sparse" in report.findings[0].remedy


@covers("library-not-found")
def test_a_system_library_that_is_not_there(situation: Situation, tmp_path: Path) -> None:
    """OpenCV in a container without X; only where the system's libraries are in sight."""
    gl = library(tmp_path, "libGLX_none.so.1", "int gl;")
    path = situation.site / "cv2" / "cv2.abi3.so"
    library(path.parent, path.name, "int PyInit_cv2;", needed=[gl])
    situation.add_wheel("opencv-python", "4.11.0.86", files={"cv2/cv2.abi3.so": path})
    next(situation.prefix.glob("lib/python3.*/lib-dynload")).unlink()  # it stands on the system's
    situation.is_healthy(level="static")

    many = {f"libx{number}.so.1": f"/usr/lib/libx{number}.so.1" for number in range(40)}
    situation.write("etc/ld.so.cache", loader_cache(many))
    report = situation.names("library-not-found", level="static")

    assert report.findings[0].severity == "warning"
    assert "libGLX_none.so.1" in report.findings[0].message


def loader_cache(entries: dict[str, str]) -> bytes:
    """An ld.so.cache in the newer format."""
    head = 48 + 24 * len(entries)
    table, strings = b"", b""
    for name, path in sorted(entries.items()):
        key = head + len(strings)
        strings += name.encode() + b"\0"
        value = head + len(strings)
        strings += path.encode() + b"\0"
        table += struct.pack("<iIIIQ", 0x0303, key, value, 0, 0)
    header = b"glibc-ld.so.cache1.1" + struct.pack("<II", len(entries), len(strings))
    return header.ljust(48, b"\0") + table + strings


@covers("missing-cuda-lib")
def test_libcublas_without_its_partner(situation: Situation) -> None:
    """None at all is no partner of another release."""
    (situation.prefix / "lib" / "libcublasLt.so.12").unlink()

    report = situation.names("missing-cuda-lib", level="static")

    assert "libcublasLt.so.12" in report.findings[0].message


@covers("nvrtc-builtins-missing")
@pytest.mark.parametrize("present", [None, "libnvrtc-builtins.so.12.1"])
def test_nvrtc_without_its_partner(situation: Situation, present: str | None) -> None:
    """Gone, or of another release."""
    old = situation.prefix / "lib" / "libnvrtc-builtins.so.12.6"
    if present:
        old.rename(old.with_name(present))
    else:
        old.unlink()
    forget(situation, "cuda-nvrtc", old.name)

    report = situation.names("nvrtc-builtins-missing", level="static")

    assert "libnvrtc-builtins.so.12.6" in report.findings[0].message


# --- MKL and OpenMP -------------------------------------------------------------------------


def mkl(situation: Situation, number: str, *kernels: str) -> None:
    """MKL's files, with some kernels."""
    lib = situation.prefix / "lib"
    names = ["libmkl_core", *(f"libmkl_{item}" for item in kernels)]
    files = {f"lib/{n}.so{number}": library(lib, f"{n}.so{number}", f"int {n};") for n in names}
    situation.add_package("mkl", "2024.0.0", files=files)  # type: ignore[arg-type]


@covers("mkl-dispatch-missing")
def test_mkl_without_its_kernels(situation: Situation) -> None:
    """After a partial update the kernels are those of another release."""
    mkl(situation, ".2", "avx2")
    for name in ("def", "avx512", "core", "avx2"):
        library(situation.prefix / "lib", f"libmkl_{name}.so.1")

    report = situation.names("mkl-dispatch-missing", level="static")

    assert "libmkl_def.so.2" in report.findings[0].message


def test_mkl_with_its_kernels(situation: Situation) -> None:
    """The healthy twin."""
    mkl(situation, ".2", "def", "avx2", "avx512", "mc3")

    situation.is_healthy(level="static")


def numpy_with(situation: Situation, *needed: Path) -> None:
    path = situation.site / "numpy" / "_core" / f"_multiarray_umath.cpython-{tag()}.so"
    up = "-Wl,-rpath,$ORIGIN/../../../..,--disable-new-dtags"
    library(path.parent, path.name, "int PyInit_x;", needed=needed, flags=[up])


def torch_with(situation: Situation, runtime: Path) -> None:
    lib = situation.prefix / "lib"
    library(
        lib,
        "libtorch_cpu.so",
        "int _ZN2at4onesEv(void) { return 0; }",
        needed=[lib / "libc10.so", runtime],
        flags=[RPATH],
    )
    situation.rerecord("libtorch")


@covers("two-openmp-runtimes")
def test_two_runtimes_that_refuse_each_other(situation: Situation) -> None:
    """torch brings LLVM's, numpy's MKL brings Intel's."""
    lib = situation.prefix / "lib"
    torch_with(situation, library(lib, "libomp.so.5", "int llvm_omp;"))
    numpy_with(situation, library(lib, "libiomp5.so", "int intel_omp;"))

    situation.names("two-openmp-runtimes", level="static")


@covers("two-openmp-runtimes")
def test_two_runtimes_that_nothing_is_linked_with(situation: Situation) -> None:
    """torch carries one to open it by name, and MKL its own."""
    library(situation.site / "torch/lib", "libomp.so", "int llvm_omp;")
    situation.is_healthy(level="static")
    library(situation.prefix / "lib", "libiomp5.so", "int intel_omp;")

    situation.names("two-openmp-runtimes", level="static")


def test_gnus_runtime_beside_another_is_common(situation: Situation) -> None:
    """torch bundles libgomp, MKL has Intel's: nothing is told, unless a variable hides it."""
    lib = situation.prefix / "lib"
    torch_with(situation, library(lib, "libgomp.so.1", "int gnu_omp;"))
    numpy_with(situation, library(lib, "libiomp5.so", "int intel_omp;"))
    situation.is_healthy(level="static")

    situation.env["KMP_DUPLICATE_LIB_OK"] = "TRUE"
    report = situation.names("two-openmp-runtimes", level="static")

    assert report.findings[0].remedy == "unset KMP_DUPLICATE_LIB_OK"


def test_one_runtime_under_two_names(situation: Situation) -> None:
    """conda-forge's libiomp5.so and libgomp.so.1 are links to LLVM's."""
    lib = situation.prefix / "lib"
    torch_with(situation, library(lib, "libomp.so", "int llvm_omp;"))
    (lib / "libiomp5.so").symlink_to("libomp.so")
    stub = library(situation.base / "stub", "libiomp5.so", "int x;")
    numpy_with(situation, stub)
    situation.env["KMP_DUPLICATE_LIB_OK"] = "TRUE"

    situation.is_healthy(level="static")


def as_aarch64(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[18:20] = struct.pack("<H", 183)
    path.write_bytes(data)


@covers("static-tls")
@pytest.mark.parametrize(("glibc", "healthy"), [(28, False), (35, True)])
def test_bundled_libgomp_on_an_old_arm_system(
    situation: Situation, glibc: int, healthy: bool
) -> None:
    """The files say aarch64, and the machine's C library is old: the reader goes by both."""
    libc = library(
        situation.base / "libc",
        "libc.so.6",
        f"int f{glibc}(void) {{ return 0; }}",
        versions=f"GLIBC_2.{glibc} {{ global: f{glibc}; }};",
    )
    situation.write("lib/aarch64-linux-gnu/libc.so.6", libc.read_bytes())
    as_aarch64(situation.root / "lib/aarch64-linux-gnu/libc.so.6")
    program = situation.prefix / "bin" / (situation.prefix / "bin" / "python").readlink()
    copy = program.read_bytes()
    program.unlink()
    program.write_bytes(copy)
    as_aarch64(program)
    for folder in ("xgboost.libs", "scikit_learn.libs"):
        as_aarch64(library(situation.site / folder, "libgomp-e985bcbb.so.1.0.0", "int omp;"))
    for path in (situation.prefix / "lib").glob("lib*.so*"):
        as_aarch64(path)

    report = situation.verify(level="static", only=["static-tls"])

    assert [item.check for item in report.findings] == ([] if healthy else ["static-tls"])


@covers("executable-stack")
@pytest.mark.parametrize(("glibc", "healthy"), [(41, False), (36, True)])
def test_a_library_that_wants_an_executable_stack(
    situation: Situation, glibc: int, healthy: bool
) -> None:
    """glibc 2.41 refuses what it granted before."""
    lib = situation.prefix / "lib"
    library(
        lib,
        "libtorch_cpu.so",
        "int _ZN2at4onesEv(void) { return 0; }",
        needed=[lib / "libc10.so"],
        flags=[RPATH, "-Wl,-z,execstack", "-Wl,--no-warn-execstack"],
    )
    situation.rerecord("libtorch")
    older = [n for n in (2, 3, 4, 14, 17) if n < glibc]
    source = "".join(f"int f{n}(void) {{ return 0; }}\n" for n in (*older, glibc))
    script = "".join(f"GLIBC_2.{n} {{ global: f{n}; }};\n" for n in (*older, glibc))
    libc = library(situation.base / "libc", "libc.so.6", source, versions=script)
    situation.remove("usr/lib/x86_64-linux-gnu/libc.so.6")
    situation.write("usr/lib/x86_64-linux-gnu/libc.so.6", libc.read_bytes())

    report = situation.verify(level="static", only=["executable-stack"])

    assert [item.check for item in report.findings] == ([] if healthy else ["executable-stack"])


# --- extensions -----------------------------------------------------------------------------


def tag() -> str:
    import sysconfig

    return str(sysconfig.get_config_var("SOABI")).removeprefix("cpython-")


def extension(
    situation: Situation,
    package: str,
    symbol: str = "_ZN3c105ErrorC2Ev",
    *,
    name: str = "_C",
    needed: Sequence[Path] = (),
) -> Path:
    """An extension linked to torch, asking for one symbol; in a folder of its own."""
    folder = situation.site / package
    path = folder / f"{name}.cpython-{tag()}.so"
    library(
        folder,
        path.name,
        f"int {symbol}(void);\nint PyInit_{name}(void) {{ return {symbol}(); }}",
        needed=[situation.prefix / "lib" / "libc10.so", *needed],
    )
    situation.add_wheel(package.replace("_", "-"), "1.0", files={f"{package}/{path.name}": path})
    return path


@covers("vllm-or-other-ext-abi")
@pytest.mark.parametrize(
    ("symbol", "level"),
    [
        ("_ZN5torch3jit17parseSchemaOrNameERKSsb", "import"),
        ("_ZN3c104cuda9SetDeviceEi", "static"),
        ("_Z16THPVariable_WrapN2at10TensorBaseE", "static"),
        ("_ZNK3c1010TensorImpl4sizeEl", "static"),
    ],
)
def test_an_extension_for_another_torch(situation: Situation, symbol: str, level: str) -> None:
    """It wants a symbol of torch that this torch does not have."""
    extension(situation, "fastop", symbol)

    report = situation.names("vllm-or-other-ext-abi", level=level)

    assert symbol in report.findings[0].message
    assert "fastop" in report.findings[0].remedy


def test_an_extension_for_this_torch(situation: Situation) -> None:
    """The healthy twin."""
    extension(situation, "fastop")

    situation.is_healthy(level="import")


def test_an_extension_that_names_no_library(situation: Situation) -> None:
    """It relies on torch being there already, and asks for what torch does not have."""
    folder = situation.site / "deep" / "inside"
    path = folder / f"_C.cpython-{tag()}.so"
    symbol = "_ZN2at6native4goneEv"
    library(folder, path.name, f"int {symbol}(void);\nint PyInit__C(void) {{ return {symbol}(); }}")
    situation.add_wheel("deep", "1.0", files={f"deep/inside/{path.name}": path})

    situation.names("vllm-or-other-ext-abi", level="import")


@covers("flash-attn-abi")
@pytest.mark.parametrize("linked", [True, False])
def test_flash_attn_for_another_torch(situation: Situation, linked: bool) -> None:
    """Its module lies at the top of site-packages, and may not name torch's libraries."""
    name = f"flash_attn_2_cuda.cpython-{tag()}.so"
    symbol = "_ZN3c105ErrorC2ENS_14SourceLocationENSt7__cxx1112basic_stringIcE"
    path = library(
        situation.site,
        name,
        f"int {symbol}(void);\nint PyInit_flash_attn_2_cuda(void) {{ return {symbol}(); }}",
        needed=[situation.prefix / "lib" / "libc10.so"] if linked else [],
    )
    situation.add_wheel("flash-attn", "2.6.3", files={name: path})

    situation.names("flash-attn-abi", level="static")


@pytest.mark.parametrize(
    ("version", "healthy"),
    [
        ("2.6.3+cu12torch2.4cxx11abiFALSE", False),
        ("2.8.1+cu12torch2.7cxx11abiTRUE", True),
        ("2.8.1", True),
    ],
)
def test_the_wheels_own_words(situation: Situation, version: str, healthy: bool) -> None:
    """What the version says it was built for, where there is no file to look at."""
    situation.add_wheel("flash-attn", version, files={"flash_attn/__init__.py": ""})

    if healthy:
        situation.is_healthy(level="static")
    else:
        report = situation.names("flash-attn-abi", level="static")
        assert "torch 2.4" in report.findings[0].message


def test_the_words_of_other_wheels(situation: Situation) -> None:
    """PyG's way: `+pt24cu121`."""
    situation.add_wheel("torch-scatter", "2.1.2+pt24cu121", files={"torch_scatter/__init__.py": ""})

    situation.names("vllm-or-other-ext-abi", level="static")


# --- the import itself ----------------------------------------------------------------------


@covers("torch-import-fails")
def test_an_import_that_fails_for_no_known_cause(situation: Situation) -> None:
    """The error is told, with what it means."""
    package = situation.site / "torch" / "__init__.py"
    package.write_text('raise ImportError("libodd.so.1: cannot open shared object file: No such")')
    situation.rerecord("pytorch")

    report = situation.names("torch-import-fails")

    assert "libodd.so.1 is not found" in report.findings[0].expected


@covers("undefined-symbol")
def test_torchs_own_parts_of_two_builds(situation: Situation) -> None:
    """libtorch_cuda asks libc10 for what only another release had."""
    lib = situation.prefix / "lib"
    library(
        lib,
        "libtorch_cpu.so",
        "int _ZN3c104goneEv(void);\nint _ZN2at4onesEv(void) { return _ZN3c104goneEv(); }",
        needed=[lib / "libc10.so"],
        flags=[RPATH],
    )
    situation.rerecord("libtorch")

    situation.names("undefined-symbol", level="import")


def test_a_truncated_library_by_its_own_headers(situation: Situation) -> None:
    """No manifest says how long it should be, and the file itself does."""
    path = library(situation.site / "nvidia" / "odd" / "lib", "libodd.so.1", "int x[4096] = {1};")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 2000])

    report = situation.names("truncated-library", level="static")

    assert str(len(data) - 2000) in report.findings[0].seen
