"""What a conda-lock.yml says, as plain entries: what both of its readers come to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple


class PackageEntry(NamedTuple):
    """One package as the file tells it."""

    platform: str
    name: str
    manager: Literal["conda", "pip"]
    version: str
    url: str
    sha256: str
    md5: str
    depends: tuple[str, ...]
    category: str
    build: str | None
    """None: the file does not say, and the archive's name does."""


class Tree(NamedTuple):
    """A whole lock as the file tells it."""

    packages: tuple[PackageEntry, ...]
    platforms: tuple[str, ...]
    channels: tuple[str, ...]
    content_hash: Mapping[str, str]
    sources: tuple[str, ...]
    custom_metadata: Mapping[str, str]


TOP_KEYS: Final = ("version", "metadata", "package")
METADATA_KEYS: Final = (
    "content_hash",
    "channels",
    "platforms",
    "sources",
    "time_metadata",
    "git_metadata",
    "inputs_metadata",
    "custom_metadata",
)
PACKAGE_KEYS: Final = (
    "name",
    "version",
    "manager",
    "platform",
    "dependencies",
    "url",
    "hash",
    "source",
    "build",
    "category",
    "optional",
)
_PACKAGE_KEYS: Final = frozenset(PACKAGE_KEYS)
HASH_KEYS: Final = frozenset({"md5", "sha256"})
NEEDED_KEYS: Final = ("name", "version", "manager", "platform", "url", "hash")
MANAGERS: Final[Mapping[str, Literal["conda", "pip"]]] = {
    "conda": "conda",
    "pip": "pip",
    "pypi": "pip",  # conda-lockfiles writes it so
}
MD5: Final = re.compile(r"[0-9a-f]{32}")
SHA256: Final = re.compile(r"[0-9a-f]{64}")


class UnusualError(Exception):
    """The text is not laid out as the fast reader expects; says nothing about right or wrong."""


def entry(fields: Mapping[str, str], nested: Mapping[str, Mapping[str, str]]) -> PackageEntry:
    """One package from its scalars and its mappings.

    Raises:
        UnusualError, KeyError: something is missing, unknown or no hash.
    """
    if not fields.keys() | nested.keys() <= _PACKAGE_KEYS:
        raise UnusualError
    hashes = nested["hash"]
    md5, sha256 = hashes.get("md5", ""), hashes.get("sha256", "")
    if (
        not hashes.keys() <= HASH_KEYS
        or not fields["url"]
        or (md5 and not MD5.fullmatch(md5))
        or (sha256 and not SHA256.fullmatch(sha256))
        or not (md5 or sha256)
    ):
        raise UnusualError
    return PackageEntry(
        platform=fields["platform"],
        name=fields["name"],
        manager=MANAGERS[fields["manager"]],
        version=fields["version"],
        url=fields["url"],
        sha256=sha256,
        md5=md5,
        depends=tuple(
            f"{name} {rest}" if rest else name for name, rest in nested["dependencies"].items()
        ),
        category=fields.get("category", "main"),
        build=fields.get("build"),
    )
