"""Caches as the clients of a hub leave them: `huggingface_hub`'s, flat ones, `--local-dir`.

All files are an hour old, as nothing is remembered of what was written this moment.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from fakes.digests import git_sha1, sha256

HOUR = 3600
COMMIT = "c" * 40


def etag(data: bytes, *, lfs: bool = True) -> str:
    """The name that a hub gives to a file."""
    return sha256(data) if lfs else git_sha1(data)


def is_lfs(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", ".h5"))


def put(path: Path, data: bytes) -> Path:
    """A file that was not written just now; its folder, neither."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    then = time.time() - HOUR
    os.utime(path, (then, then))
    return path


def hub_repo(
    cache: Path,
    files: Mapping[str, bytes],
    *,
    name: str = "models--org--m",
    commit: str = COMMIT,
    links: bool = True,
    listing: bool = True,
) -> dict[str, Path]:
    """A repository in huggingface_hub's cache; where each file's bytes lie.

    `links`: False: files in the snapshot, and no blobs; `listing`: with `trees/`.
    """
    repo = cache / name
    where: dict[str, Path] = {}
    told: dict[str, dict[str, object]] = {}
    for path, data in files.items():
        tag = etag(data, lfs=is_lfs(path))
        seen = repo / "snapshots" / commit / path
        if links:
            where[path] = put(repo / "blobs" / tag, data)
            seen.parent.mkdir(parents=True, exist_ok=True)
            up = "../" * (2 + path.count("/"))
            seen.symlink_to(f"{up}blobs/{tag}")
        else:
            where[path] = put(seen, data)
        told[path] = {"size": len(data), "blob_id": git_sha1(data)}
        if is_lfs(path):
            told[path] |= {"lfs_sha256": tag, "lfs_size": len(data)}
    (repo / "refs").mkdir(exist_ok=True)
    (repo / "refs" / "main").write_text(commit)
    (repo / ".no_exist" / commit).mkdir(parents=True)
    (repo / ".no_exist" / commit / "adapter_config.json").touch()
    if listing:
        (repo / "trees").mkdir()
        document = {"format_version": 1, "files": told}
        (repo / "trees" / f"{commit}.json").write_text(json.dumps(document))
    return where


def flat(cache: Path, url: str, data: bytes) -> Path:
    """A file in the cache of transformers before 4.22."""
    quoted = f'"{sha256(data)}"'
    name = f"{sha256(url.encode())}.{sha256(quoted.encode())}"
    path = put(cache / name, data)
    (cache / f"{name}.json").write_text(json.dumps({"url": url, "etag": quoted}))
    return path


def local(folder: Path, path: str, data: bytes, *, record: bool = True) -> Path:
    """A file of `--local-dir`, with its download record."""
    made = put(folder / path, data)
    if record:
        note = folder / ".cache" / "huggingface" / "download" / f"{path}.metadata"
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{COMMIT}\n{etag(data, lfs=is_lfs(path))}\n{time.time()}\n")
    return made


def inode(path: Path) -> int:
    return path.stat().st_ino


def contents(root: Path) -> dict[str, bytes | str]:
    """Everything under a folder: bytes of files, targets of links."""
    return {
        str(path.relative_to(root)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }
