"""Which format a text is in: by what it holds first, and by the file's name where that is open."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Final

from envforge.errors import InvalidFile
from envforge.model.imported import Kind

_CONTENT: Final[tuple[tuple[str, Kind], ...]] = (
    (r"^@EXPLICIT\s*$", "explicit"),
    (r"^lock-version\s*=", "pylock.toml"),
    (r"^version:\s*[\"']?\d+[\"']?\s*$(?=[\s\S]*^environments:)", "pixi.lock"),
    (r"^package:\s*(?:\[\])?\s*$", "conda-lock.yml"),
    (r"^\[(?:tool\.pixi\.)?(?:workspace|project)\]\s*$(?=[\s\S]*^channels\s*=)", "pixi.toml"),
    (r"^\[tool\.pixi\b", "pixi.toml"),
    (r"^dependencies:", "environment.yml"),
    (r"^(?:FROM|ARG|from)\s+\S+", "Dockerfile"),
)
"""In this order: a lock of conda-lock names `dependencies:` too, indented."""
_PACKAGES: Final = ("\npackage:\n- name: ", "\npackage:\n- category: ", "\npackage:\n  - name: ")
_NAMES: Final[tuple[tuple[str, Kind], ...]] = (
    (r"(?:.+[.-])?conda-lock\.ya?ml", "conda-lock.yml"),
    (r"(?:.+\.)?pixi\.lock", "pixi.lock"),
    (r"(?:.+\.)?pixi\.toml", "pixi.toml"),
    (r"pylock(?:\..+)?\.toml", "pylock.toml"),
    (r"environment.*\.ya?ml|.*[._-]env(?:ironment)?\.ya?ml", "environment.yml"),
    (r".*(?:Dockerfile|Containerfile).*|.*\.dockerfile", "Dockerfile"),
    (r".*requirements.*\.(?:txt|in|lock)|constraints.*\.txt", "requirements.txt"),
    (r".*explicit.*\.(?:txt|lock)|.*spec-?(?:file|list).*\.txt", "explicit"),
)
_REQUIREMENT: Final = re.compile(
    r"^(?:-e |-r |-c |--\S+|[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[^\]]*\])?\s*(?:[=<>!~]=?|@|;|$))",
    re.MULTILINE,
)
READ: Final = (
    "read are conda-lock.yml, pixi.lock, pixi.toml, pylock.toml, environment.yml,"
    " requirements.txt, explicit lists, Dockerfiles and conda environments"
)


def kind_of(text: str, name: str) -> Kind:
    """The format of a text.

    Args:
        text: the whole of it.
        name: the file's name or path, for what content leaves open and for messages.

    Raises:
        InvalidFile: it is none that can be read.
    """
    if any(sign in text for sign in _PACKAGES) and "\nenvironments:" not in text:
        return "conda-lock.yml"  # the most common; searching for all patterns takes its time
    for pattern, kind in _CONTENT:
        if re.search(pattern, text, re.MULTILINE):
            return kind
    for pattern, kind in _NAMES:
        if re.fullmatch(pattern, PurePath(name).name, re.IGNORECASE):
            return kind
    if PurePath(name).suffix in {"", ".txt", ".in"} and _REQUIREMENT.search(text):
        return "requirements.txt"
    raise InvalidFile(path=name, mistakes=("it is in no format that can be read",), remedy=READ)
