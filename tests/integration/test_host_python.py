"""A conda package made from the running interpreter, installed by rattler and used."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes.wheels import build_wheel, sha256

from envforge.adapters import host_python
from envforge.adapters.conda_archive import ArchiveEntry, write_conda
from envforge.adapters.host_probe import HostInterpreter, probe
from envforge.adapters.host_python import HostPython, build_channel
from envforge.adapters.host_stage import PLACEHOLDER, source_files, stage
from envforge.adapters.linking.elf import is_elf, read_dynamic
from envforge.adapters.pip_settings import PipSettings
from envforge.adapters.process import RealProcesses
from envforge.adapters.uv import Uv
from envforge.adapters.uv_installer import UvInstaller
from envforge.errors import FileNotUsable, InvalidValue, ToolMissing
from envforge.model.lock import LockedPackage
from envforge.ports import Completed

SERIES = f"{sys.version_info[0]}.{sys.version_info[1]}"


@dataclass
class Notes:
    """`ports.Reporter` that keeps what it is told."""

    steps: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        self.steps.append(title)
        yield

    def progress(self, done: int, total: int | None, unit: str = "", detail: str = "") -> None:
        raise AssertionError("packing tells no progress")

    def note(self, message: str) -> None:
        raise AssertionError(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("host")


@pytest.fixture(scope="session")
def host() -> HostInterpreter:
    """The interpreter the tests run with; skips, visibly, where it is one we refuse."""
    try:
        return probe(RealProcesses(), Path(sys.executable))
    except InvalidValue as error:
        pytest.skip(f"{error}")


@pytest.fixture(scope="session")
def made(cache: Path, host: HostInterpreter) -> HostPython:
    return build_channel(cache, None, Notes())


@pytest.fixture(scope="session")
def prefix(made: HostPython, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, solved for and installed by rattler."""
    from rattler import Gateway, VirtualPackage, install, solve

    folder = tmp_path_factory.mktemp("host-prefix")

    async def link() -> None:
        records = await solve(
            sources=[made.channel_url],
            specs=[f"python =={made.version}"],
            platforms=[made.platform, "noarch"],
            gateway=Gateway(cache_dir=folder / "repodata"),
            virtual_packages=[item.into_generic() for item in VirtualPackage.detect()],
        )
        assert [str(record.url) for record in records] == [made.locked().url]
        await install(
            records,
            target_prefix=folder / "env",
            cache_dir=folder / "pkgs",
            show_progress=False,
        )

    asyncio.run(link())
    return folder / "env"


def run(program: Path, *arguments: str) -> str:
    """Run in a clean environment, so that the prefix answers and nothing around it."""
    done = subprocess.run(
        [str(program), *arguments],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_second_call_finds_the_first(cache: Path, made: HostPython) -> None:
    """Also from a virtual environment of the same interpreter, and at once."""
    notes, before = Notes(), time.perf_counter()

    again = build_channel(cache, Path(sys.executable), notes)

    assert again == made
    assert notes.steps == []
    assert time.perf_counter() - before < 2  # 0.05 s on a quiet machine


def test_the_package_is_described(made: HostPython) -> None:
    """Read back by rattler: the record a solver sees, the system's part, every file's hash."""
    from rattler.package_streaming import PackageArchive

    async def look() -> tuple[object, ...]:
        archive = await PackageArchive.from_path(made.path)
        return (
            await archive.index_json(),
            await archive.read_file("info/about.json"),
            await archive.paths_json(),
        )

    index, about, paths = asyncio.run(look())

    assert (str(index.version), str(index.build)) == (  # type: ignore[attr-defined]
        made.version,
        made.build,
    )
    assert list(index.depends) == list(made.depends)  # type: ignore[attr-defined]
    assert made.depends[0].startswith("__glibc >=2.")
    described = json.loads(bytes(about))  # type: ignore[call-overload]
    assert any("libc.so" in item for item in described["extra"]["system_libraries"])
    names = {str(item.relative_path) for item in paths.paths}  # type: ignore[attr-defined]
    assert {f"bin/python{SERIES}", "bin/python", f"lib/python{SERIES}/os.py"} <= names
    assert not [name for name in names if "site-packages" in name or "/test/" in name]
    # What holds the prefix is not compiled: its bytecode would hold the placeholder.
    assert [name for name in names if "__pycache__/argparse." in name]
    assert not [name for name in names if "__pycache__/_sysconfigdata" in name]
    assert made.locked().md5 == made.md5
    assert made.locked().url == made.path.as_uri()
    assert made.series == SERIES


def test_the_installed_python_stands_alone(made: HostPython, prefix: Path) -> None:
    """No file of the interpreter it was made from is opened, modules with C libraries included."""
    script = (
        "import bz2, ctypes, decimal, hashlib, json, lzma, sqlite3, ssl, sys, sysconfig, uuid\n"
        "maps = [line.split(None, 5)[-1].strip() for line in open('/proc/self/maps')]\n"
        "files = [module.__file__ for module in sys.modules.values()"
        " if getattr(module, '__file__', None)]\n"
        "print(json.dumps({'maps': maps, 'files': files, 'prefix': sys.prefix,"
        " 'libdir': sysconfig.get_config_var('LIBDIR'),"
        " 'purelib': sysconfig.get_path('purelib')}))"
    )
    seen = json.loads(run(prefix / "bin" / "python", "-I", "-c", script))

    source = os.path.realpath(sys.base_prefix) + "/"
    opened = [path for path in seen["maps"] if path.startswith("/")] + seen["files"]
    assert source != "/usr/"
    assert [path for path in opened if path.startswith(source)] == []
    assert seen["prefix"] == str(prefix)
    assert seen["libdir"] == f"{prefix}/lib"
    assert seen["purelib"] == f"{prefix}/lib/python{SERIES}/site-packages"


def test_no_placeholder_is_left(prefix: Path) -> None:
    library = prefix / "lib" / f"python{SERIES}"
    records = list(library.glob("_sysconfigdata*.py"))
    assert records
    assert PLACEHOLDER not in records[0].read_text()
    assert str(prefix) in records[0].read_text()


def test_bytecode_is_used_whatever_the_mtime(prefix: Path) -> None:
    """Unchecked and by hash (PEP 552): installers give files other times."""
    library = prefix / "lib" / f"python{SERIES}"
    [cached] = (library / "__pycache__").glob("argparse.*.pyc")
    before = cached.read_bytes()
    assert before[4:8] == (1).to_bytes(4, "little")  # PEP 552: by hash, and not checked

    source = library / "argparse.py"
    kept = source.stat()
    os.utime(source, (1, 1))
    try:
        run(prefix / "bin" / "python", "-I", "-c", "import argparse")
    finally:
        os.utime(source, (kept.st_atime, kept.st_mtime))

    assert cached.read_bytes() == before


def test_virtual_environments_can_be_made(prefix: Path, tmp_path: Path) -> None:
    run(prefix / "bin" / "python", "-m", "venv", "--without-pip", str(tmp_path / "venv"))

    said = run(tmp_path / "venv/bin/python", "-c", "import sys; print(sys.base_prefix)")
    assert said.strip() == str(prefix)
    assert list((prefix / "lib" / f"python{SERIES}" / "ensurepip" / "_bundled").glob("pip-*.whl"))


def test_wheels_go_on_top(prefix: Path, tmp_path: Path) -> None:
    archive = build_wheel(tmp_path, "alpha", "1.0", scripts={"al": "alpha:__name__.upper"})
    wheel = LockedPackage(
        platform="linux-64",
        name="alpha",
        manager="pip",
        version="1.0",
        url=archive.as_uri(),
        sha256=sha256(archive),
    )
    uv = Uv(
        processes=RealProcesses(),
        environment={"PATH": "/usr/bin:/bin", "UV_CACHE_DIR": str(tmp_path / "cache")},
        settings=PipSettings(),
        offline=True,
    )

    UvInstaller(uv).install([wheel], prefix)

    said = run(prefix / "bin" / "python", "-c", "import alpha; print(alpha.__file__)")
    assert said.strip() == f"{prefix}/lib/python{SERIES}/site-packages/alpha/__init__.py"


def test_the_same_interpreter_gives_the_same_bytes(
    made: HostPython, tmp_path: Path, host: HostInterpreter
) -> None:
    """Another cache, another umask: a lock that names the hash stays good."""
    before = os.umask(0o077)
    try:
        again = build_channel(tmp_path, Path(host.executable), Notes())
    finally:
        os.umask(before)

    assert (again.build, again.sha256) == (made.build, made.sha256)


def test_a_lost_package_is_made_again(made: HostPython, cache: Path) -> None:
    """And the channel, which another process may have made meanwhile, is kept."""
    made.path.unlink()
    notes = Notes()
    try:
        again = build_channel(cache, None, notes)
    finally:
        assert made.path.is_file()

    assert (again, len(notes.steps)) == (made, 1)


def test_a_damaged_memory_is_made_again(
    made: HostPython, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [memory] = cache.glob("*.json")
    kept = memory.read_text()
    monkeypatch.setattr(host_python, "_build", lambda *_: made)

    for text in ("{", '{"version": "3"}'):
        memory.write_text(text)
        notes = Notes()
        assert build_channel(cache, None, notes) == made
        assert notes.steps
    assert json.loads(memory.read_text()) == json.loads(kept)


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, host: HostInterpreter) -> None:
    (tmp_path / "cache").write_text("in the way")

    with pytest.raises(FileNotUsable, match="cache"):
        build_channel(tmp_path / "cache", None, Notes())


def test_no_such_interpreter(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing):
        build_channel(tmp_path, tmp_path / "python", Notes())


@pytest.mark.skipif(
    not Path("/etc/debian_version").exists() or not Path("/usr/bin/python3").exists(),
    reason="not a Debian with a Python of its own",
)
def test_the_distribution_s_own_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="the distribution's own"):
        build_channel(tmp_path, Path("/usr/bin/python3"), Notes())

    assert list(tmp_path.iterdir()) == []


class Reporting:
    """Real processes, but for what the laid-out interpreter says of its modules."""

    def __init__(self, **changed: object) -> None:
        self._changed = changed

    def run(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        timeout: float | None,
        cwd: Path | None = None,
        stdin: str | None = None,
        check: bool = True,
    ) -> Completed:
        if "/proc/self/maps" not in command[-1]:
            return Completed(status=0, stdout="", stderr="")
        library = [f"{cwd}/lib/{name}" for name in os.listdir(f"{cwd}/lib")]  # noqa: PTH208
        report = {"failed": {}, "mapped": library, **self._changed}
        return Completed(status=0, stdout=json.dumps(report), stderr="")


@pytest.fixture
def small(tmp_path: Path, host: HostInterpreter) -> HostInterpreter:
    """The interpreter with a library of three files, so that laying it out is quick."""
    from dataclasses import replace

    stdlib = tmp_path / "small" / "lib" / f"python{SERIES}"
    dynload = stdlib / "lib-dynload"
    dynload.mkdir(parents=True)
    (stdlib / "os.py").write_text("import sys\n")
    (stdlib / "sitecustomize.py").write_text("raise SystemExit\n")
    (stdlib / "__pycache__").mkdir()
    (stdlib / "__pycache__" / "os.pyc").write_bytes(b"old")
    data = Path(sys.executable).resolve().read_bytes()
    for name in ("readline", "_ssl", "_testcapi"):
        (dynload / f"{name}.so").write_bytes(data)
    record = f"prefix = '{host.prefixes[0]}'\nother = '{host.prefixes[0]}-else'\n"
    (stdlib / "_sysconfigdata_x.py").write_text(record)
    return replace(host, stdlib=stdlib, include=None)


def test_what_is_left_out(small: HostInterpreter) -> None:
    names = {path.rpartition("/")[2] for path, _ in source_files(small)}

    assert {"os.py", "_ssl.so", "readline.so", f"python{SERIES}"} <= names
    assert not names & {"sitecustomize.py", "os.pyc", "_testcapi.so"}


def test_optional_modules_may_be_missing(small: HostInterpreter, tmp_path: Path) -> None:
    processes = Reporting(failed={"readline": "ImportError: libreadline.so.8: not found"})
    target = tmp_path / "stage"
    # Nothing is compiled here: the bytecode is put there by hand.
    made = target / f"lib/python{SERIES}/__pycache__/os.cpython-{SERIES.replace('.', '')}.pyc"
    made.parent.mkdir(parents=True)
    made.write_bytes(b"compiled")

    staged = stage(small, target, processes)

    paths = {entry.path: entry for entry in staged.entries}
    assert staged.dropped == (f"lib/python{SERIES}/lib-dynload/readline.so",)
    assert staged.dropped[0] not in paths
    record = paths[f"lib/python{SERIES}/_sysconfigdata_x.py"]
    assert record.placeholder == PLACEHOLDER
    text = (target / record.path).read_text()
    assert f"'{PLACEHOLDER}'" in text
    assert f"{PLACEHOLDER}-else" not in text


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"failed": {"_ssl": "ImportError: libssl.so.3: not found"}}, "lacks what .* libssl"),
        ({"mapped": []}, "another libpython"),
    ],
)
def test_a_copy_that_would_not_work_is_refused(
    small: HostInterpreter, tmp_path: Path, changed: dict[str, object], reason: str
) -> None:
    if small.library is None and "mapped" in changed:
        pytest.skip("this interpreter has no shared libpython")
    with pytest.raises(InvalidValue, match=reason):
        stage(small, tmp_path / "stage", Reporting(**changed))


def test_a_copy_that_loads_the_source_is_refused(small: HostInterpreter, tmp_path: Path) -> None:
    processes = Reporting(mapped=[str(small.library or small.executable) + ".so"])
    source = small.base_prefix
    if source in {Path("/usr"), Path("/usr/local")}:
        pytest.skip("the system's libraries lie beside this interpreter")

    with pytest.raises(InvalidValue, match="still loads"):
        stage(small, tmp_path / "stage", processes)


def test_a_copy_that_does_not_start_is_refused(small: HostInterpreter, tmp_path: Path) -> None:
    """Here for want of its standard library."""
    with pytest.raises(InvalidValue, match="a copy of it fails"):
        stage(small, tmp_path / "stage", RealProcesses())


def test_a_search_path_that_cannot_change_is_refused(
    small: HostInterpreter, tmp_path: Path
) -> None:
    from dataclasses import replace

    data = small.executable.read_bytes()
    runpath = read_dynamic(data).runpath if is_elf(data) else None
    if not runpath or not runpath.startswith("/"):
        pytest.skip("this interpreter has no absolute search path")
    # Seen from deep below, the way back is longer than the path there.
    deep = small.stdlib / "a" / "b" / "c" / "d" / "e" / "f" / "g" / "h" / "i" / "j" / "k" / "l"
    deep.mkdir(parents=True)
    (deep / "module.so").write_bytes(data)

    with pytest.raises(InvalidValue, match="search path of"):
        stage(replace(small), tmp_path / "stage", Reporting())


def test_archives_are_equal_and_large_files_survive(tmp_path: Path) -> None:
    """More than one zstd block, links and empty files, read back by rattler."""
    from rattler.package_streaming import extract

    tree = tmp_path / "stage"
    (tree / "lib").mkdir(parents=True)
    contents = {"lib/large": os.urandom(300_000), "lib/empty": b"", "lib/block": bytes(131072)}
    entries = [ArchiveEntry(path="lib/link", sha256="0" * 64, size=0, link="large")]
    for path, data in contents.items():
        (tree / path).write_bytes(data)
        entries.append(ArchiveEntry(path=path, sha256="0" * 64, size=len(data)))
    index = json.dumps({"name": "a", "version": "1", "build": "0", "build_number": 0}).encode()
    first, second = tmp_path / "one" / "a-1-0.conda", tmp_path / "two" / "a-1-0.conda"
    for target, order in ((first, entries), (second, entries[::-1])):
        target.parent.mkdir()
        write_conda(target, tree, order, {"index.json": index})

    extract(str(first), str(tmp_path / "out"))

    assert first.read_bytes() == second.read_bytes()
    for path, data in contents.items():
        assert (tmp_path / "out" / path).read_bytes() == data
    assert (tmp_path / "out" / "lib/link").readlink() == Path("large")


def test_the_headers_are_there(prefix: Path) -> None:
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        pytest.skip("this interpreter came without headers")
    assert (prefix / "include" / f"python{SERIES}" / "Python.h").is_file()
