"""What is wanted of a conda-meta record without parsing it.

A prefix of 300 packages holds some tens of MB of records, nearly all of it lists of files; a
search for a few bytes costs about what reading them costs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_DIST_INFO: Final = re.compile(rb'site-packages/([^"/]+\.dist-info)/METADATA"')
_LIBRARY_ENTRY: Final = re.compile(
    rb'"_path":\s*"(?P<path>[^"]*\.so[0-9.]*)"(?P<rest>[^{}]*?)"size_in_bytes":\s*(?P<size>\d+)'
)


def dist_infos(data: bytes) -> frozenset[str]:
    """The dist-info folders that a record lists: what Python calls the package's distributions.

    Only those that lie in site-packages itself: deeper ones are copies that a package carries for
    its own use (`setuptools/_vendor/packaging-24.2.dist-info`), and no distribution of its own.
    """
    return frozenset(name.decode("utf-8", "replace") for name in _DIST_INFO.findall(data))


def library_sizes(data: bytes) -> Iterator[tuple[str, int]]:
    """Path and size of each shared object that a record lists; links are left out."""
    for entry in _LIBRARY_ENTRY.finditer(data):
        if b'"softlink"' not in entry["rest"]:
            yield entry["path"].decode("utf-8", "replace"), int(entry["size"])
