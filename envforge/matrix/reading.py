"""Reading the tables in `data/`: tab-separated text with a header line and `#` comments.

A cell that is empty is unknown; `-` says that there is none. Both are None here: the rows'
docstrings say which questions can tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from envforge.matrix.tables import (
    Architecture,
    BadPair,
    Board,
    Build,
    CompatPackage,
    Effect,
    LibraryFloor,
    Line,
    Matrix,
    Reference,
    Release,
    Toolkit,
    ToolkitRelease,
)
from envforge.model.cuda import CPU, ComputeCapability, CudaVersion
from envforge.model.machine import Platform
from envforge.model.spec import Source

DATA = Path(__file__).with_name("data")
"""Where the tables lie; they travel in the wheel."""

_PARTNERS = ("torchvision", "torchaudio", "torchtext", "triton")


@lru_cache(maxsize=1)
def load() -> Matrix:
    """The matrix of this release of envforge; read once, about ten milliseconds."""
    return read(DATA)


def read(folder: Path) -> Matrix:
    """Read a folder of tables. Raises ValueError, with file and line, for a malformed row."""
    return Matrix(
        releases=tuple(_release(row) for row in rows(folder / "releases.tsv")),
        builds=tuple(_build(row) for row in rows(folder / "builds.tsv")),
        toolkits=tuple(_toolkit(row) for row in rows(folder / "toolkits.tsv")),
        architectures=tuple(_architecture(row) for row in rows(folder / "architectures.tsv")),
        boards=tuple(_board(row) for row in rows(folder / "boards.tsv")),
        bad_pairs=tuple(_bad_pair(row) for row in rows(folder / "bad_pairs.tsv")),
        compat_packages=tuple(_compat(row) for row in rows(folder / "forward_compat.tsv")),
        library_floors=tuple(_floor(row) for row in rows(folder / "library_floors.tsv")),
        partners=_exceptions(rows(folder / "partners.tsv")),
        references={row["id"]: _reference(row) for row in rows(folder / "sources.tsv")},
    )


def rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of one table, by column name. Raises ValueError for a row of another width."""
    header: list[str] | None = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith("#"):
            continue
        cells = line.split("\t")
        if header is None:
            header = cells
        elif len(cells) == len(header):
            yield dict(zip(header, cells, strict=True))
        else:
            raise ValueError(
                f"{path}:{number}: {len(cells)} cells, and the header has {len(header)}"
            )


def _value(cell: str) -> str | None:
    return None if cell in {"", "-"} else cell


@lru_cache(maxsize=512)
def _words(cell: str) -> tuple[str, ...]:
    return () if cell == "-" else tuple(cell.split())


@lru_cache(maxsize=64)
def _cuda(cell: str) -> CudaVersion | None:
    if cell in {"", "-", CPU}:
        return None
    major, minor = cell.split(".")
    return CudaVersion(int(major), int(minor))


@lru_cache(maxsize=64)
def _capability(cell: str) -> ComputeCapability | None:
    if cell in {"", "-"}:
        return None
    major, minor = cell.split(".")
    return ComputeCapability(int(major), int(minor))


def _pair(cell: str) -> tuple[int, int] | None:
    major, _, minor = cell.partition(".")
    return (int(major), int(minor)) if minor else None


def _known(cuda_or_capability: Any, cell: str) -> Any:
    if cuda_or_capability is None:
        raise ValueError(f"a number is needed, not {cell!r}")
    return cuda_or_capability


def _release(row: dict[str, str]) -> Release:
    return Release(
        torch=row["torch"],
        date=row["date"],
        python_min=row["python_min"],
        python_max=row["python_max"],
        experimental=_words(row["experimental"]),
        partners={name: row[name] for name in _PARTNERS if _value(row[name])},
        unrecorded=_words(row["unrecorded"]),
        sources=_words(row["sources"]),
    )


def _build(row: dict[str, str]) -> Build:
    return Build(
        torch=row["torch"],
        source=cast("Source", row["source"]),
        platform=cast("Platform", row["platform"]),
        cuda=_cuda(row["cuda"]),
        pythons=_words(row["pythons"]),
        cudnn=_value(row["cudnn"]),
        nccl=_value(row["nccl"]),
        architectures=_words(row["architectures"]),
        glibc=_value(row["glibc"]),
        metapackage=_value(row["metapackage"]),
        label=_value(row["label"]),
        toolkit=_value(row["toolkit"]),
        default=row["default"] == "yes",
        sources=_words(row["sources"]),
        note=row["note"],
    )


def _toolkit(row: dict[str, str]) -> Toolkit:
    return Toolkit(
        cuda=_known(_cuda(row["cuda"]), row["cuda"]),
        min_driver_linux=_value(row["min_driver_linux"]),
        min_driver_windows=_value(row["min_driver_windows"]),
        minor_version=row["minor_version"] == "yes",
        branch=_value(row["branch"]),
        releases=tuple(_toolkit_release(cell) for cell in _words(row["releases"])),
        arch_min=_capability(row["arch_min"]),
        arch_max=_capability(row["arch_max"]),
        ptx=_pair(row["ptx"]),
        max_gcc=int(row["max_gcc"]) if row["max_gcc"] else None,
        sources=_words(row["sources"]),
        note=row["note"],
    )


def _toolkit_release(cell: str) -> ToolkitRelease:
    version, _, drivers = cell.partition("=")
    linux, _, windows = drivers.partition("/")
    return ToolkitRelease(
        version=version, driver_linux=linux or None, driver_windows=windows or None
    )


def _architecture(row: dict[str, str]) -> Architecture:
    return Architecture(
        capability=_known(_capability(row["capability"]), row["capability"]),
        family=row["family"],
        integrated={"yes": True, "no": False}.get(row["integrated"]),
        first_toolkit=_cuda(row["first_toolkit"]),
        last_toolkit=_cuda(row["last_toolkit"]),
        alias=_capability(row["alias"]),
        sources=_words(row["sources"]),
        note=row["note"],
    )


def _board(row: dict[str, str]) -> Board:
    return Board(
        name=row["board"],
        capability=_known(_capability(row["capability"]), row["capability"]),
        line=cast("Line | None", _value(row["line"])),
        sources=_words(row["sources"]),
    )


def _compat(row: dict[str, str]) -> CompatPackage:
    return CompatPackage(
        cuda=_known(_cuda(row["cuda"]), row["cuda"]),
        driver=row["driver"],
        on=_words(row["on"]),
        sources=_words(row["sources"]),
    )


def _floor(row: dict[str, str]) -> LibraryFloor:
    return LibraryFloor(
        library=row["library"],
        since=row["since"],
        min_capability=_known(_capability(row["min_capability"]), row["min_capability"]),
        sources=_words(row["sources"]),
    )


def _bad_pair(row: dict[str, str]) -> BadPair:
    return BadPair(
        name=row["id"],
        effect=cast("Effect", row["effect"]),
        torch=row["torch"],
        sources=_words(row["sources"]),
        platforms=_words(row["platforms"]),
        pythons=_words(row["pythons"]),
        cudas=tuple(_known(_cuda(cell), cell) for cell in _words(row["cuda"])),
        gpus=row["gpus"],
        package=row["package"],
        range=row["range"],
        text=row["text"],
        fix=row["fix"],
        references=_words(row["references"]),
    )


def _exceptions(table: Iterator[dict[str, str]]) -> dict[tuple[str, str], dict[str, str]]:
    found: dict[tuple[str, str], dict[str, str]] = {}
    for row in table:
        found.setdefault((row["torch"], row["source"]), {})[row["package"]] = row["version"]
    return found


def _reference(row: dict[str, str]) -> Reference:
    return Reference(name=row["id"], title=row["title"], url=_value(row["url"]))
