"""`cache view` and `cache env`: cache trees for environments, users and folders."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from envforge.adapters.files import is_folder
from envforge.adapters.hub import reach
from envforge.adapters.store.serving.service_client import ServedStore, served
from envforge.adapters.store.store import Store
from envforge.adapters.store.trees.folders import Owner
from envforge.adapters.store.trees.roots import nearest_owner
from envforge.adapters.store.trees.views import Place, build, drop
from envforge.adapters.users import folder_of
from envforge.cache import view_variables
from envforge.cache.view_plan import ViewPlan, plan_flat, plan_view
from envforge.errors import InvalidFile, InvalidValue, NoSuchEnvironment, NotCached
from envforge.forge import folders
from envforge.forge.caching import locking, model_files
from envforge.forge.caching.activating import (
    flat_beside,
    installed_transformers,
    view_path,
)
from envforge.forge.prefixes import locating
from envforge.forge.workplace import Workplace, this_platform
from envforge.formats.models import model_spec
from envforge.model.models import LockedModel
from envforge.model.views import ViewLayout, ViewResult, ViewVariables


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """What a view was asked for."""

    kind: Literal["env", "user", "folder"]
    path: Path
    """Where the view lies, absolute."""
    owner: Owner
    folder: Path | None = None
    """The environment's."""
    prefill: str = ""
    """What `cache prefill` is to be told where files are missing."""

    @property
    def flat(self) -> Path:
        """Where the flat view beside it lies."""
        return flat_beside(self.path)

    @property
    def environment(self) -> str:
        """Its name; empty: it is for none in particular."""
        return self.folder.name if self.folder else ""

    def place(self, layout: ViewLayout, hub: str = "") -> Place:
        """Where one of the two lies, and for whom."""
        path = self.flat if layout == "flat" else self.path
        return Place(
            path=path,
            owner=self.owner,
            environment=self.environment,
            source=str(self.folder.absolute()) if self.folder else "",
            layout=layout,
            hub=hub,
            prefill=self.prefill,
        )


def view(
    workplace: Workplace,
    store: Store,
    target: str,
    *,
    environments: Sequence[str],
    models: Sequence[str],
    user: str | None,
    flat: bool | None,
) -> tuple[ViewResult, ...]:
    """Make or refresh a view: see `ModelCache.view`."""
    found = _find(workplace, target, user, make=True)
    if found.folder is not None and models:
        raise InvalidValue(
            what="model",
            value=models[0],
            reason=f"cannot be shown in the view of `{target}` without being locked",
            remedy=f"`envforge cache lock {found.environment} --model {models[0]}`, or name a"
            f" folder: `envforge cache view ./DIR --model {models[0]}`",
        )
    if found.folder is not None and environments:
        raise InvalidValue(
            what="environment",
            value=environments[0],
            reason=f"cannot be in the view of `{target}`, which shows its own models",
            remedy="name a folder, which can show several: `envforge cache view ./DIR --env A`",
        )
    shown, prefill = _models(workplace, found, environments, models)
    found = replace(found, prefill=prefill)
    plans: list[tuple[ViewLayout, ViewPlan]] = [("hub", plan_view(shown))]
    if flat is None:  # one that is there must not keep the files of an old lock
        flat = view_variables.needs_flat(_transformers(workplace, found)) or is_folder(found.flat)
    if flat:
        plans.append(("flat", plan_flat(shown, reach.endpoint(workplace.settings))))
    with served(store) as linking:
        results = tuple(_build(workplace, linking, found, layout, plan) for layout, plan in plans)
        if not flat and is_folder(found.flat):
            results += (_drop(workplace, linking, found, "flat"),)
    return results


def remove(
    workplace: Workplace, store: Store, target: str, *, user: str | None
) -> tuple[ViewResult, ...]:
    """Take a view away: see `ModelCache.remove_view`."""
    found = _find(workplace, target, user)
    _refuse_absent(found, target, user)
    layouts: list[ViewLayout] = ["flat", "hub"] if is_folder(found.flat) else ["hub"]
    with served(store) as linking:
        return tuple(_drop(workplace, linking, found, layout) for layout in layouts)


def _build(
    workplace: Workplace, store: Store, target: _Target, layout: ViewLayout, plan: ViewPlan
) -> ViewResult:
    place = target.place(layout, reach.shown(workplace.settings) if layout == "flat" else "")
    if isinstance(store, ServedStore) and target.kind != "folder":
        store.client.place(target.kind)  # has the folder above it made, as ours
    with workplace.reporter.step(f"linking {place.path}"):
        return build(store, plan, place, workplace.reporter, locks=lock_folder(workplace))


def _drop(workplace: Workplace, store: Store, target: _Target, layout: ViewLayout) -> ViewResult:
    place = target.place(layout)
    with workplace.reporter.step(f"removing {place.path}"):
        return drop(store, place, workplace.reporter, locks=lock_folder(workplace))


def lock_folder(workplace: Workplace) -> Path:
    """For the locks of views, where the store is not ours to write."""
    return workplace.settings.cache / "views"


def variables(
    workplace: Workplace, target: str, *, user: str | None, offline: bool
) -> ViewVariables:
    """What makes clients use a view: see `ModelCache.variables`."""
    found = _find(workplace, target, user)
    _refuse_absent(found, target, user)
    flat = str(found.flat) if is_folder(found.flat) else ""
    return ViewVariables(
        view=str(found.path),
        flat=flat,
        variables=view_variables.variables(
            str(found.path),
            flat=flat,
            transformers=_transformers(workplace, found),
            offline=offline,
        ),
    )


def _refuse_absent(found: _Target, target: str, user: str | None) -> None:
    if not is_folder(found.path):
        whose = f" --for {user}" if user else ""
        raise NotCached(
            what=f"a view for `{target}`",
            searched=(str(found.path),),
            remedy=f"make one: `envforge cache view {target}{whose}`",
        )


# --- what was asked for ---------------------------------------------------------------------


def _find(workplace: Workplace, target: str, user: str | None, *, make: bool = False) -> _Target:
    """An environment, else a folder, else a user.

    Raises:
        NoSuchEnvironment: nothing is called so.
        InvalidValue: it is about to be made, and may be a repository as well as a folder.
    """
    owner = _user(user) if user is not None else None
    try:
        folder = model_files.locate(workplace, target)
    except NoSuchEnvironment as error:
        if _is_path(target):
            if make and _may_be_repo(target):
                raise _folder_or_repo(target) from error
            return _of_folder(Path(target), owner)
        return _of_user(workplace, target, owner, error)
    caller = workplace.settings.environment.get("SUDO_USER", "")
    if owner is None and os.geteuid() == 0 and caller not in {"", "root"}:
        workplace.reporter.note(f"this is root's view; {caller}'s is `--for {caller}`")
    us = owner or Owner.us()
    name = folder_of(us.uid)
    return _Target(
        kind="env",
        path=view_path(workplace, "env", name, folder.name),
        owner=us,
        folder=folder,
    )


def _is_path(target: str) -> bool:
    return "/" in target or target in {".", ".."}


def _may_be_repo(target: str) -> bool:
    """Whether it looks like `org/name`, or like the address of one, and no such folder is there."""
    if target.startswith((".", "/", "~")) or is_folder(Path(target)):
        return False
    return bool(model_spec.meant(target))


def _folder_or_repo(target: str) -> InvalidValue:
    repo = model_spec.meant(target)
    return InvalidValue(
        what="target",
        value=target,
        reason="may be a repository or a new folder",
        remedy=f"`envforge cache view ./DIR --model {repo}` shows the repository in a folder;"
        f" a folder of that name is `./{target}`",
    )


def _of_folder(folder: Path, owner: Owner | None) -> _Target:
    path = Path(os.path.abspath(folder.expanduser()))  # noqa: PTH100 - takes `..` out, no links
    if owner is None:
        owner = nearest_owner(path) if os.geteuid() == 0 else Owner.us()
    return _Target(kind="folder", path=path, owner=owner)


def _of_user(
    workplace: Workplace, name: str, owner: Owner | None, no_env: NoSuchEnvironment
) -> _Target:
    try:
        found = _user(name)
    except InvalidValue:
        no_env.also = f"no user has that name either, and a folder is written `./{name}`"
        raise no_env from None
    folder = folder_of(found.uid)
    return _Target(
        kind="user",
        path=view_path(workplace, "user", folder),
        owner=owner or found,
    )


def _user(name: str) -> Owner:
    try:
        return Owner.of(int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid)
    except KeyError as error:
        raise InvalidValue(what="user", value=name, reason="is not known here") from error


def _models(
    workplace: Workplace, target: _Target, environments: Sequence[str], models: Sequence[str]
) -> tuple[tuple[LockedModel, ...], str]:
    """What is to be shown, and what `cache prefill` would be told to fetch it.

    Raises:
        StaleLock: a lock is not what its models.yml asks for.
        InvalidValue: there are no models.
        NoSuchModel, Unreachable: the hub knows no such, or cannot be asked.
    """
    requests = locking.parse(models)
    if target.folder is not None:
        folders = [target.folder]
    elif environments or models:
        folders = [model_files.locate(workplace, env) for env in environments]
    else:
        folders = list(model_files.with_models(workplace))
        if not folders:
            raise InvalidValue(
                what="folder of environments",
                value=str(workplace.settings.envs_folder),
                reason="has none with models",
                remedy="`envforge cache lock ENV --model org/name` adds one to ENV;"
                " `--model org/name` shows one here",
            )
    found: list[LockedModel] = []
    for folder in folders:
        lock = model_files.current_lock(workplace, str(folder))
        if not lock.models and (target.folder or environments):
            raise model_files.no_models(folder.name)
        found += lock.models
    found += locking.look_up(workplace, requests)
    return tuple(dict.fromkeys(found)), " ".join([*(folder.name for folder in folders), *models])


def _transformers(workplace: Workplace, target: _Target) -> tuple[int, ...]:
    """The version that will read the view: what is installed, else what is locked."""
    if target.folder is None:
        return ()
    prefix = locating.find_prefix(workplace, target.folder)
    installed = installed_transformers(prefix) if prefix else ()
    if installed:
        return installed
    try:
        lock = folders.read_lock(workplace, target.folder)
    except InvalidFile as error:  # models have a lock of their own
        workplace.reporter.warn(f"{error}; a flat view needs `--flat` now")
        return ()
    package = lock.find("transformers", this_platform()) if lock else None
    return view_variables.release(package.version) if package else ()
