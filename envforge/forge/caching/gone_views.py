"""Views that outlived their environment, and keep files in the store for nobody."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from envforge.adapters.files import is_folder
from envforge.adapters.store.store import Store
from envforge.adapters.store.trees import registry, views
from envforge.adapters.store.trees.views import Place
from envforge.errors import EnvforgeError
from envforge.forge.caching import viewing
from envforge.forge.workplace import Workplace
from envforge.model.views import RegisteredView


def gone(store: Store) -> tuple[RegisteredView, ...]:
    """Views that show something, and whose environment's folder was deleted beyond doubt."""
    return tuple(
        view
        for view in registry.views(store.root)
        if view.source and view.models and registry.is_deleted(view.source) and _is_there(view)
    )


def _is_there(view: RegisteredView) -> bool:
    return is_folder(Path(view.path))


def remove(
    workplace: Workplace, store: Store, found: Iterable[RegisteredView]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Take them away; what their users added stays.

    Returns:
        The paths of those that went, and a sentence for each that did not.
    """
    removed, problems = list[str](), list[str]()
    for view in found:
        place = Place.of(view)
        try:
            with workplace.reporter.step(f"removing {view.path}"):
                locks = viewing.lock_folder(workplace)
                views.drop(store, place, workplace.reporter, locks=locks)
        except EnvforgeError as error:
            problems.append(str(error))
        else:
            removed.append(view.path)
    return tuple(removed), tuple(problems)
