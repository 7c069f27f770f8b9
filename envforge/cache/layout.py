"""Where things lie: in the store, and in a cache tree of huggingface_hub.

The store is ours, the tree is the hub's: `models--org--name/{blobs,refs,snapshots,trees}`, as
huggingface_hub 0.10 to 2.4 read it (`file_download.py`, "Understand caching" in its guide).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from envforge.errors import HostileRepo

MARKER: Final = ".envforge-store"
"""A file in the store's root: its version as JSON."""
PARTS: Final = "parts"
"""Files on their way in; each belongs to whoever holds its lease."""
LEASES: Final = "leases"
"""What is in use, or about to be: nothing that a live lease names is collected."""
QUARANTINE: Final = "quarantine"
"""Files whose bytes are not what their name says; kept for a person to look at, for a while."""
TRASH: Final = "trash"
"""Files that a collection has taken out of the way, and not yet removed."""
INDEX: Final = "index"
"""`<2 of etag>/<etag>`: the sha256 of the file that a hub knows by another name."""
LOCKS: Final = "locks"
"""One JSON file for each models-lock.yml that was prefilled from: its path, and what it named."""
VIEWS: Final = "views"
"""Cache trees of environments and users, and `registry/`: one JSON file for each view."""
FOLDERS: Final = (PARTS, LEASES, QUARANTINE, TRASH, INDEX, LOCKS, VIEWS)
"""What every store has, besides its files' own `<2 hex>`."""
SHA256: Final = re.compile(r"[0-9a-f]{64}")
SHA1: Final = re.compile(r"[0-9a-f]{40}")
COMMIT: Final = SHA1
REPO_FOLDER: Final = re.compile(r"(model|dataset|space|kernel)s--(.+)")
"""A repository in a cache of huggingface_hub: its kind, and its name with `--` for `/`."""
FLAT_NAME: Final = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{64}(\.h5)?")
"""A file in the cache of transformers before 4.22: hashes of the address and of the ETag;
`<name>.json` beside it says what it is."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_STRANGE: Final = re.compile(r"[\x00-\x1f\x7f\\]")
_NOWHERE: Final = frozenset({"", ".", ".."})
_LONGEST_NAME: Final = 255
"""Bytes, of ext4, XFS, btrfs and most others."""
_LONGEST_PATH: Final = 2048
"""Characters; the kernel takes 4096 bytes, folders above included."""


def blob(root: Path, sha256: str, copy: int = 0) -> Path:
    """`STORE/<2 hex>/<sha256>`, and `<sha256>.1` where one inode has no links left to give.

    ext4 gives 65,000 links to an inode, btrfs 65,535 in one folder.
    """
    name = f"{sha256}.{copy}" if copy else sha256
    return root / sha256[:2] / name


def is_blob_name(name: str) -> bool:
    """Whether a hub could call a file so: git's sha1, or the sha256 of an LFS file."""
    return bool(SHA256.fullmatch(name) or SHA1.fullmatch(name))


def note_name(path: str) -> str:
    """What a note about a place is called: as long as a name may be, whatever the path."""
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def check_path(path: str, repo: str) -> PurePosixPath:
    """A file's path inside its repository, seen to stay there.

    Raises:
        HostileRepo: absolute, with `..`, empty parts, a NUL, a backslash or control characters,
            in another encoding than UTF-8, or longer than a filesystem takes.
    """
    parts = path.split("/")
    reason = ""
    if _SURROGATE.search(path):
        reason = "is in another encoding than UTF-8"
    elif not path or path.startswith("/") or re.match(r"[A-Za-z]:", path):
        reason = "is absolute"
    elif not _NOWHERE.isdisjoint(parts):
        reason = "does not stay in its folder"
    elif _STRANGE.search(path):
        reason = "holds a character that no file of a repository has"
    elif len(path) > _LONGEST_PATH or max(map(len, map(str.encode, parts))) > _LONGEST_NAME:
        reason = "is longer than a filesystem takes"
    if reason:
        raise HostileRepo(repo=repo, path=path, reason=reason)
    return PurePosixPath(path)


def check_tree(repo: str, paths: Iterable[str]) -> None:
    """All paths of a snapshot, seen to stay in their folder, and to be able to lie side by side.

    Raises:
        HostileRepo: one leaves its folder, stands there twice, or is a folder as well.
    """
    seen: set[str] = set()
    for path in paths:
        check_path(path, repo)
        if path in seen:
            raise HostileRepo(repo=repo, path=path, reason="stands there twice")
        seen.add(path)
    check_places(repo, seen)


def check_places(repo: str, paths: Collection[str]) -> None:
    """Paths, or refs, seen to be able to lie side by side.

    Raises:
        HostileRepo: one is a folder as well.
    """
    folders: set[str] = set()
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    for path in sorted(folders.intersection(paths)):
        raise HostileRepo(repo=repo, path=path, reason="is a file and a folder as well")
