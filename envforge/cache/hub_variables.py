"""Hugging Face's variables: where its clients look, and how they are set by mistake.

Their order is huggingface_hub's (`constants.py`): HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE,
$HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final

from envforge.cache.disk_facts import HubCache
from envforge.model.finding import Finding

READ: Final = (
    "HF_HOME",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "TRANSFORMERS_CACHE",
    "HF_DATASETS_CACHE",
    "HF_MODULES_CACHE",
    "XDG_CACHE_HOME",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_ENDPOINT",
    "HF_HUB_DISABLE_SYMLINKS",
)
"""What is looked at. Tokens are not."""
_CACHES: Final = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE")
_FOLDERS: Final = (*_CACHES, "HF_HOME", "HF_DATASETS_CACHE", "HF_MODULES_CACHE")
_TRUE: Final = frozenset({"1", "ON", "YES", "TRUE"})
PUBLIC_HUB: Final = "https://huggingface.co"


def is_on(value: str) -> bool:
    """As `huggingface_hub.constants` reads a switch."""
    return value.upper() in _TRUE


def hub_cache(variables: Mapping[str, str], home: str) -> tuple[str, str]:
    """The folder that clients use, and the variable that names it."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if variables.get(name):
            return variables[name], name
    if variables.get("HF_HOME"):
        return f"{variables['HF_HOME']}/hub", "HF_HOME"
    if variables.get("XDG_CACHE_HOME"):
        return f"{variables['XDG_CACHE_HOME']}/huggingface/hub", "XDG_CACHE_HOME"
    return f"{home}/.cache/huggingface/hub", "HOME"


def misuses(variables: Mapping[str, str], *, store: str, hub: HubCache) -> Iterator[Finding]:
    """What is set so that it does not do what was meant.

    Args:
        variables: those of `READ` that are set.
        store: where our store lies; empty: there is none.
        hub: the cache that they lead to.
    """
    given = {name: value for name, value in variables.items() if value}
    yield from _relative(given)
    yield from _home_is_hub(given)
    yield from _apart(given)
    yield from _inside_store(given, store)
    yield from _home_of_another(given, hub)
    yield from _no_symlinks(given)


def _relative(given: Mapping[str, str]) -> Iterator[Finding]:
    for name in _FOLDERS:
        value = given.get(name, "")
        if value and not value.startswith(("/", "~", "$")):
            yield Finding(
                message=f"{name}={value} is another folder in every working directory",
                seen=value,
                expected="an absolute path",
                remedy=f'export {name}="$PWD/{value}"',
            )


def _home_is_hub(given: Mapping[str, str]) -> Iterator[Finding]:
    home = given.get("HF_HOME", "").rstrip("/")
    if home and PurePosixPath(home).name == "hub" and "HF_HUB_CACHE" not in given:
        yield Finding(
            message=f"HF_HOME={home} makes clients look in {home}/hub",
            seen=home,
            expected="HF_HOME names the folder above `hub`; HF_HUB_CACHE names `hub` itself",
            remedy=f"export HF_HOME={PurePosixPath(home).parent}",
            source="h2oai/h2ogpt#755",
        )


def _apart(given: Mapping[str, str]) -> Iterator[Finding]:
    """Two names for one thing, with two values: each client downloads for itself."""
    named = [name for name in _CACHES if name in given]
    values = {name: given[name].rstrip("/") for name in named}
    flat = values.get("TRANSFORMERS_CACHE", "").removesuffix(".flat")
    if flat == values.get("HF_HUB_CACHE"):  # a view, and the one beside it for transformers < 4.22
        values["TRANSFORMERS_CACHE"] = flat
    if len(set(values.values())) > 1:
        shown = ", ".join(f"{name}={given[name]}" for name in named)
        first = given[named[0]].rstrip("/")
        yield Finding(
            message=f"{' and '.join(named)} differ: clients of different age download twice",
            seen=shown,
            expected="one folder; huggingface_hub 0.18 and older do not read HF_HUB_CACHE",
            remedy="export " + " ".join(f"{name}={first}" for name in named[1:]),
        )
    elif named == ["TRANSFORMERS_CACHE"]:
        value = given["TRANSFORMERS_CACHE"]
        yield Finding(
            message="TRANSFORMERS_CACHE alone: transformers 5, datasets and diffusers ignore it",
            seen=value,
            expected="HF_HUB_CACHE and HUGGINGFACE_HUB_CACHE name the same folder",
            remedy=f"export HF_HUB_CACHE={value} HUGGINGFACE_HUB_CACHE={value}",
            severity="warning",
        )


def _inside_store(given: Mapping[str, str], store: str) -> Iterator[Finding]:
    if not store:
        return
    for name in _FOLDERS:
        value = given.get(name, "").rstrip("/")
        inside = value == store or value.startswith(f"{store}/")
        if inside and not value.startswith(f"{store}/views/"):
            yield Finding(
                message=f"{name} names the store itself, which no client can read or write",
                seen=value,
                expected="a view",
                remedy="envforge cache view ENV, then: envforge cache env ENV",
            )


def _home_of_another(given: Mapping[str, str], hub: HubCache) -> Iterator[Finding]:
    """One writable cache for several users: the second gets PermissionError on its locks."""
    place = hub.place
    if hub.named_by != "HOME" and not place.writable:
        name, value = hub.named_by, given.get(hub.named_by, place.path)
        yield Finding(
            message=f"{name}={value} cannot be written by you: no client falls back to another",
            seen=f"owner {place.owner}, mode {place.mode:04o}",
            expected="a cache tree of your own",
            remedy=f"unset {name}, and take a view: envforge cache view ENV",
            source="huggingface_hub#2797, #1216",
            severity="warning",
        )


def _no_symlinks(given: Mapping[str, str]) -> Iterator[Finding]:
    if is_on(given.get("HF_HUB_DISABLE_SYMLINKS", "")):
        yield Finding(
            message="HF_HUB_DISABLE_SYMLINKS copies every file of every revision",
            seen=given["HF_HUB_DISABLE_SYMLINKS"],
            expected="not set, where the filesystem has symbolic links",
            remedy="unset HF_HUB_DISABLE_SYMLINKS",
            severity="warning",
        )
