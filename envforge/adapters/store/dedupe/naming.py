"""Hashes of files that no cache names, remembered so that they are read once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from envforge.adapters.store.dedupe.crew import THREADS, Crew
from envforge.adapters.store.dedupe.folders import Changed, Folders, why
from envforge.adapters.store.dedupe.reading import Reader
from envforge.adapters.store.known_hashes import KnownHashes
from envforge.cache.dedupe_plan import Copy, Unnamed


class Named(NamedTuple):
    """What its bytes say."""

    unnamed: Unnamed
    digest: str
    read_at: int


def name_by_bytes(
    pile: Sequence[Unnamed], known: KnownHashes, problems: list[tuple[str, str]]
) -> tuple[list[tuple[str, Copy]], int]:
    """Hash what is not remembered: each copy with its claim, and the bytes that were read."""
    remembered = [(known.get(item.copy.found, item.kind), item) for item in pile]
    found = [(digest, item.copy) for digest, item in remembered if digest]
    to_read = [item for digest, item in remembered if not digest]
    if not to_read:
        return found, 0
    crew, named = Crew(), list[Named]()
    readers = [Reader(crew) for _ in range(min(THREADS, len(to_read)))]
    work = iter(sorted(to_read, key=lambda item: -item.copy.found.st_size))
    crew.run([partial(_hash, crew.shared(work), reader, named, problems) for reader in readers])
    for (copy, kind), digest, read_at in named:
        known.add(copy.found, digest, kind, read_at=read_at)
    found += [(item.digest, item.unnamed.copy) for item in named]
    return found, sum(reader.read for reader in readers)


def _hash(
    work: Iterator[Unnamed], reader: Reader, named: list[Named], problems: list[tuple[str, str]]
) -> None:
    folders = Folders()
    for item in work:
        copy, kind = item
        read_at = time.time_ns()
        size = copy.found.st_size
        try:
            descriptor = folders.open(copy)
            try:
                digest = reader.hashed(descriptor, size, "0" * (64 if kind == "sha256" else 40))
                unchanged = os.fstat(descriptor).st_mtime_ns == copy.found.st_mtime_ns
            finally:
                os.close(descriptor)
        except (Changed, OSError) as error:
            problems.append((copy.path, why(error)))
            continue
        if unchanged:
            named.append(Named(item, digest.digest, read_at))
    folders.close()
