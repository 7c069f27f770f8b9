"""`@EXPLICIT` files (CEP 23): addresses with a hash, for one platform, without any solving.

The hash behind `#` is an md5, which every version of conda, mamba and rattler reads, or a
sha256. Wheels have no place in the format; they stand in comments, as conda-lock writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from envforge.model.lock import LockedPackage

MARK = "@EXPLICIT"


def write(
    packages: Iterable[LockedPackage], *, name: str, platform: str, sha256: bool = False
) -> str:
    """The file.

    Args:
        packages: of this platform, in the order they are to be linked.
        name: of the environment, for the comment that says what to do with the file.
        platform: conda's name.
        sha256: write this hash where it is known; else the md5 where that is known.
    """
    lines = [
        f"# {name}: every conda package of one platform, exported by envforge.",
        f"#     conda create --name {name} --file conda-{platform}.lock",
        f"# platform: {platform}",
        MARK,
        *_lines(packages, sha256=sha256),
    ]
    return "\n".join(lines) + "\n"


def _lines(packages: Iterable[LockedPackage], *, sha256: bool) -> Iterator[str]:
    for item in packages:
        if item.manager == "conda":
            yield f"{item.url}{_hash(item, sha256=sha256)}"
        else:
            digest = f"#sha256={item.sha256}" if item.sha256 else ""
            yield f"# pip {item.name} @ {item.url}{digest}"


def _hash(item: LockedPackage, *, sha256: bool) -> str:
    if item.sha256 and (sha256 or not item.md5):
        return f"#sha256:{item.sha256}"
    return f"#{item.md5}" if item.md5 else ""
