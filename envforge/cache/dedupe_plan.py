"""Which copies of a model file become one. Pure.

A copy is an inode under the names it was found by. A *claim* is the hash that a cache says a file
has: the name of a blob, the ETag beside it. Copies of one claim and size are twins; one of them is
kept, and the names of the others are made links to it.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from envforge.cache import layout

Proof = Literal["default", "compare", "trust-names"]
"""How much is read before a copy is replaced. `default`: the kept copy wholly, of the others
samples; `compare`: all wholly; `trust-names`: nothing."""
SHARED_BLOBS: Final = ".huggingface-shared-blobs"
"""Marks hub's own store of blobs (1.32 and later, `utils/_shared_blobs.py`), which it counts."""
FLAT: Final = re.compile(r"[0-9a-f]{64}(?:\.[0-9a-f]{64})?(?:\.h5)?")
"""transformers before 4.22, and `datasets`: a hash of the address, and one of the ETag."""
NEVER: Final = frozenset({".locks", ".git", ".no_exist", ".refs", "lost+found"})
"""Folders that hold no model files, or files that are written in place."""
EDITED: Final = 5_000_000
"""Bytes. Smaller files outside a cache are left: people edit them in place. huggingface_hub drew
the line there, when it linked large files of `--local-dir` and copied small ones
(`HF_HUB_LOCAL_DIR_AUTO_SYMLINK_THRESHOLD`)."""
WEIGHTS: Final = (
    *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".onnx", ".h5", ".msgpack"),
    *(".model", ".npz", ".parquet", ".arrow", ".zip", ".tar", ".gz", ".zst"),
)
"""Outside a cache, only these are linked among themselves."""
SAMPLES: Final = 32
SAMPLE: Final = 4096
"""Bytes of one: a page."""
WHOLE: Final = 1 << 18
"""Bytes up to which a file is compared wholly: it costs what samples do."""
SUSPECT_AFTER: Final = 2_000_000_000
"""Nanoseconds. A blob comes by a rename, which changes its folder after it; one that was written
this much later than its folder was changed in place, and is read wholly."""


class Folder:
    """A folder that was entered, and is entered again only if it is still the same."""

    __slots__ = ("device", "inode", "modified", "path")

    def __init__(self, path: str, device: int, inode: int, modified: int = 0) -> None:
        self.path = path
        self.device = device
        self.inode = inode
        self.modified = modified
        """Nanoseconds."""

    @classmethod
    def seen(cls, path: str, found: os.stat_result) -> Folder:
        """One that was just entered."""
        return cls(path, found.st_dev, found.st_ino, found.st_mtime_ns)


class Copy(NamedTuple):
    """One inode. A tuple, since a cache has tens of thousands."""

    found: os.stat_result
    names: list[tuple[Folder, str]]
    """Where it lies; a link more for each."""
    plain: bool = False
    """Found outside a cache, where people may edit."""

    @property
    def path(self) -> str:
        """The first of its names."""
        folder, name = self.names[0]
        return f"{folder.path}/{name}"

    @property
    def has_other_names(self) -> bool:
        """Replacing what we know of would free nothing."""
        return self.found.st_nlink > len(self.names)

    @property
    def is_suspect(self) -> bool:
        """Seems to have been written in place."""
        return self.found.st_mtime_ns > self.names[0][0].modified + SUSPECT_AFTER


class Twins(NamedTuple):
    """Copies that say they are equal, and may be made one."""

    claim: str
    """sha256, or git's sha1 of a blob: 64 or 40 hexadecimal digits."""
    copies: list[Copy]
    """Best to keep first. One of them at least is to be replaced."""

    @property
    def size(self) -> int:
        """Bytes of each."""
        return self.copies[0].found.st_size

    @property
    def gain(self) -> int:
        """Bytes on disk that come free if all are equal."""
        return sum(copy.found.st_blocks * 512 for copy in self.copies[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What may become one."""

    any_owner: bool = False
    """Also files of different owners: whose is kept can then change it for all."""
    any_mode: bool = False


Reason = Literal["other filesystem", "other owner", "other mode", "names elsewhere"]
_SPECIAL: Final = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
"""Bits that no model file has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupePlan:
    """What would become one."""

    twins: tuple[Twins, ...]
    left: Mapping[str, int] = field(default_factory=dict)
    """Copies that stay apart, by reason."""
    left_bytes: int = 0

    @property
    def gain(self) -> int:
        """Bytes that come free, if all are what they say."""
        return sum(item.gain for item in self.twins)

    @property
    def copies(self) -> int:
        """How many are replaced."""
        return sum(len(item.copies) - 1 for item in self.twins)


def plan(
    claims: Mapping[str, Collection[Copy]],
    rules: Rules,
    is_known: Callable[[str, Copy], bool] = lambda _claim, _copy: False,
) -> DedupePlan:
    """Say which copies become one.

    Args:
        claims: the copies of each claim, each inode once.
        rules: what may become one.
        is_known: whether the copy's hash is remembered, so that it need not be read.
    """
    left = _Left()
    twins = [
        Twins(claim, going)
        for claim, copies in claims.items()
        if len(copies) > 1
        for bucket in _buckets(copies, rules, left)
        if len(going := _going(_ordered(claim, bucket, is_known), left)) > 1
    ]
    return DedupePlan(twins=tuple(twins), left=dict(left.copies), left_bytes=left.bytes)


class _Left:
    """Counts what stays."""

    def __init__(self) -> None:
        self.copies: Counter[str] = Counter()
        self.bytes = 0

    def add(self, reason: Reason, number: int, copy: Copy) -> None:
        if number:
            self.copies[reason] += number
            self.bytes += number * copy.found.st_blocks * 512


def _ordered(claim: str, copies: list[Copy], is_known: Callable[[str, Copy], bool]) -> list[Copy]:
    """The one to keep first: in a cache, most links, not to be read again, oldest."""
    return sorted(
        copies,
        key=lambda copy: (
            copy.plain,
            -copy.found.st_nlink,
            not is_known(claim, copy),
            copy.found.st_mtime_ns,
            copy.path,
        ),
    )


def _going(ordered: list[Copy], left: _Left) -> list[Copy]:
    """Without those whose bytes other names would keep on the disk."""
    kept, *others = ordered
    going = [copy for copy in others if not copy.has_other_names]
    left.add("names elsewhere", len(others) - len(going), kept)
    return [kept, *going]


_Part = Callable[[os.stat_result], object]
_PARTS: Final[tuple[tuple[Reason, _Part], ...]] = (
    ("other filesystem", lambda found: found.st_dev),
    ("other owner", lambda found: (found.st_uid, found.st_gid)),
    ("other mode", lambda found: found.st_mode),
)


def _buckets(copies: Collection[Copy], rules: Rules, left: _Left) -> Iterator[list[Copy]]:
    """Copies that may become one, two of them at least; `left` counts what is kept apart."""
    allowed = {"other owner": rules.any_owner, "other mode": rules.any_mode}
    usual = [copy for copy in copies if not copy.found.st_mode & _SPECIAL]
    for same_size in _split(usual, lambda found: found.st_size):
        groups = [same_size]
        for reason, part in _PARTS:
            if allowed.get(reason):
                continue
            finer = [smaller for group in groups for smaller in _split(group, part)]
            left.add(reason, len(finer) - len(groups), same_size[0])
            groups = finer
        yield from (group for group in groups if len(group) > 1)


def _split(copies: Iterable[Copy], part: _Part) -> list[list[Copy]]:
    groups: dict[object, list[Copy]] = {}
    for copy in copies:
        groups.setdefault(part(copy.found), []).append(copy)
    return list(groups.values())


def sample_places(claim: str, size: int) -> list[int]:
    """Where samples are taken: one in each 32nd of the file, and the last page.

    Which page of it follows from the claim: the same in every run, another for every file. A
    stretch of damage longer than a sixteenth of the file always holds one.
    """
    import hashlib  # takes two milliseconds, and most runs find nothing to sample

    pages = max(1, size // SAMPLE)
    count = min(SAMPLES, pages)
    chosen = hashlib.shake_128(claim.encode()).digest(4 * count)
    places = []
    for number in range(count):
        first, after = pages * number // count, pages * (number + 1) // count
        random = int.from_bytes(chosen[4 * number : 4 * number + 4], "big")
        places.append((first + random % (after - first)) * SAMPLE)
    last = max(0, size - SAMPLE)
    return places if last in places else [*places, last]


def worth_reading(named: Iterable[tuple[str, Copy]], unnamed: Iterable[Copy]) -> list[Unnamed]:
    """Copies whose hash is worth its cost: another copy of the same size is there.

    Outside a cache, one that a cache names, or another file of weights: what people made
    themselves is not looked into for being as large as something else.
    """
    kinds: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for claim, copy in named:
        kinds[_place(copy)].add(len(claim))
    unnamed = [
        copy for copy in unnamed if not copy.plain or kinds.get(_place(copy)) or _is_weights(copy)
    ]
    alike = Counter(_place(copy) for copy in unnamed)
    return [
        Unnamed(copy, "git-sha1" if kinds.get(_place(copy)) == {40} else "sha256")
        for copy in unnamed
        if kinds.get(_place(copy)) or alike[_place(copy)] > 1
    ]


class Unnamed(NamedTuple):
    """A copy of which only its bytes say what it is."""

    copy: Copy
    kind: Literal["sha256", "git-sha1"]
    """The hash by which those of its size are named."""


def _place(copy: Copy) -> tuple[int, int]:
    return copy.found.st_dev, copy.found.st_size


def _is_weights(copy: Copy) -> bool:
    return copy.names[0][1].endswith(WEIGHTS)


def claim_of(name: str) -> str:
    """The claim of a file that a hub calls so; empty: its name says nothing."""
    return name if layout.is_blob_name(name) else ""
