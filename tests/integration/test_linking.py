"""The loader's rules against the loader itself, and our ELF reader against pyelftools.

Libraries are built by gcc; what a child that opens them has mapped is the truth.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from fakes.prefix_on_disk import SITE, forge_prefix
from fakes.situation import compile_library

from envforge.adapters.linking.collect import with_linking
from envforge.adapters.linking.elf_files import read_elf
from envforge.adapters.linking.elf_symbols import exported, second_reader_finds, wanted_symbols
from envforge.adapters.linking.loader import Loader, MachineFiles, Process
from envforge.adapters.prefix.prefix_facts import read_prefix
from envforge.adapters.process import RealProcesses
from envforge.model.prefix import PrefixState
from envforge.verify.facts import PrefixFacts

MAPPED = (
    "import ctypes, sys; ctypes.CDLL(sys.argv[1]);"
    " print(''.join(line.split(None, 5)[-1] for line in open('/proc/self/maps') if '.so' in line))"
)
RPATH = "-Wl,-rpath,{},--disable-new-dtags"
RUNPATH = "-Wl,-rpath,{},--enable-new-dtags"


def really_loaded(library: Path, environment: Mapping[str, str]) -> set[str]:
    """What the real loader maps, once a Python opens a library."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", MAPPED, library],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=True,
    )
    return {str(Path(line).resolve()) for line in done.stdout.splitlines() if line}


def foreseen(library: Path, environment: Mapping[str, str]) -> set[str]:
    """The same, as we follow it."""
    program = Path(sys.executable).resolve()
    elf = read_elf(str(program))
    assert elf is not None
    loader = Loader(
        MachineFiles(Path("/"), ()), environment, machine=elf.machine, interpreter=elf.interpreter
    )
    process = Process(loader)
    process.start(str(program))
    process.open(str(library))
    return {str(Path(item.path).resolve()) for item in process.loaded[1:]}


def world(base: Path, outer: str, inner: str) -> Path:
    """libtop needs libmiddle, which needs liblow; three folders hold a liblow.

    `outer` is libtop's search path, `inner` libmiddle's; empty: none.
    """
    for folder in ("own", "variable", "other"):
        compile_library(base / folder / "liblow.so.1", f"int low_{folder};")
    flags = [inner] if inner else []
    compile_library(
        base / "own" / "libmiddle.so", needed=[base / "own" / "liblow.so.1"], flags=flags
    )
    flags = [outer] if outer else []
    return compile_library(
        base / "top" / "libtop.so", needed=[base / "own" / "libmiddle.so"], flags=flags
    )


@pytest.mark.parametrize("variable", [False, True])
@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (RPATH.format("$ORIGIN/../own"), ""),
        (RPATH.format("$ORIGIN/../own:$ORIGIN/../other"), RUNPATH.format("$ORIGIN/../other")),
        (RPATH.format("${ORIGIN}/../own"), RPATH.format("$ORIGIN/../other")),
        (RUNPATH.format("$ORIGIN/../own"), RPATH.format("$ORIGIN/../other")),
        (RUNPATH.format("$ORIGIN/../own"), RUNPATH.format("$ORIGIN")),
        (RUNPATH.format("/nowhere:$ORIGIN/../own"), RPATH.format("/nowhere:$ORIGIN/.")),
    ],
)
def test_search_paths_and_the_variable(
    tmp_path: Path, outer: str, inner: str, variable: bool
) -> None:
    """Every kind of search path, with and without LD_LIBRARY_PATH."""
    library = world(tmp_path, outer, inner)
    environment = {"LD_LIBRARY_PATH": str(tmp_path / "variable")} if variable else {}

    ours = {path for path in foreseen(library, environment) if path.startswith(str(tmp_path))}
    truth = {path for path in really_loaded(library, environment) if path.startswith(str(tmp_path))}

    assert ours == truth
    assert len(ours) == 3


def test_the_systems_libraries_are_found_as_the_loader_finds_them() -> None:
    """The cache and the default folders: whatever this machine's Python is linked with."""
    library = next(
        path
        for name in ("_ssl", "_ctypes", "_bz2", "_lzma", "math")
        for folder in Path(sys.base_prefix).glob("lib/python3*/lib-dynload")
        for path in folder.glob(f"{name}.*.so")
    )
    ours, truth = foreseen(library, {}), really_loaded(library, {})

    asking = ("ld-linux", "lib-dynload", "libffi")  # what the child needs to ask
    assert {path for path in truth if not any(name in path for name in asking)} <= ours


def test_what_is_preloaded_wins_by_its_soname(tmp_path: Path) -> None:
    """LD_PRELOAD goes before DT_RPATH, under the name that the file itself gives."""
    library = world(tmp_path, RPATH.format("$ORIGIN/../own"), "")
    hack = compile_library(tmp_path / "hack" / "fix.so", "int low;", soname="liblow.so.1")
    environment = {"LD_PRELOAD": str(hack)}

    ours, truth = foreseen(library, environment), really_loaded(library, environment)

    for found in (ours, truth):
        assert str(hack) in found
        assert str(tmp_path / "own" / "liblow.so.1") not in found


def test_files_of_another_processor_are_passed_over(tmp_path: Path) -> None:
    """The loader goes on with the next folder."""
    library = world(tmp_path, RUNPATH.format("$ORIGIN/../own"), RUNPATH.format("$ORIGIN"))
    foreign = tmp_path / "variable" / "liblow.so.1"
    data = bytearray(foreign.read_bytes())
    data[18] = 183 if data[18] == 62 else 62
    foreign.write_bytes(data)
    environment = {"LD_LIBRARY_PATH": str(foreign.parent)}

    ours, truth = foreseen(library, environment), really_loaded(library, environment)

    for found in (ours, truth):
        assert str(tmp_path / "own" / "liblow.so.1") in found


def test_links_under_another_root_are_meant_from_there(tmp_path: Path) -> None:
    """An absolute link in a tree that is shown as a machine; a loop is no file."""
    root = tmp_path / "machine"
    real = compile_library(root / "usr/lib/real/libx.so.1", "int x;")
    (root / "usr/lib64").mkdir(parents=True)
    (root / "usr/lib64/libx.so.1").symlink_to("/usr/lib/real/libx.so.1")
    (root / "usr/lib64/loop.so").symlink_to("/usr/lib64/loop.so")
    (root / "lib64").symlink_to("usr/lib64")
    files = MachineFiles(root, ())

    assert files.place("/lib64/libx.so.1") == str(real)
    assert files.real("/lib64/libx.so.1") == "/usr/lib/real/libx.so.1"
    assert files.place("/usr/lib64/loop.so") is None
    assert files.elf("/lib64/../lib64/./libx.so.1") is not None
    assert files.place("/usr/lib/gone.so") is None


def test_folders_for_the_processor(tmp_path: Path) -> None:
    """`glibc-hwcaps/x86-64-v3` goes first, where the processor has what it asks for."""
    root = tmp_path / "machine"
    for folder in ("", "glibc-hwcaps/x86-64-v3", "glibc-hwcaps/x86-64-v4"):
        compile_library(root / "usr/lib64" / folder / "libx.so.1", "int x;")
    flags = "cx16 popcnt sse4_1 sse4_2 ssse3 avx2 bmi1 bmi2 f16c fma abm movbe"  # v3, and no v4
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
    machine = read_elf(str(root / "usr/lib64/libx.so.1"))
    assert machine is not None
    if machine.machine != 62:
        pytest.skip("folders of x86-64")

    found = Loader(MachineFiles(root, ()), {}).search("libx.so.1", None)

    assert found == ("/usr/lib64/glibc-hwcaps/x86-64-v3/libx.so.1", "default")


# --- the reader -----------------------------------------------------------------------------


def objects() -> list[Path]:
    """Real shared objects of this machine."""
    folders = Path(sys.base_prefix).glob("lib/python3*/lib-dynload/*.so")
    site = Path(ELFFile.__module__ and pytest.__file__).parents[1]
    return [*sorted(folders)[:25], *sorted(site.glob("*/*.so"))[:15]]


def test_headers_are_read_as_pyelftools_reads_them() -> None:
    """Needed libraries, sonames, search paths and symbol versions of real files."""
    for path in objects():
        ours = read_elf(str(path))
        assert ours is not None
        assert ours.is_whole
        with path.open("rb") as stream:
            file = ELFFile(stream)
            dynamic = file.get_section_by_name(".dynamic")
            assert isinstance(dynamic, DynamicSection)
            tags = [(tag.entry.d_tag, tag) for tag in dynamic.iter_tags()]
            assert list(ours.needed) == [t.needed for name, t in tags if name == "DT_NEEDED"]
            assert ours.soname == next((t.soname for n, t in tags if n == "DT_SONAME"), None)
            runpath = next((t.runpath for n, t in tags if n == "DT_RUNPATH"), None)
            assert ours.runpath == (None if runpath is None else tuple(runpath.split(":")))
            section = file.get_section_by_name(".gnu.version_r")
            versions = section.iter_versions() if section else ()
            assert {name: set(wanted) for name, wanted in ours.wants} == {
                need.name: {item.name for item in wanted} for need, wanted in versions
            }


def test_symbols_are_found_as_pyelftools_finds_them() -> None:
    """Wanted ones by the symbol table, exported ones by the hash table."""
    for path in objects()[:20]:
        ours = read_elf(str(path))
        assert ours is not None
        with path.open("rb") as stream:
            table = ELFFile(stream).get_section_by_name(".dynsym")
            symbols = [item for item in table.iter_symbols() if item.name]
        undefined = [item for item in symbols if item["st_shndx"] == "SHN_UNDEF"]
        wanted = {s.name for s in undefined if s["st_info"]["bind"] != "STB_WEAK"}
        defined = {s.name for s in symbols} - {s.name for s in undefined}

        assert {item.name for item in wanted_symbols(ours)} == wanted
        found = exported(ours, defined | {f"{name}_not" for name in defined} | wanted)
        assert found == defined
        for name in sorted(defined)[:3]:
            assert second_reader_finds(str(path), name)
            assert not second_reader_finds(str(path), f"{name}_not")


@pytest.mark.parametrize("style", ["gnu", "sysv", "both"])
def test_both_kinds_of_hash_table(tmp_path: Path, style: str) -> None:
    source = "int wanted(void);\n" + "".join(
        f"int f{n}(void) {{ return wanted(); }}\n" for n in range(60)
    )
    path = compile_library(tmp_path / "libx.so", source, flags=[f"-Wl,--hash-style={style}"])
    elf = read_elf(str(path))
    assert elf is not None

    assert exported(elf, ("f0", "f59", "f60", "wanted")) == {"f0", "f59"}
    assert "wanted" in {item.name for item in wanted_symbols(elf)}
    assert second_reader_finds(str(path), "f7")
    assert not second_reader_finds(str(path), "f60")


def test_damaged_files_never_raise(tmp_path: Path) -> None:
    """Cut off anywhere, or with bytes changed anywhere: facts or nothing, never an exception."""
    whole = compile_library(
        tmp_path / "libx.so.1", "int f(void) { return 1; }", versions="X_1 { global: f; };"
    ).read_bytes()
    path = tmp_path / "damaged.so"
    chance = random.Random(4)
    for number in range(400):
        data = bytearray(whole)
        if number % 4 == 0:
            del data[chance.randrange(len(data)) :]
        else:
            for _ in range(chance.randrange(1, 12)):
                data[chance.randrange(600 if number % 2 else len(data))] = chance.randrange(256)
        path.write_bytes(data)
        elf = read_elf(str(path))
        if elf is not None:
            exported(elf, ("f", "g"))
            wanted_symbols(elf)
        second_reader_finds(str(path), "f")


@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF", b"text\n", b"\x7fELF\x02\x01" + b"\xff" * 200]
)
def test_what_is_no_shared_object(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(content)

    assert read_elf(str(path)) is None
    assert read_elf(str(tmp_path)) is None
    assert read_elf(str(tmp_path / "gone")) is None


# --- prefixes -------------------------------------------------------------------------------


def facts(prefix: Path, **how: object) -> PrefixFacts:
    found = read_prefix(prefix, state=PrefixState.FOREIGN, environment={})
    return with_linking(found, environment={}, processes=RealProcesses(), **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("thorough", [False, True])
def test_libraries_that_are_none_give_no_facts(tmp_path: Path, thorough: bool) -> None:
    """Four bytes of ELF, text, loops of links: nothing is told of them."""
    prefix = forge_prefix(tmp_path / "p", (), torch={"__version__": "2.0.1", "cuda": "11.8"})
    package = prefix / SITE / "pkg"
    package.mkdir()
    (package / "_ext.cpython-310-x86_64-linux-gnu.so").write_text("no library\n")
    (package / "loop.so").symlink_to("loop.so")
    (prefix / SITE / "torch" / "lib" / "libtorch_global_deps.so").write_bytes(b"\x7fELF")
    (prefix / "lib" / "libmkl_rt.so.2").write_bytes(b"\0")

    found = facts(prefix, thorough=thorough)

    assert found.damaged == ()
    assert found.linking is not None
    assert found.linking.unresolved == ()
    assert found.linking.missing_symbols == ()
    assert found.linking.extensions == ()


def test_a_prefix_without_packages(tmp_path: Path) -> None:
    """There is nothing to look at."""
    (tmp_path / "conda-meta").mkdir()

    assert facts(tmp_path).linking is None
    absent = PrefixFacts(prefix="/gone", real="/gone", state=PrefixState.ABSENT)
    assert with_linking(absent, environment={}) is absent


def test_this_very_environment_is_healthy() -> None:
    """The Python that runs the tests, with all its packages."""
    found = facts(Path(sys.prefix), thorough=True).linking

    assert found is not None
    assert found.glibc is not None
    assert found.unresolved == ()
    assert found.missing_versions == ()
    assert found.missing_symbols == ()
    assert not any(item.count for item in found.extensions)
    assert found.executable_stack == ()


# --- torch's own ways -----------------------------------------------------------------------

INIT = """
def _preload_cuda_lib(lib_folder, lib_name):
    pass

def _load_global_deps():
    try:
        ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        if "libcudart.so" not in _maps:
            return
        _preload_cuda_lib("nvjitlink", "libnvJitLink.so.*[0-9]")
    except OSError as err:
        cuda_libs = {"cuda_runtime": "libcudart.so.*[0-9]", "nvjitlink": "libnvJitLink.so.*[0-9]"}
"""


@pytest.mark.parametrize("search_path", [False, True])
def test_torch_opens_the_wheels_libraries_itself(tmp_path: Path, search_path: bool) -> None:
    """Where no search path leads to them, and some beforehand where one does."""
    prefix = forge_prefix(tmp_path / "p", (), torch={"__version__": "2.6.0", "cuda": "12.4"})
    site = prefix / SITE
    runtime = compile_library(site / "nvidia/cuda_runtime/lib/libcudart.so.12", "int r;")
    link = compile_library(site / "nvidia/nvjitlink/lib/libnvJitLink.so.12", "int j;")
    lib = site / "torch" / "lib"
    flags = [RPATH.format("$ORIGIN/../../nvidia/cuda_runtime/lib")] if search_path else []
    compile_library(lib / "libtorch_global_deps.so", needed=[runtime], flags=flags)
    compile_library(lib / "libtorch_cpu.so", needed=[runtime, link], flags=flags)
    compile_library(
        site / "torch" / "_C.so",
        needed=[lib / "libtorch_cpu.so"],
        flags=[RPATH.format("$ORIGIN/lib")],
    )
    (lib / "libtorch_cuda.so").unlink()

    without = facts(prefix).linking
    (site / "torch" / "__init__.py").write_text(INIT)
    with_it = facts(prefix).linking

    assert without is not None
    assert {item.name for item in without.unresolved} == (
        {"libnvJitLink.so.12"} if search_path else {"libnvJitLink.so.12", "libcudart.so.12"}
    )
    assert with_it is not None
    assert with_it.unresolved == ()


def test_mkl_opens_intels_runtime(tmp_path: Path) -> None:
    """libmkl_rt names no OpenMP runtime, and opens one by name unless it is told otherwise."""
    prefix = forge_prefix(tmp_path / "p", (), torch={"__version__": "2.6.0", "cuda": None})
    lib = prefix / "lib"
    mkl = compile_library(lib / "libmkl_rt.so.2", "int m;", flags=[RPATH.format("$ORIGIN")])
    compile_library(lib / "libiomp5.so", "int i;")
    module = prefix / SITE / "numpy" / "core" / "_multiarray_umath.cpython-310-x86_64-linux-gnu.so"
    compile_library(module, needed=[mkl], flags=[RPATH.format("$ORIGIN/../../../../")])

    def runtimes(**environment: str) -> list[str]:
        found = read_prefix(prefix, state=PrefixState.FOREIGN, environment={})
        linking = with_linking(found, environment=environment).linking
        assert linking is not None
        return [item.path for item in linking.openmp]

    assert runtimes() == ["lib/libiomp5.so"]
    assert runtimes(MKL_THREADING_LAYER="GNU") == []
