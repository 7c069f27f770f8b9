"""Secrets in files that are committed. What is found is named by its place, never repeated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from envforge.formats.text.secret_shapes import SECRET, SECRET_NAME, SHAPED, USER_PART
from envforge.model.solving import without_credentials

_QUERY: Final = re.compile(
    r"(?<=[?&])(?:token|sig|signature|key|auth|access_key|password|X-Amz-[\w-]+)=[^&\s'\"]+",
    re.IGNORECASE,
)
_PLACEHOLDER: Final = re.compile(r"\$\{?\w+\}?|%\w+%|<[^>]*>|\{\{.*\}\}|\*+|")
_PATTERNS: Final = (SHAPED, USER_PART, _QUERY)
_SUSPECT: Final = ("@", "/t/", "?")
"""What an address with a secret holds; most addresses of a lock hold none of these."""


def in_address(address: str) -> bool:
    """Whether an address carries a user, a token, or a signed query."""
    if not any(sign in address for sign in _SUSPECT):
        return False
    return any(not _is_placeholder(found[0]) for found in _matches(address))


def public_address(address: str) -> str:
    """The address without what is secret in it; most are returned as they are."""
    return without_credentials(address) if in_address(address) else address


def in_text(text: str) -> Iterator[tuple[int, str]]:
    """Lines that hold a secret: number, from 1, and the line without it."""
    for number, line in enumerate(text.splitlines(), start=1):
        found = [item for item in _matches(line) if not _is_placeholder(item[0])]
        if found:
            yield number, _without(line, found)


def in_variables(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Names of variables that say that their value is secret, and have one."""
    return tuple(
        name
        for name, value in variables.items()
        if SECRET_NAME.search(name) and not _is_placeholder(value)
    )


def _matches(text: str) -> Iterator[re.Match[str]]:
    for pattern in _PATTERNS:
        yield from pattern.finditer(text)


def _is_placeholder(value: str) -> bool:
    """`$TOKEN` and `${USER}:${PASSWORD}@` stand for secrets that are elsewhere."""
    bare = value.rstrip("@").partition("=")[2] if "=" in value else value.rstrip("@")
    return all(_PLACEHOLDER.fullmatch(part) for part in bare.split(":"))


def _without(line: str, found: Iterable[re.Match[str]]) -> str:
    for item in found:
        line = line.replace(item[0], SECRET)
    return line.strip()
