"""conda-lock.yml read by ruamel.yaml: any layout, and each mistake with its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from envforge.errors import InvalidFile
from envforge.formats.conda_lock.conda_lock_tree import (
    HASH_KEYS,
    MANAGERS,
    MD5,
    METADATA_KEYS,
    NEEDED_KEYS,
    PACKAGE_KEYS,
    SHA256,
    TOP_KEYS,
    PackageEntry,
    Tree,
    entry,
)
from envforge.formats.text import yaml_text
from envforge.formats.text.yaml_text import Mistakes, Node


def read_strictly(text: str, path: str) -> Tree:
    """Read any YAML that holds a lock of version 1.

    Raises:
        InvalidFile: with every mistake, its line and column; or for another tool's lock.
    """
    _refuse_other_tools(text, path)
    root = yaml_text.parse(text, path)
    mistakes = Mistakes(path)
    top = yaml_text.mapping(root, "the file", mistakes, TOP_KEYS)
    if root.kind == "map":
        _refuse_missing(root, "the file", top, TOP_KEYS, mistakes)
    if "version" in top and top["version"].value != "1":
        mistakes.add(top["version"], "only format version 1 can be read")
    packages = _strict_packages(top.get("package"), mistakes)
    tree = _strict_metadata(top.get("metadata"), packages, mistakes)
    mistakes.raise_any("take the file from version control, or `envforge lock` again")
    return tree


def _strict_metadata(
    node: Node | None, packages: tuple[PackageEntry, ...], mistakes: Mistakes
) -> Tree:
    fields = yaml_text.mapping(node, "`metadata`", mistakes, METADATA_KEYS) if node else {}
    if node and node.kind == "map":
        _refuse_missing(node, "`metadata`", fields, METADATA_KEYS[:4], mistakes)
    return Tree(
        packages=packages,
        platforms=_texts(fields.get("platforms"), "`platforms`", mistakes),
        channels=_channels(fields.get("channels"), mistakes),
        content_hash=_string_map(fields.get("content_hash"), "`content_hash`", mistakes),
        sources=_texts(fields.get("sources"), "`sources`", mistakes),
        custom_metadata=_string_map(fields.get("custom_metadata"), "`custom_metadata`", mistakes),
    )


def _texts(node: Node | None, what: str, mistakes: Mistakes) -> tuple[str, ...]:
    if node is None:
        return ()
    is_text = yaml_text.is_string_in_yaml_1_1
    return tuple(text for _, text in yaml_text.strings(node, what, mistakes, is_text))


def _string(node: Node, what: str, mistakes: Mistakes) -> str | None:
    return yaml_text.string(node, what, mistakes, yaml_text.is_string_in_yaml_1_1)


def _channels(node: Node | None, mistakes: Mistakes) -> tuple[str, ...]:
    urls: list[str] = []
    for item in yaml_text.items(node, "`channels`", mistakes) if node else ():
        if item.kind == "scalar":  # conda-lock reads a bare name, too
            urls.append(_string(item, "a channel", mistakes) or "")
            continue
        fields = yaml_text.mapping(item, "a channel", mistakes, ("url", "used_env_vars"))
        _refuse_missing(item, "the channel", fields, ("url",), mistakes)
        if "url" in fields:
            urls.append(_string(fields["url"], "`url`", mistakes) or "")
    return tuple(urls)


def _string_map(node: Node | None, what: str, mistakes: Mistakes) -> dict[str, str]:
    if node is None or _is_null(node):
        return {}
    fields = yaml_text.mapping(node, what, mistakes)
    read = {key: _string(value, f"`{key}`", mistakes) for key, value in fields.items()}
    return {key: value for key, value in read.items() if value is not None}


def _is_null(node: Node) -> bool:
    return node.kind == "scalar" and not node.quote and node.value in ("", "~", "null")


def _strict_packages(node: Node | None, mistakes: Mistakes) -> tuple[PackageEntry, ...]:
    packages: list[PackageEntry] = []
    seen: dict[tuple[str, ...], Node] = {}
    for item in yaml_text.items(node, "`package`", mistakes) if node else ():
        entry = _strict_package(item, mistakes)
        if entry is None:
            continue
        place = (entry.platform, entry.name, entry.manager, entry.category)
        if place in seen:
            first = seen[place].line
            mistakes.add(
                item,
                f"`{entry.name}` for {entry.platform} stands here a second time"
                f" (first in line {first})",
            )
        seen.setdefault(place, item)
        packages.append(entry)
    return tuple(packages)


def _strict_package(node: Node, mistakes: Mistakes) -> PackageEntry | None:
    before = len(mistakes.found)
    fields = yaml_text.mapping(node, "a package", mistakes, PACKAGE_KEYS)
    if node.kind != "map":
        return None
    what = f"package `{fields['name'].value}`" if "name" in fields else "the package"
    _refuse_missing(node, what, fields, NEEDED_KEYS, mistakes)
    texts: dict[str, str] = {
        key: _string(fields[key], f"`{key}` of {what}", mistakes) or ""
        for key in ("name", "version", "manager", "platform", "url", "category", "build")
        if key in fields and not (key == "build" and _is_null(fields[key]))
    }
    hashes = _hashes(fields.get("hash"), what, mistakes)
    _check_hashes(fields.get("hash", node), what, hashes, mistakes)
    depends = _string_map(fields.get("dependencies"), f"`dependencies` of {what}", mistakes)
    if texts.get("manager", "pip") not in MANAGERS:
        mistakes.add(fields["manager"], f"`manager` of {what} is neither `conda` nor `pip`")
    if not texts.get("url", "x"):
        mistakes.add(fields["url"], f"`url` of {what} is empty")
    if len(mistakes.found) > before:
        return None
    return entry(texts, {"hash": hashes, "dependencies": depends})


def _hashes(node: Node | None, what: str, mistakes: Mistakes) -> dict[str, str]:
    """Old locks say `sha256: null` where a channel had none."""
    fields = yaml_text.mapping(node, f"`hash` of {what}", mistakes) if node else {}
    texts = {
        key: _string(value, f"`{key}` of {what}", mistakes)
        for key, value in fields.items()
        if not _is_null(value)
    }
    return {key: text for key, text in texts.items() if text is not None}


def _check_hashes(node: Node, what: str, hashes: Mapping[str, str], mistakes: Mistakes) -> None:
    for key, value in hashes.items():
        if key not in HASH_KEYS:
            mistakes.add(node, f"`hash` of {what} has the unknown key `{key}`")
            continue
        length, rule = (32, MD5) if key == "md5" else (64, SHA256)
        if value and not rule.fullmatch(value):
            mistakes.add(
                node,
                f"`{key}` of {what} is no {key}: it has {len(value)} characters, and should be"
                f" {length} of 0-9 and a-f",
            )
    if node.kind == "map" and not any(hashes.get(key) for key in HASH_KEYS):
        mistakes.add(node, f"{what} has neither md5 nor sha256")


def _refuse_missing(
    node: Node, what: str, fields: Mapping[str, Node], needed: Iterable[str], mistakes: Mistakes
) -> None:
    for key in needed:
        if key not in fields:
            mistakes.add(node, f"{what} has no `{key}`")


_OTHER_TOOLS: Final = (
    (r"^@EXPLICIT\s*$", "an explicit list of conda packages (`@EXPLICIT`)"),
    (r"^version: [2-9]\d*\s[\s\S]*^environments:", "a pixi.lock"),
    (r"^version: 1\s[\s\S]*^environments:", "a conda.lock of conda-workspaces"),
    (r"^# This file is automatically @generated by Poetry", "a poetry.lock"),
    (r"^requires-python = [\s\S]*^\[\[package\]\]", "a uv.lock"),
    (r"^\[\[package\]\]", "a poetry.lock"),
    (r"^lock-version = ", "a pylock.toml"),
    (r'^\{\s*"_meta"', "a Pipfile.lock"),
    (r"^[A-Za-z0-9._-]+==[^\s]+ (?:\\\s+)?--hash=", "a requirements.txt"),
    (
        r"^version: 2\s[\s\S]*^package:|^package:[\s\S]*^version: 2\s*$",
        "a lock of conda-lock's format 2",
    ),
    (r"\A(?![\s\S]*^package:)[\s\S]*^dependencies:", "an environment.yml, and no lock"),
)
_ADOPTED: Final = ("(`@EXPLICIT`)", "pixi.lock", "pylock.toml", "requirements.txt", "no lock")
"""How those end that `adopt` reads."""


def _refuse_other_tools(text: str, path: str) -> None:
    for pattern, what in _OTHER_TOOLS:
        if re.search(pattern, text, re.MULTILINE):
            raise InvalidFile(
                path=path,
                mistakes=(f"this is {what}; a conda-lock.yml of version 1 is needed here",),
                remedy="`envforge adopt FILE` makes an environment of it, and locks it"
                if what.endswith(_ADOPTED)
                else "`envforge lock` writes one from environment.yml",
            )
