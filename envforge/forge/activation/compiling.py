"""`cache compile`: what torch.compile, Triton and the driver keep for an environment."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from envforge.adapters.activation import activation_scripts, compiled
from envforge.adapters.files import absolute
from envforge.adapters.prefix.recognise import interpreter_of
from envforge.adapters.prefix_reader import read_record
from envforge.around.activation import compile_collect
from envforge.errors import BrokenPrefix
from envforge.forge.prefixes.entering import folder_of, run_variables
from envforge.forge.prefixes.locating import refuse_of_another, usable_prefix
from envforge.forge.workplace import Workplace
from envforge.model.compile_cache import (
    KINDS,
    SHARED_KINDS,
    CompileCache,
    CompileChange,
    CompiledUsage,
    CompileTrial,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEDS: Final = "etc/envforge/compiled"
"""Below a prefix, so that what is shared is trusted, and goes, with the environment itself."""


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where the compiled code of one environment lies for this user and machine."""

    folder: Path
    prefix: Path
    place: Path
    machine: str

    @property
    def seed(self) -> Path:
        return self.prefix / SEEDS / self.machine


def show(workplace: Workplace, env: str, prefix: Path | None) -> CompileCache:
    """What there is; nothing is written."""
    return _looked_at(_spot(workplace, env, prefix))


def share(workplace: Workplace, env: str, prefix: Path | None) -> CompileChange:
    """Copy what this user compiled into the environment, for everybody who enters it.

    Raises:
        FileNotUsable: only the environment's owner may.
    """
    spot = _spot(workplace, env, prefix)
    refuse_of_another(spot.folder, spot.prefix)
    with workplace.reporter.step(f"sharing compiled code in {spot.seed}"):
        files, size = compiled.share(spot.place, spot.seed)
    return CompileChange(
        cache=_looked_at(spot), task="shared", files=files, size=size, where=spot.seed
    )


def pack(workplace: Workplace, env: str, output: Path, prefix: Path | None) -> CompileChange:
    """Put finished files into one tar."""
    spot = _spot(workplace, env, prefix)
    target = absolute(output)
    files, size, digest = compiled.pack(spot.place, target, _purpose(spot))
    return CompileChange(
        cache=_looked_at(spot),
        task="packed",
        files=files,
        size=size,
        where=target,
        sha256=digest,
    )


def unpack(workplace: Workplace, env: str, source: Path, prefix: Path | None) -> CompileChange:
    """Verify such a tar, and put its files into this user's folder."""
    spot = _spot(workplace, env, prefix)
    files, size = compiled.unpack(absolute(source), spot.place, _purpose(spot))
    return CompileChange(
        cache=_looked_at(spot), task="unpacked", files=files, size=size, where=spot.place
    )


def collect(
    workplace: Workplace,
    env: str,
    *,
    limit: int,
    older_than: float,
    prefix: Path | None,
    dry_run: bool,
) -> CompileChange:
    """Remove the least recently used, for every kind of machine, until the rest is within `limit`.

    What was used within the last `older_than` seconds stays.
    """
    spot = _spot(workplace, env, prefix)
    top = spot.place.parent
    found = compiled.walk(top, tuple(_collected(workplace, top)))
    going = compile_collect.plan(found, limit=limit, unused_since=time.time() - older_than)
    gone = [item for item in found if compile_collect.unit(item.path) in set(going)]
    if not dry_run:
        compiled.remove(top, going)
    return CompileChange(
        cache=_looked_at(spot),
        task="collected",
        files=len(gone),
        size=sum(item.size for item in gone if not item.is_link),
        where=top,
        dry_run=dry_run,
    )


def _collected(workplace: Workplace, top: Path) -> Iterator[str]:
    """Folders that are emptied: nobody knows what else lies where a link leads."""
    for path in (machine / kind for machine in _machines(top) for kind in SHARED_KINDS):
        if path.is_symlink():
            workplace.reporter.warn(f"`{path}` is a link: what it leads to is left as it is")
        else:
            yield str(path.relative_to(top))


def attempt(workplace: Workplace, env: str, prefix: Path | None) -> CompileTrial:
    """Compile a small function with the environment's torch and variables: hit or miss.

    Raises:
        BrokenPrefix: the environment has no Python.
        ToolFailed: torch.compile does not work here.
    """
    spot = _spot(workplace, env, prefix)
    from envforge.adapters.activation import compile_trial

    python = interpreter_of(spot.prefix)
    if python is None:
        raise BrokenPrefix(
            prefix=str(spot.prefix), reason="has no Python", remedy=f"`envforge install {env}`"
        )
    with workplace.reporter.step("compiling a small function"):
        told = compile_trial.tell(
            python, run_variables(workplace, spot.folder, spot.prefix), workplace.processes
        )
    return CompileTrial(
        environment=spot.folder.name,
        machine=spot.machine,
        hits=told.hits,
        misses=told.misses,
        seconds=told.seconds,
        place=told.place,
        skipped=told.skipped,
    )


def _spot(workplace: Workplace, env: str, prefix: Path | None) -> _Spot:
    folder = folder_of(workplace, env, prefix)
    installed = usable_prefix(workplace, folder, prefix)
    place, machine = activation_scripts.compiled_place(
        installed, workplace.settings.environment, workplace.processes
    )
    if not machine:
        raise BrokenPrefix(
            prefix=str(installed),
            reason="keeps no compiled code: it was installed before envforge could",
            remedy=f"`envforge install {folder.name}`",
        )
    if not place:
        raise BrokenPrefix(
            prefix=str(installed),
            reason="has no place for compiled code: neither ENVFORGE_CACHE nor HOME is a full path",
            remedy="`export ENVFORGE_CACHE=/a/folder/of/yours`",
        )
    return _Spot(folder, installed, Path(place), machine)


def _purpose(spot: _Spot) -> compiled.PackedFor:
    marker = read_record(spot.prefix)
    return compiled.PackedFor(
        environment=spot.folder.name, machine=spot.machine, lock=marker.digest if marker else ""
    )


def _looked_at(spot: _Spot) -> CompileCache:
    shared = compiled.walk(spot.seed, SHARED_KINDS)
    return CompileCache(
        environment=spot.folder.name,
        prefix=spot.prefix,
        machine=spot.machine,
        place=spot.place,
        usage=tuple(_usage(spot.place)),
        seed=spot.seed,
        seed_files=len(shared),
        seed_size=sum(item.size for item in shared),
        others=tuple(
            (path.name, sum(item.size for item in _usage(path)))
            for path in _machines(spot.place.parent)
            if path.name != spot.machine
        ),
    )


def _usage(place: Path) -> Iterator[CompiledUsage]:
    for kind in KINDS:
        files = compiled.walk(place, [kind])
        own = [item for item in files if not item.is_link]
        yield CompiledUsage(
            kind=kind,
            path=place / kind,
            files=len(own),
            size=sum(item.size for item in own),
            linked=len(files) - len(own),
        )


def _machines(top: Path) -> list[Path]:
    return compiled.folders(top)
