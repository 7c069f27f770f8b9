"""Writes `.conda` packages with the standard library alone, equal bytes for equal content.

The format (conda package specification, CEP 35) is a stored zip of two zstd-compressed tars and a
metadata.json. The zstd frames hold raw blocks (RFC 8878, section 3.1.1.2): a package that is read
once, on the machine that wrote it, is not worth a compressor, neither its time nor the dependency.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

_ZIP_TIME: Final = (2020, 1, 1, 0, 0, 0)
_TAR_TIME: Final = 1_577_836_800
"""The same moment, for every file: what a file is decides, not when it was built."""
_BLOCK: Final = 128 * 1024
"""The largest block RFC 8878 allows."""
_FRAME_HEADER: Final = b"\x28\xb5\x2f\xfd" + b"\x00\x50"
"""Magic number; no size, checksum or dictionary; a window of 1 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ArchiveEntry:
    """One file of a package, lying in a staging folder."""

    path: str
    """In the package, with `/`."""
    sha256: str
    """Of the content; of the target's for a link."""
    size: int
    executable: bool = False
    link: str | None = None
    """Target of a symbolic link, relative to it."""
    placeholder: str | None = None
    """Stands in this text file where the prefix will stand."""

    def paths_json(self) -> dict[str, Any]:
        """The entry as `info/paths.json` tells it."""
        told: dict[str, Any] = {
            "_path": self.path,
            "path_type": "softlink" if self.link else "hardlink",
            "sha256": self.sha256,
            "size_in_bytes": self.size,
        }
        if self.placeholder:
            told |= {"prefix_placeholder": self.placeholder, "file_mode": "text"}
        return told


class _StoredZstd(io.RawIOBase):
    """A zstd frame whose blocks are not compressed."""

    def __init__(self, target: IO[bytes]) -> None:
        super().__init__()
        self._target = target
        self._pending = bytearray()
        target.write(_FRAME_HEADER)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pending += data
        while len(self._pending) > _BLOCK:
            self._block(bytes(self._pending[:_BLOCK]), last=False)
            del self._pending[:_BLOCK]
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._block(bytes(self._pending), last=True)
        super().close()

    def _block(self, data: bytes, *, last: bool) -> None:
        self._target.write((len(data) << 3 | last).to_bytes(3, "little"))
        self._target.write(data)


def write_conda(
    target: Path,
    stage: Path,
    entries: Sequence[ArchiveEntry],
    info: Mapping[str, bytes],
) -> None:
    """Write `target`, named `NAME-VERSION-BUILD.conda`.

    Args:
        target: the file to write.
        stage: folder the entries lie in.
        entries: the files, links included.
        info: further files of `info/`; paths.json and files are added.
    """
    ordered = sorted(entries)
    paths = [entry.paths_json() for entry in ordered]
    described = {
        **info,
        "paths.json": as_json({"paths": paths, "paths_version": 1}),
        "files": "".join(f"{entry.path}\n" for entry in ordered).encode(),
    }
    stem = target.name.removesuffix(".conda")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        _member(archive, "metadata.json", as_json({"conda_pkg_format_version": 2}))
        with _open(archive, f"pkg-{stem}.tar.zst") as stream, _StoredZstd(stream) as frame:
            _write_files(frame, stage, ordered)
        with _open(archive, f"info-{stem}.tar.zst") as stream, _StoredZstd(stream) as frame:
            _write_info(frame, described)


def as_json(value: object) -> bytes:
    """JSON with one form for one value."""
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def _member(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), data)


def _open(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    return archive.open(zipfile.ZipInfo(name, _ZIP_TIME), "w")


def _write_files(frame: _StoredZstd, stage: Path, entries: Iterable[ArchiveEntry]) -> None:
    with tarfile.open(fileobj=frame, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for entry in entries:
            header = _header(entry.path, 0o755 if entry.executable else 0o644)
            if entry.link:
                header.type, header.linkname, header.mode = tarfile.SYMTYPE, entry.link, 0o777
                tar.addfile(header)
                continue
            header.size = entry.size
            with (stage / entry.path).open("rb") as stream:
                tar.addfile(header, stream)


def _write_info(frame: _StoredZstd, files: Mapping[str, bytes]) -> None:
    with tarfile.open(fileobj=frame, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for name, data in sorted(files.items()):
            header = _header(f"info/{name}", 0o644)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))


def _header(name: str, mode: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.mode, header.mtime = mode, _TAR_TIME
    return header


def file_digests(path: Path) -> tuple[str, str]:
    """sha256 and md5, in hexadecimal."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            sha256.update(chunk)
            md5.update(chunk)
    return sha256.hexdigest(), md5.hexdigest()
