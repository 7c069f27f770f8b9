"""A channel the size of conda-forge, from a seed: `python tests/bench/world.py FOLDER`.

Writes `FOLDER/conda-forge/SUBDIR/` with sharded repodata (CEP 16) and, with `--repodata`,
the `repodata.json` and `repodata.json.zst` that older tools read. Equal arguments give
equal files. No archive lies behind a record: it can be solved and locked, not installed.

The shape follows conda-forge's: thousands of names, most with a few records and some with
hundreds; compiled packages once a Python; bounds as conda-build exports them
(`>=1.4.2,<2.0a0`); dependencies on what is older and, mostly, on what many depend on. The
newest release of every project fits the newest of every other, so there is a solution; that
it is not the only one keeps the solver busy. Beside them stands a torch stack for real:
python, numpy, mkl, pytorch and libtorch for several CUDA releases.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

ARCH_RECORDS: Final = 600_000
NOARCH_RECORDS: Final = 200_000
PYTHONS: Final = ("3.9", "3.10", "3.11", "3.12", "3.13")
CUDAS: Final = ("12.6", "12.9")
TORCH: Final = "2.7.1"
REQUEST: Final = 24
"""How many generated packages the benchmarks ask for beside torch."""

Kind = Literal["library", "extension", "pure"]
Record = dict[str, Any]


@dataclass(frozen=True)
class Project:
    """One name, and when each of its versions came out (0: long ago, 1: now)."""

    name: str
    kind: Kind
    versions: tuple[str, ...]
    times: tuple[float, ...]
    depends: tuple[int, ...]
    """Places of other projects in the world; all smaller than this one's."""

    def at(self, time: float) -> str:
        """The newest version at a time; before the first one, the first."""
        return self.versions[max(0, bisect_right(self.times, time) - 1)]

    @property
    def subdir(self) -> Literal["arch", "noarch"]:
        return "noarch" if self.kind == "pure" else "arch"


@dataclass(frozen=True)
class World:
    """All projects; records are made when they are asked for."""

    seed: int
    arch_records: int = ARCH_RECORDS
    noarch_records: int = NOARCH_RECORDS
    projects: list[Project] = field(default_factory=list)

    @cached_property
    def requested(self) -> tuple[str, ...]:
        """What the benchmarks ask for: Python packages with many dependencies, spread out."""
        wide = [item for item in self.projects if item.kind != "library" and len(item.depends) > 2]
        step = max(1, len(wide) // REQUEST)
        return tuple(item.name for item in wide[step // 2 :: step][:REQUEST])


def make_world(
    seed: int = 1, arch_records: int = ARCH_RECORDS, noarch_records: int = NOARCH_RECORDS
) -> World:
    """Draw projects until both subdirectories hold at least as many records as asked for."""
    world = World(seed, arch_records, noarch_records)
    draw = random.Random(f"{seed} projects")
    by_kind: dict[Kind, list[int]] = {"library": [], "extension": [], "pure": []}
    left = {"arch": arch_records, "noarch": noarch_records}
    while left["arch"] > 0 or left["noarch"] > 0:
        kind = _kind(draw, left)
        project = _project(draw, world.projects, by_kind, kind)
        by_kind[kind].append(len(world.projects))
        world.projects.append(project)
        left[project.subdir] -= sum(1 for _ in _variants(project))
    return world


def _kind(draw: random.Random, left: Mapping[str, int]) -> Kind:
    if left["arch"] <= 0:
        return "pure"
    if left["noarch"] <= 0:
        return "extension" if draw.random() < 0.5 else "library"
    return draw.choices(("library", "extension", "pure"), (3, 2, 7))[0]


_SYLLABLES: Final = [
    *("al", "an", "ar", "bi", "co", "da", "de", "el", "en", "fa", "fi", "go", "ha", "in", "ka"),
    *("la", "lo", "ma", "mi", "na", "ne", "no", "or", "pa", "pe", "qu", "ra", "re", "ri", "sa"),
    *("se", "si", "so", "ta", "te", "ti", "to", "ul", "un", "va", "vi", "xa", "yo", "za", "zo"),
]


def _project(
    draw: random.Random, known: Sequence[Project], by_kind: Mapping[Kind, list[int]], kind: Kind
) -> Project:
    # A dash sorts before every other character of a name, so that names without one stand in
    # the order of their file names; real repodata is sorted so, and micromamba relies on it.
    stem = "".join(draw.choices(_SYLLABLES, k=draw.randint(2, 4)))
    name = f"{'lib' if kind == 'library' else ''}{stem}{len(known)}"
    mean = {"library": 2.1, "extension": 1.7, "pure": 1.9}[kind]
    count = min(120, 1 + int(draw.lognormvariate(mean, 1.1)))
    times = tuple(sorted(draw.random() for _ in range(count)))
    pools: Mapping[Kind, tuple[Kind, ...]] = {
        "library": ("library",),
        "extension": ("library", "extension", "pure"),
        "pure": ("pure", "pure", "extension"),
    }
    wanted = min(12, int(draw.lognormvariate(1.1, 0.7)))
    chosen = {_popular(draw, by_kind[draw.choice(pools[kind])]) for _ in range(wanted)}
    depends = tuple(sorted(place for place in chosen if place is not None))
    return Project(name, kind, _versions(draw, count), times, depends)


def _popular(draw: random.Random, places: Sequence[int]) -> int | None:
    """Few are depended on by very many: numpy, zlib."""
    return places[int(len(places) * draw.random() ** 5)] if places else None


def _versions(draw: random.Random, count: int) -> tuple[str, ...]:
    major, minor, patch = draw.randint(0, 2), draw.randint(0, 5), 0
    versions = []
    for _ in range(count):
        step = draw.random()
        if step < 0.05:
            major, minor, patch = major + 1, 0, 0
        elif step < 0.5:
            minor, patch = minor + 1, 0
        else:
            patch += 1
        versions.append(f"{major}.{minor}.{patch}")
    return tuple(versions)


# -- records ------------------------------------------------------------------------------


def _variants(project: Project) -> Iterator[tuple[str, float, str | None]]:
    """Version, time and Python of every record of a project."""
    for version, time in zip(project.versions, project.times, strict=True):
        if project.kind != "extension":
            yield version, time, None
            continue
        oldest = int(time * (len(PYTHONS) - 1))
        for python in PYTHONS[max(0, oldest - 2) : oldest + 2]:
            yield version, time, python
    if project.kind == "extension":
        for python in PYTHONS:  # the last version was built once more, for every Python
            yield project.versions[-1], 1.0, python


def records_of(world: World, project: Project, subdir: str) -> Iterator[tuple[str, Record]]:
    """File names and records of one project, sorted."""
    make = _Recorder(f"{world.seed} {subdir} {project.name}", subdir)
    found = {}
    for version, time, python in _variants(project):
        last = version == project.versions[-1]
        depends = _depends(world, project, 1.0 if last else time, python)
        number = 1 if python and last and time == 1.0 else 0
        build = f"{make.build(project.kind, python)}_{number}"
        record = make.record(project.name, version, build, depends, time=time)
        found[file_name(record, time)] = record
    return iter(sorted(found.items()))


def _depends(world: World, project: Project, time: float, python: str | None) -> list[str]:
    specs = _for_python(python) if python else []
    if project.kind == "pure":
        specs.append("python >=3.9")
    for place in project.depends:
        other = world.projects[place]
        version = other.at(time)
        if other.kind == "library":
            specs.append(f"{other.name} >={version},<{int(version.split('.')[0]) + 1}.0a0")
        else:
            specs.append(f"{other.name} >={version}" if place % 3 else other.name)
    return specs


def _for_python(python: str) -> list[str]:
    major, minor = python.split(".")
    tag = f"cp{major}{minor}"
    return [f"python >={python},<{major}.{int(minor) + 1}.0a0", f"python_abi {python}.* *_{tag}"]


_NUMBER: Final = re.compile(r"(?:^|_)(\d+)(?=_|$)")
"""In `py311h1a2b3c4_2`, `8_cp311` and `h0_0_cp311`."""
_LICENSES: Final = ("MIT", "BSD-3-Clause", "Apache-2.0", "GPL-3.0-or-later")


class _Recorder:
    """Makes the records of one subdirectory, with hashes and sizes of their own."""

    def __init__(self, seed: str, subdir: str) -> None:
        self._draw = random.Random(seed)
        self._subdir = subdir

    def build(self, kind: Kind, python: str | None) -> str:
        """A build string without its number."""
        text = self._draw.randbytes(4).hex()[:7]
        if kind == "pure":
            return "pyhd8ed1ab"
        return f"py{python.replace('.', '')}h{text}" if python else f"h{text}"

    def record(
        self,
        name: str,
        version: str,
        build: str,
        depends: Iterable[str] = (),
        *,
        time: float = 1.0,
        constrains: Iterable[str] = (),
    ) -> Record:
        """One package, as repodata.json has it."""
        record: Record = {
            "build": build,
            "build_number": int(_NUMBER.findall(build)[-1]),
            "constrains": list(constrains),
            "depends": list(depends),
            "license": self._draw.choice(_LICENSES),
            "md5": self._draw.randbytes(16).hex(),
            "name": name,
            "sha256": self._draw.randbytes(32).hex(),
            "size": self._draw.randrange(4_000, 40_000_000),
            "subdir": self._subdir,
            "timestamp": 1_550_000_000_000 + int(time * 240_000_000_000),
            "version": version,
        }
        if self._subdir == "noarch":
            record["noarch"] = "python" if build.startswith("py") else "generic"
        return record


def file_name(record: Record, time: float = 1.0) -> str:
    """`NAME-VERSION-BUILD.conda`; what is old is a `.tar.bz2`."""
    ending = "tar.bz2" if time < 0.25 else "conda"
    return f"{record['name']}-{record['version']}-{record['build']}.{ending}"


# -- the torch stack ------------------------------------------------------------------------


def stack_of(world: World, subdir: str) -> dict[str, list[tuple[str, Record]]]:
    """Records of the real names, by name."""
    make = _Recorder(f"{world.seed} {subdir} stack", subdir)
    by_name: dict[str, list[tuple[str, Record]]] = {}
    for record in _noarch_stack(make) if subdir == "noarch" else _arch_stack(make, world):
        by_name.setdefault(record["name"], []).append((file_name(record), record))
    return {name: sorted(records) for name, records in by_name.items()}


def _noarch_stack(make: _Recorder) -> Iterator[Record]:
    for python in PYTHONS:
        tag = f"cp{python.replace('.', '')}"
        fits = [f"python {python}.* *_{tag}"]
        yield make.record("python_abi", python, f"8_{tag}", constrains=fits)
    for cuda in CUDAS:
        driver = [f"__cuda >={cuda.split('.')[0]}"]
        yield make.record("cuda-version", cuda, "h7480c83_3", constrains=driver)
    for name, versions in (
        ("setuptools", ("70.3.0", "75.8.2", "80.9.0")),
        ("pip", ("24.0", "25.3")),
        ("typing_extensions", ("4.12.2", "4.15.0")),
        ("sympy", ("1.13.3", "1.14.0")),
    ):
        for version in versions:
            yield make.record(name, version, "pyhd8ed1ab_0", ["python >=3.9"])


def _arch_stack(make: _Recorder, world: World) -> Iterator[Record]:
    libraries = [item for item in world.projects[:60] if item.kind == "library"][:8]
    linked = [f"{item.name} >={item.versions[0]}" for item in libraries]
    for python in PYTHONS:
        tag = f"cp{python.replace('.', '')}"
        fits = [f"python_abi {python}.* *_{tag}"]
        for patch in range(12):
            build = f"h{patch:02d}abcde_0_{tag}"
            yield make.record("python", f"{python}.{patch}", build, linked[:4], constrains=fits)
        for version in ("1.26.4", "2.0.2", "2.2.6", "2.3.5"):
            yield make.record("numpy", version, f"py{tag[2:]}h1234567_0", _for_python(python))
    yield make.record("mkl", "2024.2.2", "ha770c72_17", linked[:2])
    for cuda in (None, *CUDAS):
        yield from _torch(make, cuda, linked)


def _torch(make: _Recorder, cuda: str | None, linked: list[str]) -> Iterator[Record]:
    label = f"cuda{cuda.replace('.', '')}_mkl" if cuda else "cpu_mkl"
    number = 300 if cuda else 100
    library = f"{label}_h0123456_{number}"
    runtime = []
    if cuda:
        runtime = [f"cuda-version >={cuda},<{int(cuda.split('.')[0]) + 1}", "__cuda"]
    below = ["mkl >=2024.2.2,<2025.0a0", *linked, *runtime]
    yield make.record("libtorch", TORCH, library, below)
    for python in PYTHONS:
        build = f"{label}_py{python.replace('.', '')}_h7654321_{number}"
        others = ["numpy >=1.23,<3", "setuptools", "sympy >=1.13.3", "typing_extensions >=4.10.0"]
        depends = [*_for_python(python), f"libtorch {TORCH} {library}", *others, *runtime]
        yield make.record("pytorch", TORCH, build, depends)


# -- files ----------------------------------------------------------------------------------


def write(world: World, root: Path, platforms: Sequence[str], *, repodata: bool = False) -> None:
    """Write `root/conda-forge/` for the platforms and noarch, and what to ask it for."""
    channel = root / "conda-forge"
    for subdir in (*platforms, "noarch"):
        _write_subdir(world, channel / subdir, subdir, repodata=repodata)
    request = {
        "torch": TORCH,
        "cuda": CUDAS[0],
        "python": "3.12",
        "packages": list(world.requested),
        "platforms": list(platforms),
    }
    text = json.dumps(request, indent=2) + "\n"
    (root / "request.json").write_text(text, encoding="utf-8")


def _by_name(world: World, subdir: str) -> Iterator[tuple[str, list[tuple[str, Record]]]]:
    wanted = "noarch" if subdir == "noarch" else "arch"
    stack = stack_of(world, subdir)
    projects = {item.name: item for item in world.projects if item.subdir == wanted}
    for name in sorted({*stack, *projects}):
        if name in stack:
            yield name, stack[name]
        else:
            yield name, list(records_of(world, projects[name], subdir))


def _write_subdir(world: World, folder: Path, subdir: str, *, repodata: bool) -> None:
    import zstandard

    (folder / "shards").mkdir(parents=True, exist_ok=True)
    compressor = zstandard.ZstdCompressor(level=3)
    shards: dict[str, bytes] = {}
    with ExitStack() as stack:
        writer = stack.enter_context(_Repodata(folder, subdir)) if repodata else None
        for name, records in _by_name(world, subdir):
            data = compressor.compress(_shard(records))
            shards[name] = hashlib.sha256(data).digest()
            (folder / "shards" / f"{shards[name].hex()}.msgpack.zst").write_bytes(data)
            if writer:
                writer.add(records)
    index = compressor.compress(_index(subdir, shards))
    (folder / "repodata_shards.msgpack.zst").write_bytes(index)
    if repodata:
        _compress(folder / "repodata.json")


def _shard(records: Iterable[tuple[str, Record]]) -> bytes:
    import msgpack

    shard: dict[str, Any] = {"packages": {}, "packages.conda": {}, "removed": []}
    for file, record in records:
        hashes = {key: bytes.fromhex(record[key]) for key in ("md5", "sha256")}
        kind = "packages.conda" if file.endswith(".conda") else "packages"
        shard[kind][file] = {**record, **hashes}
    packed: bytes = msgpack.packb(shard)
    return packed


def _index(subdir: str, shards: Mapping[str, bytes]) -> bytes:
    import msgpack

    info = {
        "subdir": subdir,
        "base_url": "./",
        "shards_base_url": "./shards/",
        "created_at": "2026-01-01T00:00:00Z",
    }
    packed: bytes = msgpack.packb({"version": 1, "info": info, "shards": dict(shards)})
    return packed


class _Repodata:
    """Writes repodata.json a name at a time: a whole one does not fit into memory twice."""

    def __init__(self, folder: Path, subdir: str) -> None:
        self._target = folder / "repodata.json"
        self._parts = {kind: folder / f"{kind}.part" for kind in ("packages", "packages.conda")}
        self._subdir = subdir
        self._files: dict[str, Any] = {}

    def __enter__(self) -> _Repodata:  # noqa: PYI034 - `Self` is newer than our oldest Python
        self._files = {kind: path.open("w", encoding="utf-8") for kind, path in self._parts.items()}
        return self

    def add(self, records: Iterable[tuple[str, Record]]) -> None:
        for file, record in records:
            kind = "packages.conda" if file.endswith(".conda") else "packages"
            stream = self._files[kind]
            comma = "," if stream.tell() else ""
            stream.write(f"{comma}\n{json.dumps(file)}:{json.dumps(record)}")

    def __exit__(self, *_: object) -> None:
        for stream in self._files.values():
            stream.close()
        with self._target.open("w", encoding="utf-8") as target:
            target.write(f'{{"info":{{"subdir":"{self._subdir}"}}')
            for kind, path in self._parts.items():
                target.write(f',\n"{kind}":{{')
                with path.open(encoding="utf-8") as part:
                    while block := part.read(1 << 22):
                        target.write(block)
                target.write("}")
                path.unlink()
            target.write(',\n"repodata_version":1}\n')


def _compress(path: Path) -> None:
    import zstandard

    with path.open("rb") as source, path.with_suffix(".json.zst").open("wb") as target:
        zstandard.ZstdCompressor(level=3).copy_stream(source, target)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a world."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--arch-records", type=int, default=ARCH_RECORDS)
    parser.add_argument("--noarch-records", type=int, default=NOARCH_RECORDS)
    parser.add_argument("--platform", action="append", dest="platforms")
    parser.add_argument("--repodata", action="store_true", help="repodata.json too, half a GB")
    given = parser.parse_args(arguments)
    world = make_world(given.seed, given.arch_records, given.noarch_records)
    write(world, given.folder, given.platforms or ["linux-64"], repodata=given.repodata)
    print(f"{len(world.projects)} projects in {given.folder}")


if __name__ == "__main__":
    main()
