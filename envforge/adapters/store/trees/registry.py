"""Which views hang on a store: one JSON file for each, written by the store's owner."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from envforge.adapters.files import is_folder, is_gone, read_text, write_text
from envforge.adapters.locking import hold
from envforge.adapters.store.acting import acting_as
from envforge.cache import layout
from envforge.errors import InvalidFile
from envforge.model.models import Repo
from envforge.model.views import RegisteredView, ViewedModel


def folder(store: Path) -> Path:
    """Where the files lie."""
    return store / layout.VIEWS / "registry"


def file_of(store: Path, path: str) -> Path:
    """The file of the view at an absolute path."""
    return folder(store) / f"{layout.note_name(path)}.json"


@contextmanager
def held(
    locks: Path,
    path: str,
    waiting: Callable[[str], None],
    *,
    owner: os.stat_result | None = None,
) -> Iterator[None]:
    """Keep others from changing the same view; look again afterwards.

    Args:
        locks: folder of the lock files: `folder(store)` for whoever may write that.
        path: of the view, absolute.
        waiting: told once, where somebody else is at it.
        owner: whose folder it is, where that may be somebody else's.

    Raises:
        FileNotUsable: the lock file cannot be made.
    """
    with ExitStack() as stack:
        with acting_as(owner) if owner else nullcontext():
            stack.enter_context(hold(locks / f"{layout.note_name(path)}.lock", waiting=waiting))
        yield


def find(store: Path, path: str) -> RegisteredView | None:
    """What is known of the view at an absolute path; None: nothing.

    Raises:
        InvalidFile: its file cannot be read.
    """
    file = file_of(store, path)
    view = _read(file) if file.is_file() else None
    return view if view is not None and view.path == path else None


def views(store: Path) -> tuple[RegisteredView, ...]:
    """All views, by path; those whose folders have gone included.

    Raises:
        InvalidFile: one that cannot be read, so that nothing is taken for unused by mistake.
    """
    found = (_read(file) for file in folder(store).glob("*.json"))
    return tuple(sorted((v for v in found if v is not None), key=lambda view: view.path))


def is_deleted(path: str) -> bool:
    """Whether a view went, and no doubt is left: it is not on a disk that is not mounted."""
    return is_gone(Path(path)) and is_folder(Path(path).parent)


def register(store: Path, view: RegisteredView) -> bool:
    """Note a view; False: it was noted just so.

    Raises:
        FileNotUsable: the store cannot be written.
    """
    file, owner = file_of(store, view.path), store.stat()
    text = json.dumps(document(view)) + "\n"
    with acting_as(owner):
        if file.is_file() and read_text(file) == text:
            return False
        open_as = stat.S_IMODE(owner.st_mode)
        write_text(file, text, mode=open_as & 0o666)
        file.parent.chmod(open_as)  # whatever the umask: who reads the store reads this
    return True


def forget(store: Path, path: str) -> bool:
    """Drop what is known of a view; False: nothing was."""
    file = file_of(store, path)
    with acting_as(store.stat()):
        there = file.is_file()
        file.unlink(missing_ok=True)
        file.with_suffix(".lock").unlink(missing_ok=True)
    return there


def document(view: RegisteredView) -> dict[str, Any]:
    """All that is known of it, for JSON."""
    return {
        "path": view.path,
        "owner": view.owner,
        "environment": view.environment,
        "source": view.source,
        "layout": view.layout,
        "hub": view.hub,
        "models": [
            {
                "repo": model.repo.id,
                "kind": model.repo.kind,
                "commit": model.commit,
                "revision": model.revision,
            }
            for model in view.models
        ],
        "modes": dict(sorted(view.modes.items())),
    }


def _read(file: Path) -> RegisteredView | None:
    """One file; None: it was removed meanwhile."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidFile(path=str(file), mistakes=(str(error),)) from error
    try:
        return _view(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidFile(
            path=str(file),
            mistakes=("it is no record of a view",),
            remedy="remove it, and make the view again: `envforge cache view`",
        ) from error


def _view(document: Mapping[str, Any]) -> RegisteredView:
    return RegisteredView(
        path=str(document["path"]),
        owner=int(document["owner"]),
        environment=str(document["environment"]),
        source=str(document.get("source", "")),
        layout=document.get("layout", "hub"),
        hub=str(document.get("hub", "")),
        models=tuple(
            ViewedModel(
                repo=Repo(kind=item["kind"], id=item["repo"]),
                commit=item["commit"],
                revision=item["revision"],
            )
            for item in document["models"]
        ),
        modes=dict(document["modes"]),
    )
