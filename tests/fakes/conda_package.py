"""Builds real `.conda` packages: a zip of two zstd tars and a metadata.json."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PLACEHOLDER = "/opt/placehold" + "_placehold" * 20
"""Stands in packages where the prefix will stand; as long as conda-build's."""
_EPOCH = (2020, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of a package."""

    data: bytes = b""
    executable: bool = False
    link: str | None = None
    """Target of a symbolic link."""
    placeholder: Literal["text", "binary"] | None = None
    """How `PLACEHOLDER` in it is to be replaced."""
    no_link: bool = False


def make_package(
    folder: Path,
    name: str,
    version: str = "1.0",
    build: str = "0",
    *,
    files: Mapping[str, Entry | bytes | str] | None = None,
    depends: Sequence[str] = (),
    constrains: Sequence[str] = (),
    noarch: Literal["python", "generic"] | None = None,
    entry_points: Sequence[str] = (),
    subdir: str = "linux-64",
    license_: str = "BSD-3-Clause",
    track_features: str = "",
    extra_index: Mapping[str, object] | None = None,
    level: int = 1,
) -> Path:
    """Write `folder/SUBDIR/NAME-VERSION-BUILD.conda` and return its path.

    `files` maps paths inside the package to their content (for `noarch="python"`,
    modules lie under `site-packages/`).
    """
    entries = {path: _entry(value) for path, value in (files or {}).items()}
    where = "noarch" if noarch else subdir
    index: dict[str, object] = {
        "name": name,
        "version": version,
        "build": build,
        "build_number": _build_number(build),
        "depends": list(depends),
        "constrains": list(constrains),
        "license": license_,
        "subdir": where,
        "timestamp": 1_600_000_000_000,
        "arch": None if noarch else "x86_64",
        "platform": None if noarch else "linux",
    }
    if noarch:
        index["noarch"] = noarch
    if track_features:
        index["track_features"] = track_features
    index.update(extra_index or {})
    info = {
        "info/index.json": _json(index),
        "info/paths.json": _json(
            {"paths": [_path(*item) for item in sorted(entries.items())], "paths_version": 1}
        ),
        "info/files": "".join(f"{path}\n" for path in sorted(entries)).encode(),
        "info/about.json": _json({"license": license_, "summary": f"{name}, made for tests"}),
    }
    if noarch == "python":
        link: dict[str, object] = {"type": "python"}
        if entry_points:
            link["entry_points"] = list(entry_points)
        info["info/link.json"] = _json({"noarch": link, "package_metadata_version": 1})
    target = folder / where / f"{name}-{version}-{build}.conda"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(
        _archive(
            f"{name}-{version}-{build}",
            payload=_tar(entries, level),
            info=_tar({path: Entry(data=data) for path, data in info.items()}, level),
        )
    )
    return target


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _entry(value: Entry | bytes | str) -> Entry:
    if isinstance(value, Entry):
        return value
    return Entry(data=value.encode() if isinstance(value, str) else value)


def _build_number(build: str) -> int:
    tail = build.rpartition("_")[2]
    return int(tail) if tail.isdigit() else 0


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode()


def _path(path: str, entry: Entry) -> dict[str, object]:
    # conda hashes what a soft link points at; here links stay inside, so their text will do.
    data = entry.link.encode() if entry.link is not None else entry.data
    described: dict[str, object] = {
        "_path": path,
        "path_type": "softlink" if entry.link is not None else "hardlink",
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_in_bytes": len(data),
    }
    if entry.placeholder:
        described |= {"prefix_placeholder": PLACEHOLDER, "file_mode": entry.placeholder}
    if entry.no_link:
        described["no_link"] = True
    return described


def _tar(entries: Mapping[str, Entry], level: int) -> bytes:
    import zstandard

    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, entry in sorted(entries.items()):
            member = tarfile.TarInfo(path)
            member.mtime = 1_577_836_800
            member.mode = 0o755 if entry.executable else 0o644
            if entry.link is not None:
                member.type, member.linkname = tarfile.SYMTYPE, entry.link
                tar.addfile(member)
            else:
                member.size = len(entry.data)
                tar.addfile(member, io.BytesIO(entry.data))
    return zstandard.ZstdCompressor(level=level, threads=0).compress(raw.getvalue())


def _archive(stem: str, *, payload: bytes, info: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for member, data in (
            ("metadata.json", b'{"conda_pkg_format_version": 2}'),
            (f"pkg-{stem}.tar.zst", payload),
            (f"info-{stem}.tar.zst", info),
        ):
            archive.writestr(zipfile.ZipInfo(member, date_time=_EPOCH), data)
    return out.getvalue()
