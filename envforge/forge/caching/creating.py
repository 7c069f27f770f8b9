"""The models' part of `create`: what is locked comes into the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from envforge.errors import NoStore
from envforge.forge.caching import model_files
from envforge.forge.workplace import Workplace
from envforge.model.fetching import Prefilled

if TYPE_CHECKING:
    from envforge.forge.caching.front import ModelCache


def prefill(cache: ModelCache, workplace: Workplace, folder: Path) -> Prefilled | None:
    """Fetch what the folder locks; None: it locks nothing, or there is no store of ours.

    Raises:
        StaleLock: models.yml was edited since.
        CacheError, Unreachable: as `cache prefill`.
    """
    found = model_files.read(workplace, folder)
    if found.lock is None and found.document is None:
        return None
    later = f"`envforge cache prefill {folder.name}` fetches the models"
    try:
        ours = cache.store.is_ours
    except NoStore:
        workplace.reporter.note(f"there is no store yet: after `envforge cache init`, {later}")
        return None
    if not ours:
        workplace.reporter.note(f"the store belongs to somebody else: run by its owner, {later}")
        return None
    return cache.prefill([str(folder)])
