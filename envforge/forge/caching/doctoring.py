"""`envforge cache doctor`: what about the disk and its settings is in the way."""

from __future__ import annotations

from collections.abc import Iterator

from envforge.adapters.store.looking import filesystem
from envforge.adapters.users import name_of
from envforge.cache import disk_checks
from envforge.cache.disk_facts import Surroundings
from envforge.forge.workplace import Workplace
from envforge.model.health import Diagnosis
from envforge.model.place import Place


def diagnose(workplace: Workplace, *, speed: bool = True) -> Diagnosis:
    """Look and judge; works before there is a store, too."""
    settings = workplace.settings
    with workplace.reporter.step("trying out the disk"):
        seen = filesystem.look(
            settings.store,
            settings.views,
            settings.environment,
            home=settings.home,
            speed=speed,
        )
    return Diagnosis(outcomes=disk_checks.diagnose(seen), facts=dict(_facts(seen)))


def _facts(seen: Surroundings) -> Iterator[tuple[str, str]]:
    """What a person who asks for help would be asked."""
    there = "" if seen.is_store else " (none yet)"
    yield "store", f"{seen.store.path}{there}"
    yield "disk", _disk(seen.store)
    yield "room", _room(seen.store)
    yield "owner", f"{name_of(seen.store.owner)}, mode {seen.store.mode:04o}"
    if seen.views.mount != seen.store.mount:
        yield "views", f"{seen.views.path}, {_disk(seen.views)}"
    else:
        yield "views", seen.views.path
    yield "links", ", ".join(_links(seen)) or "not tried"
    if seen.trials.read_rate is not None:
        yield "read", f"{seen.trials.read_rate / 1e6:,.0f} MB/s"
    yield "served", "yes" if seen.is_served else "no"
    yield "hub cache", f"{seen.hub.place.path} (by {seen.hub.named_by})"


def _disk(place: Place) -> str:
    options = sorted(place.options & {"ro", "rw", "noatime", "relatime", "nodiratime", "sync"})
    return f"{place.kind or 'unknown'} on {place.mount or '?'} ({', '.join(options)})"


def _room(place: Place) -> str:
    free = f"{place.free_bytes / 1e9:,.1f} of {place.all_bytes / 1e9:,.1f} GB free"
    return f"{free}, {place.free_inodes:,} inodes" if place.free_inodes is not None else free


def _links(seen: Surroundings) -> Iterator[str]:
    said = seen.trials.hardlink if seen.trials.to_views is None else seen.trials.to_views
    if said is not None:
        yield f"hardlinks {f'fail ({said})' if said else 'work'}"
    if seen.trials.reflink is not None:
        yield f"reflinks {'do not' if seen.trials.reflink else 'work'}"
