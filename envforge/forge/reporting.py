"""`report`: gathers what the page shows. Nothing is installed, verified or measured for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from envforge.around.page import environment_rows, heatmap, lock_changes
from envforge.around.page.overview import (
    Changes,
    Disk,
    EnvironmentRow,
    Heatmap,
    LockChange,
    Overview,
    Tile,
    VerifyRow,
)
from envforge.errors import EnvforgeError, InvalidValue, NoStore
from envforge.forge import folders, looking
from envforge.forge.workplace import Workplace, this_platform
from envforge.model.results import EnvironmentInfo
from envforge.model.verified import Verified
from envforge.version import __version__

if TYPE_CHECKING:
    from envforge.adapters.git import Git
    from envforge.around.page.overview import BenchRow
    from envforge.cache.treemap import Share
    from envforge.cache.usage import Usage
    from envforge.forge.caching.front import ModelCache

HEAD: Final = "HEAD"
_UNCUT: Final = (
    "the clone is shallow: `git fetch --unshallow --tags`, or `fetch-depth: 0` in a workflow"
)
_NO_HISTORY: Final = "stand in the clone that holds the environments, or leave out `--since`"
_MOST_TILES: Final = 60
"""More could not be told apart; what is left becomes one rectangle a part."""
_WIDTH, _HEIGHT = 100.0, 40.0
"""Of the picture, one by the other, on a desktop; the rest is scaled."""


def overview(
    cache: ModelCache,
    workplace: Workplace,
    *,
    since: str | None = None,
    verified: Sequence[Path] = (),
    benchmarks: Sequence[Path] = (),
) -> Overview:
    """Everything that the page shows; see `Forge.report`.

    Raises:
        InvalidValue: `since` is no revision.
        InvalidFile, FileNotUsable: one of the files given cannot be read.
    """
    infos = tuple(looking.info(workplace, name) for name in workplace.environments.names())
    rows = tuple(_verified(workplace, infos, verified))
    return Overview(
        version=__version__,
        environments=_environments(workplace, infos, rows),
        heatmap=_heatmap(workplace, infos),
        changes=_changes(workplace, infos, since),
        disk=_disk(cache, workplace),
        verified=rows,
        benchmarks=_benchmarks(workplace, infos, benchmarks),
    )


def _environments(
    workplace: Workplace, infos: Iterable[EnvironmentInfo], rows: Iterable[VerifyRow]
) -> tuple[EnvironmentRow, ...]:
    by_name = environment_rows.by_name(rows)
    home = str(workplace.settings.home)
    return tuple(
        environment_rows.environment_row(
            info, by_name.get(info.name), platform=this_platform(), home=home
        )
        for info in infos
    )


def _heatmap(workplace: Workplace, infos: Iterable[EnvironmentInfo]) -> Heatmap:
    from envforge import matrix

    machine = workplace.probe.look()
    grid = matrix.grid(
        workplace.matrix, machine if machine.has_gpu else None, platform=this_platform()
    )
    locked = [(info.name, info.lock.target) for info in infos if info.lock and info.lock.target]
    return heatmap.heatmap(grid, locked)


# --- verifications --------------------------------------------------------------------------


def _verified(
    workplace: Workplace, infos: Sequence[EnvironmentInfo], paths: Iterable[Path]
) -> Iterator[VerifyRow]:
    """What the files hold, and else what is remembered; trouble first."""
    from envforge.adapters.last_verified import LastVerified

    memory = LastVerified(workplace.settings.cache)
    known = {info.name: info for info in infos}
    remembered = {info.name: memory.of(info.folder) for info in infos}
    given = {item.subject: item for path in paths for item in _read(path)}
    found: dict[str, Verified | None] = {**remembered, **given}
    rows = [
        environment_rows.verify_row(
            item, digest=_digest(known.get(name)), home=str(workplace.settings.home)
        )
        for name, item in found.items()
        if item is not None
    ]
    ranks = {"bad": 0, "warn": 1}
    return iter(sorted(rows, key=lambda row: (ranks.get(row.result.tone, 2), row.name)))


def _read(path: Path) -> tuple[Verified, ...]:
    from envforge.adapters.files import read_text
    from envforge.formats import verified_json

    return verified_json.read(read_text(path), str(path))


def _digest(info: EnvironmentInfo | None) -> str | None:
    return folders.digest(info.lock) if info is not None and info.lock is not None else None


def _benchmarks(
    workplace: Workplace, infos: Sequence[EnvironmentInfo], paths: Iterable[Path]
) -> tuple[BenchRow, ...]:
    """What the files hold, and of the other environments what is remembered."""
    from envforge.around.bench import bench_judging
    from envforge.around.page import bench_rows
    from envforge.forge.benching import bench

    given = [bench_judging.judged(bench.read_result(path)) for path in paths]
    shown = {side.name for item in given for side in (item.side, item.against) if side}
    names = (info.name for info in infos if info.name not in shown)
    remembered = (bench.last_result(workplace, name) for name in names)
    digests = {info.name: _digest(info) for info in infos}
    return bench_rows.rows((*given, *(item for item in remembered if item is not None)), digests)


# --- locks since a revision -----------------------------------------------------------------


def _changes(workplace: Workplace, infos: Sequence[EnvironmentInfo], since: str | None) -> Changes:
    from envforge.adapters.git import Git
    from envforge.forge.locks import lock_sides

    git = Git(workplace.processes, workplace.settings.environment, Path.cwd())
    revision = HEAD if since is None else since
    try:
        place = lock_sides.in_repository(workplace, workplace.settings.envs_folder, _NO_HISTORY)
        commit = git.commit(revision)
        if commit is None:
            raise InvalidValue(
                what="revision",
                value=revision,
                reason="names nothing that git knows here",
                remedy=_UNCUT if git.is_shallow() else None,
            )
    except EnvforgeError as error:
        if since is not None:
            raise
        return Changes(since=revision, problem=_told(workplace, error))
    with workplace.reporter.step(f"comparing the locks with {revision}"):
        found = tuple(_compared(workplace, infos, git, f"{commit}:{place}"))
    moved = frozenset(item.name for item in found)
    return Changes(
        since=revision,
        commit=commit[:12],
        same=sum(info.lock is not None and info.name not in moved for info in infos),
        environments=found,
    )


def _compared(
    workplace: Workplace, infos: Iterable[EnvironmentInfo], git: Git, tree: str
) -> Iterator[LockChange]:
    """Those that are not as they were: moved, new, gone."""
    before = frozenset(git.names(tree)) if git.kind(tree) == "tree" else frozenset()
    names = frozenset(info.name for info in infos)
    inside = tree if tree.endswith(":") else f"{tree}/"
    later = []
    for info in infos:
        if info.lock is None:
            if info.problem:
                home = str(workplace.settings.home)
                told = environment_rows.shortened(info.problem, home)
                yield lock_changes.unknown(info.name, told)
            elif git.kind(f"{inside}{info.name}/conda-lock.yml") == "blob":
                later.append(lock_changes.unlocked(info.name))
            continue
        if info.name not in before or git.kind(f"{inside}{info.name}/conda-lock.yml") is None:
            later.append(lock_changes.new(info.name, len(info.lock.packages)))
            continue
        change = _moved(workplace, info, f"{inside}{info.name}")
        if change is not None:
            yield change
    yield from later
    for name in sorted(before - names):
        if git.kind(f"{inside}{name}/conda-lock.yml") == "blob":
            yield lock_changes.gone(name)


def _moved(workplace: Workplace, info: EnvironmentInfo, before: str) -> LockChange | None:
    from envforge.forge.locks import differing

    try:
        found = differing.diff(workplace, before, str(info.folder))
    except EnvforgeError as error:
        return lock_changes.unknown(info.name, _told(workplace, error))
    return None if found.is_same else lock_changes.moved(info.name, found)


# --- the disk -------------------------------------------------------------------------------


def _disk(cache: ModelCache, workplace: Workplace) -> Disk:
    from envforge.cache import treemap

    try:
        usage = cache.scan()
    except NoStore:
        return Disk(problem="No store of model files yet: `envforge cache init` makes one.")
    except EnvforgeError as error:
        return Disk(problem=_told(workplace, error))
    return _measured(usage, treemap.shares(usage), str(workplace.settings.home))


def _measured(usage: Usage, shares: Sequence[Share], home: str) -> Disk:
    from envforge.cache.treemap import Box, squarify

    shown = sorted(_merged(shares), key=lambda item: -item.bytes)
    boxes = squarify([item.bytes for item in shown], Box(x=0, y=0, width=_WIDTH, height=_HEIGHT))
    scale = 100 / _HEIGHT
    return Disk(
        total=usage.total.bytes,
        shared=usage.total.shared,
        own=usage.total.own,
        reclaimable=usage.total.reclaimable,
        tiles=tuple(
            Tile(
                repo=item.repo,
                users=_users(item, home),
                part=item.part,
                bytes=item.bytes,
                x=box.x,
                y=box.y * scale,
                width=box.width,
                height=box.height * scale,
            )
            for item, box in zip(shown, boxes, strict=True)
        ),
    )


def _merged(shares: Sequence[Share]) -> Iterator[Share]:
    """The largest, and the sum of the others by their part."""
    from envforge.cache.treemap import Share

    if len(shares) <= _MOST_TILES:
        yield from shares
        return
    yield from shares[:_MOST_TILES]
    for part in ("shared", "own", "reclaimable"):
        rest = [item for item in shares[_MOST_TILES:] if item.part == part]
        if rest:
            count = f"{len(rest):,} smaller ones"
            total = sum(item.bytes for item in rest)
            yield Share(users=(), repo=count, part=part, bytes=total)


def _users(share: Share, home: str) -> str:
    if not share.users:
        return "nobody" if share.part == "reclaimable" else "several"
    return ", ".join(environment_rows.shortened(user, home) for user in share.users)


def _told(workplace: Workplace, error: EnvforgeError) -> str:
    return environment_rows.shortened(str(error), str(workplace.settings.home))
