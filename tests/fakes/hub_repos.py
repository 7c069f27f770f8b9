"""Repositories of a hub, with a history: what the local hub serves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

from fakes.digests import git_sha1

Content = bytes | str | Path
"""A file's bytes; text is UTF-8; a path names a file on disk, read when it is asked for."""
LFS_PATTERNS = (
    *("*.safetensors", "*.bin", "*.h5", "*.msgpack", "*.onnx", "*.ot", "*.pt", "*.pth"),
    *("*.ckpt", "*.gguf", "*.npz", "*.parquet", "*.arrow", "*.tar.gz", "*.zip", "*.model"),
)
"""As the `.gitattributes` that huggingface.co puts into a new repository."""
KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
_CHUNK = 1 << 20


class Blob:
    """The content of one file, with the names that a hub gives it."""

    def __init__(self, content: Content, *, lfs: bool) -> None:
        self.content = content.encode() if isinstance(content, str) else content
        self.lfs = lfs

    @cached_property
    def size(self) -> int:
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)

    @cached_property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for chunk in self.chunks(0, self.size):
            digest.update(chunk)
        return digest.hexdigest()

    @cached_property
    def oid(self) -> str:
        """Git's name: of the bytes, or of the pointer that stands for an LFS file."""
        return git_sha1(self.pointer if self.lfs else b"".join(self.chunks(0, self.size)))

    @property
    def pointer(self) -> bytes:
        first = "version https://git-lfs.github.com/spec/v1"
        return f"{first}\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @property
    def etag(self) -> str:
        """Its name under `blobs/` in a cache."""
        return self.sha256 if self.lfs else self.oid

    @property
    def xet(self) -> str:
        """A hash of the right form; the bytes lie in no Xet storage."""
        return hashlib.sha256(b"xet" + self.sha256.encode()).hexdigest()

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        if not isinstance(self.content, Path):
            yield from (
                self.content[at : min(at + _CHUNK, stop)] for at in range(start, stop, _CHUNK)
            )
            return
        with self.content.open("rb") as file:
            file.seek(start)
            while start < stop and (chunk := file.read(min(_CHUNK, stop - start))):
                start += len(chunk)
                yield chunk


@dataclass(frozen=True)
class Commit:
    """One commit: the whole tree."""

    sha: str
    title: str
    parent: str
    tree: Mapping[str, Blob]

    @cached_property
    def listing(self) -> tuple[str, ...]:
        """Paths of all files and folders, sorted."""
        folders = {
            path[:at] for path in self.tree for at, char in enumerate(path) if char == "/" and at
        }
        return tuple(sorted({*self.tree, *folders}))


@dataclass
class HubRepo:
    """A repository; `commit` adds to its history."""

    id: str
    kind: str = "model"
    private: bool = False
    gated: bool = False
    xet: bool = False
    """Tell a Xet hash of each LFS file in the tree (and in no header: see `LocalHub`)."""
    lfs: tuple[str, ...] = LFS_PATTERNS
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    raw_tree: list[dict[str, Any]] = field(default_factory=list)
    """Entries that the tree lists besides the files: lies of a hostile hub."""

    @property
    def head(self) -> str:
        """The commit that `main` points to."""
        return self.branches["main"]

    @property
    def folder(self) -> str:
        """`models--org--name`."""
        return "--".join([f"{self.kind}s", *self.id.split("/")])

    @property
    def files(self) -> Mapping[str, Blob]:
        """The tree of `main`."""
        return self.commits[self.head].tree

    def commit(
        self,
        files: Mapping[str, Content],
        *,
        removed: Iterable[str] = (),
        branch: str = "main",
        title: str = "",
    ) -> str:
        """Add a commit on `branch` (made from `main` where it is new), and answer its hash.

        The same history gives the same hashes.
        """
        parent = self.branches.get(branch, self.branches.get("main", ""))
        tree = dict(self.commits[parent].tree) if parent else {}
        for path in removed:
            del tree[path]
        tree |= {path: Blob(content, lfs=self._is_lfs(path)) for path, content in files.items()}
        title = title or f"commit {len(self.commits)}"
        text = repr((self.kind, self.id, parent, title, sorted((p, tree[p].etag) for p in tree)))
        sha = git_sha1(text.encode("utf-8", "backslashreplace"))
        self.commits[sha] = Commit(sha=sha, title=title, parent=parent, tree=tree)
        self.branches[branch] = sha
        return sha

    def tag(self, name: str, commit: str = "") -> None:
        """Name a commit, by default the newest of `main`."""
        self.tags[name] = commit or self.head

    def _is_lfs(self, path: str) -> bool:
        return any(fnmatch(path, pattern) for pattern in self.lfs)

    def resolve(self, revision: str) -> Commit | None:
        """The commit of a branch, a tag, a hash, or the beginning of one (7 or more)."""
        named = self.branches | self.tags
        named |= {f"refs/heads/{name}": sha for name, sha in self.branches.items()}
        sha = named.get(revision, revision)
        if sha in self.commits:
            return self.commits[sha]
        short = [one for one in self.commits if len(sha) >= 7 and one.startswith(sha)]
        return self.commits[short[0]] if len(short) == 1 else None


def from_folder(folder: Path) -> dict[str, Content]:
    """Every file under a folder, as the content of a commit."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
