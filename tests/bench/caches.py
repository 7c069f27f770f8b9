"""Caches as users have them, for `dedupe.py`: the same seed gives the same bytes.

    python tests/bench/caches.py large FOLDER [--scale 0.05]

`large`: five users' caches, a flat one and a `--local-dir` copy; some models are fine-tunes, which
have the size and the first bytes of another. `small`: five users with many small files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

USERS: Final = ("ada", "bo", "cy", "di", "ed")
OLD: Final = 1_700_000_000
"""A time of last change, in seconds: these files were not written just now."""
_PIECE: Final = 1 << 20


@dataclass(frozen=True)
class File:
    """One file of a model; equal seeds, heads and sizes are equal bytes."""

    name: str
    size: int
    seed: int
    head: int
    """Seed of the first 8 kB."""
    lfs: bool = True

    def pieces(self) -> Iterator[bytes]:
        """Its bytes."""
        head = random.Random(self.head).randbytes(min(8192, self.size))
        yield head
        rest, source = self.size - len(head), random.Random(self.seed)
        while rest > 0:
            yield source.randbytes(min(rest, _PIECE))
            rest -= _PIECE


@dataclass(frozen=True)
class Model:
    """A repository with one commit."""

    name: str
    files: tuple[File, ...]

    @property
    def commit(self) -> str:
        return hashlib.sha1(self.name.encode(), usedforsecurity=False).hexdigest()


def large_models(scale: float) -> list[Model]:
    """Twelve of about 200 MB; every fourth has a fine-tune of the same sizes beside it."""
    weights = int(96_000_000 * scale)
    models = []
    for number in range(12):
        base = number - 1 if number % 4 == 3 else number
        shards = tuple(
            File(f"model-{part}.safetensors", weights + base * 4096, 100 * number + part,
                 100 * base + part)
            for part in range(2)
        )  # fmt: skip
        seed = 100 * number + 10
        small = (
            File("tokenizer.json", int(2_000_000 * scale) + number, seed + 1, seed + 1),
            File("config.json", 700 + number, seed + 2, seed + 2, lfs=False),
            File("vocab.txt", int(230_000 * scale) + number, seed + 3, seed + 3, lfs=False),
        )
        models.append(Model(f"org/model-{number}", shards + small))
    return models


def small_models(count: int) -> list[Model]:
    """A hundred repositories of small files, `count` in all."""
    sizes = random.Random(7)
    return [
        Model(
            f"org/small-{number}",
            tuple(
                File(f"part-{part}.json", sizes.randint(500, 14_000), seed, seed, part % 2 == 0)
                for part in range(count // 100)
                if (seed := 1000 * number + part + 1)
            ),
        )
        for number in range(100)
    ]


class Writer:
    """Writes models into caches; the bytes of each file are made once and copied then."""

    def __init__(self) -> None:
        self._made: dict[File, tuple[Path, str]] = {}

    def put(self, file: File, target: Path) -> None:
        """One file, with an old time."""
        target.parent.mkdir(parents=True, exist_ok=True)
        made = self._made.get(file)
        with target.open("wb") as out:
            if made is None:
                out.writelines(file.pieces())
            else:
                with made[0].open("rb") as source:
                    while done := os.sendfile(out.fileno(), source.fileno(), None, 1 << 30):  # type: ignore[arg-type]
                        del done
        if made is None:
            self._made[file] = (target, _etag(file, target))
        os.utime(target, (OLD, OLD))

    def etag(self, file: File, beside: Path) -> str:
        """Its name under `blobs/`."""
        if file not in self._made:
            self.put(file, beside / "new")
            path, etag = self._made[file]
            path.replace(beside / etag)
            self._made[file] = (beside / etag, etag)
        return self._made[file][1]

    def hub(self, cache: Path, model: Model) -> None:
        """As huggingface_hub lays it out."""
        repo = cache / ("models--" + model.name.replace("/", "--"))
        for name in ("blobs", "refs", "trees", f"snapshots/{model.commit}"):
            (repo / name).mkdir(parents=True, exist_ok=True)
        listing = {}
        for file in model.files:
            etag = self.etag(file, repo / "blobs")
            if not (repo / "blobs" / etag).exists():
                self.put(file, repo / "blobs" / etag)
            (repo / "snapshots" / model.commit / file.name).symlink_to(f"../../blobs/{etag}")
            listing[file.name] = {"size": file.size, "blob_id": etag}
        (repo / "refs" / "main").write_text(model.commit)
        document = {"format_version": 1, "files": listing}
        (repo / "trees" / f"{model.commit}.json").write_text(json.dumps(document))

    def flat(self, cache: Path, model: Model) -> None:
        """As transformers before 4.22."""
        for file in model.files:
            url = f"https://huggingface.co/{model.name}/resolve/main/{file.name}"
            etag = f'"{self._made[file][1]}"'
            name = ".".join(hashlib.sha256(text.encode()).hexdigest() for text in (url, etag))
            self.put(file, cache / name)
            (cache / f"{name}.json").write_text(json.dumps({"url": url, "etag": etag}))

    def local(self, folder: Path, model: Model) -> None:
        """As `--local-dir`."""
        for file in model.files:
            self.put(file, folder / file.name)
            record = folder / ".cache/huggingface/download" / f"{file.name}.metadata"
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(f"{model.commit}\n{self._made[file][1]}\n{OLD + 60}\n")


def _etag(file: File, path: Path) -> str:
    with path.open("rb") as stream:
        if file.lfs:
            digest = hashlib.sha256()
        else:
            digest = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def write(kind: str, folder: Path, scale: float) -> None:
    """Write one of the two sets."""
    writer = Writer()
    if kind == "small":
        for model in small_models(int(10_000 * scale)):
            for user in USERS:
                writer.hub(folder / user / "hub", model)
    else:
        models = large_models(scale)
        for number, model in enumerate(models):
            for user in USERS[: 2 + number % 3]:
                writer.hub(folder / user / "hub", model)
        for model in models[4:6]:
            writer.flat(folder / "ed" / "transformers", model)
            writer.local(folder / "bo" / "projects" / model.name, model)
    for user in USERS:
        (folder / user / "hub").mkdir(parents=True, exist_ok=True)
        tag = folder / user / "hub" / "CACHEDIR.TAG"
        tag.write_text("Signature: 8a477f597d28d172789f06886806bc55\n")


def main() -> int:
    """Write a set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["large", "small"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    given = parser.parse_args()
    write(given.kind, given.folder, given.scale)
    return 0


if __name__ == "__main__":
    sys.exit(main())
