"""Channel metadata that lies in a folder."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from envforge.adapters.channels import folder_of
from envforge.errors import Unreachable
from envforge.model.solving import Channel

if TYPE_CHECKING:
    import rattler

_AGAIN = "copy the channel again: `{path}` is not complete"


def open_subdir(
    channel: Channel, folder: Path, subdir: str, cache: Path
) -> rattler.SparseRepoData | None:
    """One subdirectory of a channel, mapped into memory; None where there is none.

    Args:
        channel: its canonical address is what the records will hold.
        folder: what is read; `repodata.json`, or a lone `repodata.json.zst`.
        subdir: a platform or `noarch`.
        cache: where a compressed file is unpacked to.

    Raises:
        Unreachable: the file cannot be read or is no repodata; or no subdirectory is there.
    """
    path = folder / subdir / "repodata.json"
    packed = folder / subdir / "repodata.json.zst"
    if not path.is_file():
        if packed.is_file():
            path = _unpacked(packed, cache)
        elif _has_some(folder):
            return None
        else:
            raise Unreachable(
                url=str(folder),
                reason="there is no `repodata.json` in it, for any platform",
                remedy="give the folder that holds `linux-64` and `noarch`",
            )
    return _open(channel, subdir, path)


def _has_some(folder: Path) -> bool:
    return any(folder.glob("*/repodata.json")) or any(folder.glob("*/repodata.json.zst"))


def _open(channel: Channel, subdir: str, path: Path) -> rattler.SparseRepoData:
    from rattler import Channel as RattlerChannel
    from rattler import SparseRepoData

    try:
        opened = SparseRepoData(RattlerChannel(channel.url), subdir, path)
    except OSError as error:
        cause = " ".join(str(error).split())
        raise Unreachable(
            url=str(path),
            reason=f"it is no channel metadata, or half of it ({cause})",
            remedy=_AGAIN.format(path=path),
        ) from error
    return opened


def _unpacked(packed: Path, cache: Path) -> Path:
    """A folder mirror may keep the compressed file alone; rattler maps only plain ones."""
    stamp = packed.stat()
    key = hashlib.sha256(f"{packed}\n{stamp.st_mtime_ns}\n{stamp.st_size}".encode()).hexdigest()
    target = cache / "repodata" / "unpacked" / f"{key[:32]}.json"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_suffix(".part")
        _decompress(packed, aside)
        aside.replace(target)
    return target


def _decompress(packed: Path, target: Path) -> None:
    """Whichever Zstandard this interpreter has; it is only needed for such folders."""
    if sys.version_info >= (3, 14):
        from compression import zstd

        with zstd.open(packed, "rb") as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
        return
    try:
        import zstandard
    except ImportError as error:
        raise Unreachable(
            url=str(packed),
            reason="it is compressed, no `repodata.json` lies beside it,"
            " and this Python cannot unpack Zstandard",
            remedy=f"`pip install zstandard`, or `zstd -d {packed}`",
        ) from error
    try:
        with packed.open("rb") as source, target.open("wb") as sink:
            zstandard.ZstdDecompressor().copy_stream(source, sink)
    except zstandard.ZstdError as error:
        raise Unreachable(
            url=str(packed),
            reason=f"it is damaged ({error})",
            remedy=_AGAIN.format(path=packed),
        ) from error


def hashes(url: str, md5: bytes | None, sha256: bytes | None) -> tuple[bytes | None, bytes | None]:
    """Fill in what a record lacks, where the archive lies in a local folder."""
    folder = folder_of(url) if url.startswith("file:") else None
    if folder is None or not folder.is_file():
        return md5, sha256
    weak, strong = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with folder.open("rb") as stream:
        while block := stream.read(1 << 20):
            weak.update(block)
            strong.update(block)
    return md5 or weak.digest(), sha256 or strong.digest()
