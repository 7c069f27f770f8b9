"""A model for a program: from a cache that is here, else, where that is allowed, from the hub."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from envforge.adapters.files import is_folder
from envforge.adapters.hub import reach, snapshots
from envforge.adapters.store.trees import registry
from envforge.adapters.users import folder_of
from envforge.cache import hub_variables
from envforge.errors import FileNotUsable, InvalidFile, InvalidValue, NotCached, Unreachable
from envforge.forge.caching.activating import view_path
from envforge.forge.workplace import Workplace
from envforge.formats.models import model_spec
from envforge.model.found import POLICIES, ModelPath, Policy
from envforge.model.models import ModelRequest
from envforge.model.settings import Settings

_LOG = logging.getLogger(__name__)


def path(
    workplace: Workplace,
    repo: str,
    *,
    revision: str | None,
    allow: Sequence[str],
    ignore: Sequence[str],
    policy: Policy,
    cache: Path | None,
) -> ModelPath:
    """The folder of a snapshot.

    Raises:
        InvalidValue: a repository, revision or policy that cannot be.
        NotCached: it is not here, and nobody may be asked.
        NoSuchModel, Unreachable: the hub has it not, or does not answer.
    """
    request = _request(repo, revision, allow, ignore)
    if policy not in POLICIES:
        raise InvalidValue(what="policy", value=policy, reason=f"is none of {', '.join(POLICIES)}")
    caches = list(dict.fromkeys([cache] if cache is not None else _caches(workplace)))
    found = _found(workplace.settings, request, caches, policy)
    _LOG.info("%s: %s", found.source, found)
    return found


def _found(
    settings: Settings, request: ModelRequest, caches: Sequence[Path], policy: Policy
) -> ModelPath:
    if policy == "online":
        return _online(settings, request, caches)
    local = _local(settings, request, caches)
    if local is not None and local.complete:
        return local
    if policy == "local-only" or reach.why_offline(settings):
        return _as_it_is(local, request, caches, settings)
    try:
        return _online(settings, request, caches)
    except Unreachable:
        if local is None or local.complete is False:
            raise
        return local


def _request(
    repo: str, revision: str | None, allow: Sequence[str], ignore: Sequence[str]
) -> ModelRequest:
    request = model_spec.parse(repo if revision is None else f"{repo}@{revision}")
    return replace(request, allow=tuple(allow), ignore=tuple(ignore))


# --- here -----------------------------------------------------------------------------------


def _caches(workplace: Workplace) -> Iterator[Path]:
    """Where to look, in order: what the clients use, the views that are meant for us, our own."""
    variables, home = workplace.settings.environment, workplace.settings.home
    named = {name: value for name, value in variables.items() if name in hub_variables.READ}
    yield _expanded(hub_variables.hub_cache(named, str(home))[0], home)
    environment, user = variables.get("CONDA_DEFAULT_ENV", ""), folder_of(os.geteuid())
    views = [view_path(workplace, "user", user)]
    if environment and "/" not in environment:
        views.insert(0, view_path(workplace, "env", user, environment))
    yield from filter(is_folder, views)  # to make one is no download's business
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        named.pop(name, None)
    yield _expanded(hub_variables.hub_cache(named, str(home))[0], home)


def _expanded(text: str, home: Path) -> Path:
    """`huggingface_hub.constants` expands both."""
    expanded = os.path.expandvars(text)
    if expanded == "~" or expanded.startswith("~/"):
        return home / expanded[2:]
    return Path(expanded)


def _local(settings: Settings, request: ModelRequest, caches: Sequence[Path]) -> ModelPath | None:
    """The first that is complete, else the first of which that is not known, else any part."""

    def is_whole(cache: Path, commit: str) -> bool:
        return _is_locked_view(settings, request, cache, commit)

    found = [snapshots.find(cache, request, is_whole=is_whole) for cache in caches]
    here = [item for item in found if item is not None]
    return min(here, key=lambda item: (True, None, False).index(item.complete), default=None)


def _is_locked_view(settings: Settings, request: ModelRequest, cache: Path, commit: str) -> bool:
    """Whether a view shows what a lock names, so that it is as whole as somebody wanted it."""
    try:
        view = registry.find(settings.store, str(cache))
    except (InvalidFile, OSError):
        return False
    if view is None:
        return False
    return any(model.repo == request.repo and model.commit == commit for model in view.models)


def _as_it_is(
    local: ModelPath | None, request: ModelRequest, caches: Sequence[Path], settings: Settings
) -> ModelPath:
    if local is not None and local.complete is not False:
        return local
    what = f"{request.repo.kind} `{request.repo.id}` at `{request.revision}`"
    why = reach.why_offline(settings) or "local-only"
    raise NotCached(
        what=what if local is None else f"all of {what}",
        searched=tuple(map(str, caches)),
        remedy=f"the hub is not asked (`{why}`); `envforge cache prefill` fetches what is locked",
    )


# --- from the hub ---------------------------------------------------------------------------


def _online(settings: Settings, request: ModelRequest, caches: Sequence[Path]) -> ModelPath:
    from envforge.adapters.hub.downloading import download

    reach.check(settings)
    target = next((cache for cache in caches if _is_writable(cache)), None)
    if target is None:
        raise FileNotUsable(
            path=str(caches[0]),
            reason="may not be written, nor any other cache of this user",
            remedy="name a folder of your own: `HF_HUB_CACHE=DIR`",
        )
    return download(settings, request, target)


def _is_writable(cache: Path) -> bool:
    there = next(path for path in (cache, *cache.parents) if os.path.exists(path))  # noqa: PTH110
    return os.access(there, os.W_OK | os.X_OK)
