"""What was published: the cells (torch, CUDA, source) that exist for platforms and a Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from envforge.matrix import versions
from envforge.matrix.tables import Build, Matrix
from envforge.model.cuda import CudaVersion
from envforge.model.machine import PLATFORMS
from envforge.model.spec import SOURCES, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One torch, CUDA and source, with its build for each platform asked for."""

    torch: str
    cuda: CudaVersion | None
    source: Source
    builds: tuple[Build, ...]

    @property
    def primary(self) -> Build:
        """The build that is judged against a machine: linux-64 where it was asked for."""
        return min(self.builds, key=lambda build: PLATFORMS.index(build.platform))

    @property
    def pythons(self) -> tuple[str, ...]:
        """The Pythons that every platform has, oldest first."""
        common = set.intersection(*(set(build.pythons) for build in self.builds))
        return tuple(sorted(common, key=versions.key))


def cells(
    torch: str,
    cuda: CudaVersion | None,
    matrix: Matrix,
    *,
    platforms: Sequence[str],
    python: str | None = None,
    sources: Sequence[Source] = SOURCES,
) -> Iterator[Cell]:
    """The cells of one torch and CUDA that exist on every platform, in the order of `sources`.

    `python` is major.minor; None: any, but one that the platforms share.
    """
    builds = [build for build in matrix.of(torch) if build.cuda == cuda]
    for source in sources:
        own = {build.platform: build for build in builds if build.source == source}
        if not all(platform in own for platform in platforms):
            continue
        found = Cell(
            torch=torch,
            cuda=cuda,
            source=source,
            builds=tuple(own[platform] for platform in dict.fromkeys(platforms)),  # type: ignore[index]
        )
        if python in found.pythons if python else found.pythons:
            yield found


def sources_for(
    torch: str,
    cuda: CudaVersion | None,
    matrix: Matrix,
    *,
    python: str | None = None,
    platform: str = "linux-64",
) -> tuple[Source, ...]:
    """Which sources carry this torch for this CUDA, Python (major.minor) and platform."""
    found = cells(torch, cuda, matrix, platforms=(platform,), python=python)
    return tuple(cell.source for cell in found)


def cudas_of(builds: Sequence[Build]) -> tuple[CudaVersion, ...]:
    """The CUDAs of builds, oldest first."""
    return tuple(sorted({build.cuda for build in builds if build.cuda}))
