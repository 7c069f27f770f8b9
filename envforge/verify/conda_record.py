"""What verify needs of a conda-meta record besides `formats.conda_meta`, without parsing it.

A prefix of 300 packages holds some tens of MB of records, nearly all of it lists of files; a
search for a few bytes costs about what reading them costs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_METADATA: Final = b'.dist-info/METADATA"'
_LIBRARY_ENTRY: Final = re.compile(
    rb'"_path":\s*"(?P<path>[^"]*\.so[0-9.]*)"(?P<rest>[^{}]*?)"size_in_bytes":\s*(?P<size>\d+)'
)


def dist_infos(data: bytes) -> Iterator[str]:
    """The dist-info folders that a record lists: what Python calls the package's distributions."""
    end = data.find(_METADATA)
    while end >= 0:
        yield data[data.rfind(b"/", 0, end) + 1 : end].decode("utf-8", "replace") + ".dist-info"
        end = data.find(_METADATA, end + 1)


def library_sizes(data: bytes) -> Iterator[tuple[str, int]]:
    """Path and size of each shared object that a record lists; links are left out."""
    for entry in _LIBRARY_ENTRY.finditer(data):
        if b'"softlink"' not in entry["rest"]:
            yield entry["path"].decode("utf-8", "replace"), int(entry["size"])
