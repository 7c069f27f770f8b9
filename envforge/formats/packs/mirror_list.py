"""A list of files to keep on a mirror: one line each, for shell tools and for people.

    # comments
    sha256<TAB>bytes<TAB>path below the mirror's root<TAB>address

What is not known is `-`. The paths are those that `--mirror ROOT` reads: a folder for each
channel, and `wheels/`, which `--find-links` reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

from envforge.errors import InvalidFile

UNKNOWN = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class MirroredFile:
    """One file."""

    path: str
    """Below the mirror's root, with `/`."""
    url: str
    sha256: str = ""
    """Empty: not known."""
    size: int | None = None
    """Bytes."""


_HOW = """\
Files to mirror, exported by envforge: sha256, bytes, path below the root, address.
Fetch what is missing, then compare, in the root of the mirror:
    grep -v '^#' LIST | while IFS="$(printf '\\t')" read -r sha256 bytes path url; do
        mkdir -p "$(dirname "$path")"; [ -e "$path" ] || curl -fsSL -o "$path" "$url"
    done
    grep -Ev '^(#|-)' LIST | awk -F'\\t' '{print $1 "  " $3}' | sha256sum -c --quiet"""


def write(files: Iterable[MirroredFile], *, header: Iterable[str] = ()) -> str:
    """The list, sorted by path.

    Args:
        files: what to mirror; one of each path.
        header: lines of comment for the top, without `#`.
    """
    lines = [f"# {line}".rstrip() for line in (*header, *_HOW.splitlines())]
    lines += [_line(item) for item in sorted(files, key=attrgetter("path"))]
    return "\n".join(lines) + "\n"


def _line(item: MirroredFile) -> str:
    size = UNKNOWN if item.size is None else str(item.size)
    return "\t".join([item.sha256 or UNKNOWN, size, item.path, item.url])


def read(text: str, path: str) -> tuple[MirroredFile, ...]:
    """Read a list.

    Raises:
        InvalidFile: with every line that has not four fields, or a size that is no number.
    """
    files, mistakes = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 4 or not (fields[1] == UNKNOWN or fields[1].isdecimal()):
            mistakes.append(f"line {number}: not sha256, bytes, path and address, by tabs")
            continue
        sha256, size, where, url = fields
        files.append(
            MirroredFile(
                path=where,
                url=url,
                sha256="" if sha256 == UNKNOWN else sha256,
                size=None if size == UNKNOWN else int(size),
            )
        )
    if mistakes:
        raise InvalidFile(path=path, mistakes=tuple(mistakes))
    return tuple(files)
