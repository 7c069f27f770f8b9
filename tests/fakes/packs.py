"""Packs made by hand, truthful or hostile.

maker = PackMaker.of(channel, tmp_path, "greeter", "placeheld")   # one environment, real packages
maker.members[0] = …                                              # any lie
path = maker.write(tmp_path / "p.tar")
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fakes.local_channel import LocalChannel

from envforge.adapters.pack.writing import PackWriter
from envforge.formats.conda_lock import conda_lock_yml
from envforge.formats.packs import pack_index, pack_tar
from envforge.model.lock import Lock, LockedPackage
from envforge.model.pack import MemberKind, PackedEnvironment, PackIndex

NAME = "p-torch27-cpu"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def keep(data: bytes) -> bytes:
    return data


@dataclass
class PackMaker:
    """What the pack is to hold; `write` lists whatever is there by then."""

    platform: str = "linux-64"
    environments: list[PackedEnvironment] = field(default_factory=list)
    members: list[tuple[str, MemberKind, bytes]] = field(default_factory=list)
    index: Callable[[bytes], bytes] = keep
    """Changes the bytes of the index; the receipt states the changed ones."""
    receipt: Callable[[bytes], bytes] = keep

    @classmethod
    def of(cls, channel: LocalChannel, *names: str | tuple[str, str]) -> PackMaker:
        """A truthful one: an environment of these packages of conda-forge."""
        packages = channel.locked(*names)
        maker = cls(platform=channel.subdir)
        maker.add_environment(NAME, packages)
        for item in packages:
            data = (channel.root / "conda-forge" / item.subdir / item.filename).read_bytes()
            maker.members.append((f"packages/{item.subdir}/{item.filename}", "package", data))
        return maker

    def add_environment(
        self, name: str, packages: Sequence[LockedPackage], **files: str | bytes
    ) -> None:
        """`files` are of the folder besides its lock, with `_` for `-` and no ending."""
        lock = Lock(
            packages=tuple(packages),
            platforms=(packages[0].platform,),
            channels=("conda-forge",),
            content_hash={packages[0].platform: "0" * 64},
        )
        texts: dict[str, str | bytes] = {"conda-lock.yml": conda_lock_yml.write(_hashed(lock))}
        texts |= {f"{key.replace('_', '-')}.yml": text for key, text in files.items()}
        self.environments.append(PackedEnvironment(name=name, files=tuple(texts)))
        for file, text in texts.items():
            data = text.encode() if isinstance(text, str) else text
            self.members.append((pack_index.environment_member(name, file), "environment", data))

    def write(self, path: Path) -> Path:
        """Write it."""
        with path.open("w+b") as stream:
            writer = PackWriter(stream)
            for name, kind, data in self.members:
                put(writer, name, kind, data)
            index = PackIndex(
                platform=self.platform,
                environments=tuple(self.environments),
                members=writer.members,
            )
            listed = self.index(pack_index.write_index(index))
            files = [file for item in self.environments for file in item.files]
            known = {name for name, _, _ in self.members}
            shown = tuple(
                replace(
                    item,
                    files=tuple(
                        file
                        for file in files
                        if pack_index.environment_member(item.name, file) in known
                    ),
                )
                for item in self.environments
            )
            stated = pack_index.write_receipt(
                replace(index, environments=shown), digest(listed), "tests"
            )
            put(writer, pack_index.INDEX, "environment", listed)
            put(writer, pack_index.RECEIPT, "environment", self.receipt(stated))
            writer.finish()
        return path


def put(writer: PackWriter, name: str, kind: MemberKind, data: bytes) -> None:
    writer.add(name, kind, len(data), io.BytesIO(data), digest(data))


def rewrite(path: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change the header of a member, in a pack that was written."""
    data = path.read_bytes()
    at = data.index(name.encode().ljust(100, b"\0"))
    block = data[at : at + pack_tar.BLOCK]
    path.write_bytes(data[:at] + change(block) + data[at + pack_tar.BLOCK :])


def summed(block: bytes) -> bytes:
    """A header with the sum that it should have."""
    bare = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(bare) + block[156:]


def _hashed(lock: Lock) -> Lock:
    """conda-lock's format wants an md5, which small packages made by hand may lack."""
    return replace(
        lock, packages=tuple(replace(item, md5=item.md5 or "0" * 32) for item in lock.packages)
    )
