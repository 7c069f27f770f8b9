"""Folders of compiled code on the disk: looked at, shared, packed and emptied."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from envforge.adapters.files import is_file, is_folder, make_folder, unusable, write_text
from envforge.around.activation.compile_collect import is_finished
from envforge.errors import BrokenPack, FileNotUsable
from envforge.formats.packs import pack_tar
from envforge.formats.text import json_text
from envforge.model.compile_cache import SHARED_KINDS, CompiledFile

STAMP: Final = ".stamp"
"""Names the state of what is shared; the script of the environment compares it."""
_INDEX: Final = "compiled.json"
_NO_PACK: Final = "it is no pack of compiled code"
_SCHEMA: Final = "envforge.compiled/1"
_CHUNK: Final = 1 << 20
_FOR_ALL: Final = 0o755
"""Of folders in an environment: its prefix decides who comes so far."""
_FOR_US: Final = 0o700
"""Of a user's own: programs run what lies there."""
_LARGEST_INDEX: Final = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFor:
    """What a pack of compiled code is good for."""

    environment: str
    machine: str
    lock: str
    """Digest of what is installed."""


def walk(place: Path, kinds: Collection[str]) -> tuple[CompiledFile, ...]:
    """The files of some kinds, sorted; what goes meanwhile is left out.

    Raises:
        FileNotUsable: a folder may not be read.
    """
    found: list[CompiledFile] = []
    try:
        for kind in kinds:
            found += _below(place / kind, kind)
    except OSError as error:
        raise unusable(place, error) from error
    return tuple(sorted(found))


def _below(folder: Path, name: str) -> Iterator[CompiledFile]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        path = f"{name}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _below(folder / entry.name, path)
            continue
        with suppress(FileNotFoundError):
            told = entry.stat(follow_symlinks=False)
            if not (stat.S_ISREG(told.st_mode) or stat.S_ISLNK(told.st_mode)):
                continue
            is_link = stat.S_ISLNK(told.st_mode)
            used = max(told.st_atime, told.st_mtime)
            yield CompiledFile(path=path, size=told.st_size, used=used, is_link=is_link)


def folders(top: Path) -> list[Path]:
    """Those in a folder, sorted; links are none."""
    try:
        return sorted(path for path in top.iterdir() if path.is_dir() and not path.is_symlink())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unusable(top, error) from error


def remove(place: Path, units: Collection[str]) -> None:
    """Remove files and folders; a program that has one open keeps it.

    Raises:
        FileNotUsable: one of them may not be removed.
    """
    for name in units:
        path = place / name
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except FileNotFoundError:
            continue  # another process was faster
        except OSError as error:
            raise unusable(path, error) from error


# --- shared ---------------------------------------------------------------------------------


def share(place: Path, seed: Path) -> tuple[int, int]:
    """Copy what is finished, and not there yet, into the environment; number and bytes.

    The copies are read-only. The stamp comes last, so that nobody links a half.

    Raises:
        FileNotUsable: the environment may not be written, or what is to be shared is not ours.
    """
    _refuse_foreign(place)
    files = [item for item in walk(place, SHARED_KINDS) if _is_own(item)]
    count = size = 0
    try:
        for kind in SHARED_KINDS:
            make_folder(seed / kind, _FOR_ALL)
        for item in files:
            if not os.path.lexists(seed / item.path):
                _copy(place / item.path, seed / item.path)
                count, size = count + 1, size + item.size
    except OSError as error:
        raise unusable(seed, error) from error
    listed = "\n".join(f"{item.path} {item.size}" for item in walk(seed, SHARED_KINDS))
    stamp = hashlib.sha256(listed.encode()).hexdigest() + "\n"
    if not (seed / STAMP).is_file() or (seed / STAMP).read_text() != stamp:
        write_text(seed / STAMP, stamp, mode=0o644)
    return count, size


def _refuse_foreign(place: Path) -> None:
    """See that nobody else put code there, which all who enter the environment would run."""
    for folder in (place, *(place / kind for kind in SHARED_KINDS)):
        if is_folder(folder) and folder.stat().st_uid != os.geteuid():
            raise FileNotUsable(path=str(folder), reason="it belongs to somebody else")


def _is_own(item: CompiledFile) -> bool:
    return not item.is_link and is_finished(item.path)


def _copy(source: Path, target: Path) -> None:
    make_folder(target.parent, _FOR_ALL)
    aside = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    try:
        shutil.copyfile(source, aside, follow_symlinks=False)
        executable = source.stat().st_mode & 0o111
        aside.chmod(0o555 if executable else 0o444)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


# --- packed ---------------------------------------------------------------------------------


def pack(place: Path, output: Path, purpose: PackedFor) -> tuple[int, int, str]:
    """Write a tar of all finished files; number, bytes and the SHA-256 of the tar.

    Equal files give equal bytes. Links are followed: they lead to what the environment shares.

    Raises:
        FileNotUsable: it cannot be read or written.
    """
    names = [
        item.path
        for item in walk(place, SHARED_KINDS)
        if is_finished(item.path) and pack_tar.is_name(item.path) and is_file(place / item.path)
    ]
    try:
        hashes = {name: _hash(place / name) for name in names}
        aside = output.with_name(f".{output.name}.{os.urandom(4).hex()}.tmp")
        try:
            with aside.open("xb") as stream:
                size, digest = _write(stream, place, _index(purpose, hashes), names)
                stream.flush()
                os.fsync(stream.fileno())
            aside.replace(output)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise unusable(output, error) from error
    return len(names), size, digest


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _index(purpose: PackedFor, hashes: Mapping[str, str]) -> bytes:
    document = {
        "schema": _SCHEMA,
        "environment": purpose.environment,
        "machine": purpose.machine,
        "lock": purpose.lock,
        "files": dict(hashes),
    }
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def _write(stream: IO[bytes], place: Path, index: bytes, names: Sequence[str]) -> tuple[int, str]:
    """Bytes of the files, and the hash of the whole."""
    digest, total = hashlib.sha256(), 0

    def put(part: bytes) -> None:
        digest.update(part)
        stream.write(part)

    for part in (pack_tar.header(_INDEX, len(index)), index, bytes(pack_tar.padding(len(index)))):
        put(part)
    for name in names:
        with (place / name).open("rb") as source:
            size = os.fstat(source.fileno()).st_size
            put(pack_tar.header(name, size))
            while chunk := source.read(_CHUNK):
                put(chunk)
        put(bytes(pack_tar.padding(size)))
        total += size
    put(pack_tar.END)
    return total, digest.hexdigest()


def unpack(source: Path, place: Path, purpose: PackedFor) -> tuple[int, int]:
    """Verify a whole pack, then write what is not there yet; number and bytes.

    Raises:
        BrokenPack: it is no such pack, holds other bytes than it says, or is for something else.
        FileNotUsable: it cannot be read, or the folder not be written.
    """
    try:
        with source.open("rb") as stream:
            _verify(stream, str(source), purpose)
            stream.seek(0)
            return _laid_out(stream, str(source), place)
    except OSError as error:
        raise unusable(source, error) from error


def _laid_out(stream: IO[bytes], path: str, place: Path) -> tuple[int, int]:
    count = size = 0
    for name, chunks in _members(stream, path):
        target = place / name
        if name == _INDEX or os.path.lexists(target):
            continue
        try:
            size += _lay(target, chunks)
        except OSError as error:
            raise unusable(target, error) from error
        count += 1
    return count, size


def _lay(target: Path, chunks: Iterator[bytes]) -> int:
    """Write one file, for this user; its bytes."""
    make_folder(target.parent, _FOR_US)
    aside = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    try:
        with aside.open("xb") as out:
            size = sum(map(out.write, chunks))
        aside.chmod(0o700 if target.suffix == ".so" else 0o600)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    return size


def _verify(stream: IO[bytes], path: str, purpose: PackedFor) -> None:
    """Read all of it before anything is written."""
    index: Mapping[str, object] = {}
    hashes: dict[str, str] = {}
    for name, chunks in _members(stream, path):
        if name == _INDEX:
            index = _read_index(b"".join(chunks), path)
            continue
        digest = hashlib.sha256()
        for chunk in chunks:
            digest.update(chunk)
        hashes[name] = digest.hexdigest()
    if index.get("schema") != _SCHEMA:
        raise _broken(path, _NO_PACK)
    found = (index.get("environment"), index.get("machine"), index.get("lock"))
    if found != (purpose.environment, purpose.machine, purpose.lock):
        raise _broken(path, _other_purpose(index, purpose))
    if hashes != index.get("files"):
        raise _broken(path, "its files are not those that it lists")


def _broken(path: str, reason: str) -> BrokenPack:
    remedy = "compile here, then `envforge cache compile ENV --pack FILE`"
    return BrokenPack(path=path, reason=reason, remedy=remedy)


def _other_purpose(index: Mapping[str, object], purpose: PackedFor) -> str:
    if index.get("environment") != purpose.environment:
        return f"it is for the environment `{index.get('environment')}`"
    if index.get("machine") != purpose.machine:
        return f"it is for `{index.get('machine')}`, and this is `{purpose.machine}`"
    return "it was made with other packages than are installed here"


def _read_index(data: bytes, path: str) -> Mapping[str, object]:
    try:
        document = json_text.parse(data)
    except ValueError as error:
        raise _broken(path, f"its `{_INDEX}` cannot be read") from error
    if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
        raise _broken(path, _NO_PACK)
    return document


def _members(stream: IO[bytes], path: str) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Each file's name and bytes, where the whole is exactly what `pack` writes."""
    seen: set[str] = set()
    while True:
        block = stream.read(pack_tar.BLOCK)
        if block == pack_tar.END[: pack_tar.BLOCK]:
            if stream.read() != pack_tar.END[pack_tar.BLOCK :]:
                raise _broken(path, "something follows its end")
            return
        try:
            name, size = pack_tar.read_header(block)
        except ValueError as error:
            reason = str(error) if seen else _NO_PACK
            raise _broken(path, reason) from error
        known = name == _INDEX or name.split("/")[0] in SHARED_KINDS
        if name in seen or not known or (name == _INDEX and size > _LARGEST_INDEX):
            raise _broken(path, f"`{name}` does not belong in it")
        seen.add(name)
        begin = stream.tell()
        yield name, _chunks(stream, size, path)
        stream.seek(begin + size)
        if stream.read(pack_tar.padding(size)) != bytes(pack_tar.padding(size)):
            raise _broken(path, f"it is cut off, or wrong, at `{name}`")


def _chunks(stream: IO[bytes], size: int, path: str) -> Iterator[bytes]:
    while size:
        chunk = stream.read(min(size, _CHUNK))
        if not chunk:
            raise _broken(path, "it is cut off")
        size -= len(chunk)
        yield chunk
