"""`envforge doctor`: what is wrong with this machine, for all who work on it.

`verify --host` judges the driver and the GPUs, `cache doctor` the model store, `gpu` who holds
memory; here they are asked, and the rest is looked at: disks, quotas, package caches, servers,
clock, umask.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from envforge.adapters.hub import reach
from envforge.adapters.server import disks, package_caches
from envforge.adapters.server.network import Asking
from envforge.adapters.store.looking import filesystem
from envforge.adapters.users import name_of
from envforge.around.server import gpu_memory
from envforge.around.server.server_checks import TOPICS
from envforge.around.server.server_facts import Address, PackageCache, ServerFacts, Spot
from envforge.errors import EnvforgeError
from envforge.forge.caching import doctoring as store_doctoring
from envforge.forge.judging import naming, verifying
from envforge.forge.server import watching
from envforge.forge.workplace import Workplace
from envforge.model.checkup import Checkup, Topic
from envforge.model.finding import Outcome, judged
from envforge.model.wording import counted

_MEMORY_CLAIM = "Nobody holds memory of a GPU without using it"


def examine(
    workplace: Workplace, *, network: bool = True, speed: bool = True, seconds: float = 1.0
) -> Checkup:
    """Look at everything; what cannot be looked at is said, and stops nothing else.

    Raises:
        InvalidValue: `seconds` is out of range.
    """
    asking = _asking(workplace, network=network)
    topics = [
        _host(workplace),
        _memory(workplace, seconds),
        _store(workplace, speed=speed),
    ]
    with workplace.reporter.step("asking channels, indexes and the hub"):
        answers = asking if isinstance(asking, tuple) else asking.answers()
    seen = _facts(workplace, answers)
    facts = {
        "disks": dict(_of_disks(seen.spots)),
        "quotas": dict(_of_quotas(seen.spots)),
        "package cache": dict(_of_caches(seen.caches)),
        "network": dict(_of_addresses(seen.addresses)),
        "clock": {},
        "umask": {} if seen.umask is None else {"yours": f"{seen.umask:04o}"},
    }
    others = [
        Topic(name=name, outcomes=judged(checks, seen), facts=facts[name])
        for name, checks in TOPICS.items()
    ]
    store = topics.pop()
    place = list(TOPICS).index("package cache") + 1
    return Checkup(topics=(*topics, *others[:place], store, *others[place:]))


# --- what others judge ----------------------------------------------------------------------


def _host(workplace: Workplace) -> Topic:
    try:
        [report] = verifying.verify(workplace, naming.Named(host=True), naming.Looking())
    except EnvforgeError as error:
        return _failed("driver and GPUs", "verify", error)
    return Topic(name="driver and GPUs", outcomes=report.outcomes, facts=report.proven)


def _memory(workplace: Workplace, seconds: float) -> Topic:
    report = watching.look(workplace, seconds=seconds)
    outcome = Outcome(
        check="gpu-memory",
        claim=_MEMORY_CLAIM,
        verdict="failed" if report.findings else "passed",
        findings=report.findings,
    )
    if report.driver is None:
        outcome = replace(outcome, verdict="inapplicable")
    elif report.problem:
        outcome = replace(outcome, verdict="unproven", detail=report.problem)
    return Topic(name="GPU memory", outcomes=(outcome,), facts=gpu_memory.in_short(report))


def _store(workplace: Workplace, *, speed: bool) -> Topic:
    try:
        diagnosis = store_doctoring.diagnose(workplace, speed=speed)
    except EnvforgeError as error:
        return _failed("model store", "store", error)
    return Topic(name="model store", outcomes=diagnosis.outcomes, facts=diagnosis.facts)


def _failed(topic: str, check: str, error: EnvforgeError) -> Topic:
    """Something that cannot be looked at at all; the other topics can."""
    told = f"{error}; {error.hint}" if error.hint else str(error)
    outcome = Outcome(check=check, claim="It can be looked at", verdict="crashed", detail=told)
    return Topic(name=topic, outcomes=(outcome,))


# --- what is looked at here -----------------------------------------------------------------


def _asking(workplace: Workplace, *, network: bool) -> Asking | tuple[Address, ...]:
    settings = workplace.settings
    forbidden = reach.why_offline(settings) if settings.offline else ""
    offline = "--no-network" if not network else forbidden
    try:
        return Asking(settings, workplace.uv.settings, offline=offline)
    except EnvforgeError as error:  # pip's or conda's settings cannot be read
        shown = Address(name="pip", kind="wheel index", url="", state="missing", reason=str(error))
        return (shown,)


def _facts(workplace: Workplace, answers: tuple[Address, ...]) -> ServerFacts:
    settings = workplace.settings
    return ServerFacts(
        spots=disks.spots(settings),
        caches=package_caches.look(settings),
        addresses=answers,
        uid=os.geteuid(),
        umask=filesystem.umask(),
        login_umask=disks.login_umask(settings.host_root),
        protected_hardlinks=filesystem.protected_hardlinks(),
        clock_kept=disks.clock_kept(),
    )


def _of_disks(spots: tuple[Spot, ...]) -> Iterator[tuple[str, str]]:
    first: dict[int, str] = {}
    for spot in spots:
        other = first.setdefault(spot.place.device, spot.name)
        where = _disk(spot) if other == spot.name else f"the same disk as {other}"
        yield spot.name, f"{spot.place.path}, {where}"


def _disk(spot: Spot) -> str:
    place = spot.place
    room = f"{place.free_bytes / 1e9:,.1f} of {place.all_bytes / 1e9:,.1f} GB free"
    return f"{room} ({place.kind or 'unknown'} on {place.mount or '?'})"


def _of_quotas(spots: tuple[Spot, ...]) -> Iterator[tuple[str, str]]:
    for spot in spots:
        left = [f"{spot.quota_bytes / 1e9:,.1f} GB"] if spot.quota_bytes is not None else []
        left += [f"{spot.quota_files:,} files"] if spot.quota_files is not None else []
        if left:
            yield spot.name, f"{' and '.join(left)} left"


def _of_caches(caches: tuple[PackageCache, ...]) -> Iterator[tuple[str, str]]:
    for cache in caches:
        place = cache.place
        whose = f"owner {name_of(place.owner)}, mode {place.mode:04o}"
        there = f"{counted(cache.packages, 'package')}, {whose}" if place.exists else _absent(cache)
        yield "in use" if cache.is_ours else "also", f"{place.path}, {there}"


def _absent(cache: PackageCache) -> str:
    return f"hidden by `{cache.place.nearest}`" if cache.is_hidden else "none yet"


def _of_addresses(addresses: tuple[Address, ...]) -> Iterator[tuple[str, str]]:
    for item in addresses:
        how = item.reason or item.state
        if item.milliseconds is not None:
            how = f"{item.milliseconds:.0f} ms"
        yield f"{item.kind} {item.name}" if item.kind != "hub" else "hub", f"{item.url}, {how}"
