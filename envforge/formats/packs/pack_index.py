"""index.json and receipt.json of a pack.

The index lists environments and members. The receipt is an in-toto Statement (in-toto
attestation framework, `spec/v1/statement.md`): its subjects are all members and the index, each
with its sha256; its predicate says for which environments, in which locks. Both are JSON with one
form for one value, so that equal packs have equal bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, get_args

from envforge.errors import BrokenPack
from envforge.formats.packs import pack_tar
from envforge.formats.text import json_text
from envforge.model.machine import PLATFORMS
from envforge.model.pack import MemberKind, PackedEnvironment, PackIndex, PackMember

INDEX: Final = "index.json"
RECEIPT: Final = "receipt.json"
SCHEMA: Final = "envforge.pack/1"
STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://github.com/envforge/envforge/pack/v1"
MOST: Final = 1 << 28
"""Bytes of an index or a receipt; a million members take less."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_KINDS: Final = frozenset(get_args(MemberKind))


def write_index(index: PackIndex) -> bytes:
    """The index; equal for equal packs."""
    return _json(
        {
            "schema": SCHEMA,
            "platform": index.platform,
            "environments": [
                {"name": item.name, "files": list(item.files), "models": item.models}
                for item in index.environments
            ],
            "members": [
                {"name": item.name, "kind": item.kind, "sha256": item.sha256, "size": item.size}
                for item in index.members
            ],
        }
    )


def write_receipt(index: PackIndex, index_sha256: str, packer: str) -> bytes:
    """The receipt; `packer` is the program and its version."""
    hashes = {item.name: item.sha256 for item in index.members}
    return _json(
        {
            "_type": STATEMENT,
            "subject": [
                {"name": name, "digest": {"sha256": sha256}}
                for name, sha256 in [*hashes.items(), (INDEX, index_sha256)]
            ],
            "predicateType": PREDICATE,
            "predicate": {
                "packer": packer,
                "platform": index.platform,
                "environments": [
                    {
                        "name": item.name,
                        "files": {
                            file: hashes[environment_member(item.name, file)] for file in item.files
                        },
                        "models": item.models,
                    }
                    for item in index.environments
                ],
            },
        }
    )


def environment_member(environment: str, file: str) -> str:
    """The member that a file of an environment's folder is."""
    return f"environments/{environment}/{file}"


def read_index(data: bytes, path: str) -> PackIndex:
    """Read an index that anybody may have written.

    Raises:
        BrokenPack: it is none, or one of another version.
    """
    try:
        document = json_text.parse(data)
        _one_of(document["schema"], {SCHEMA})
        index = PackIndex(
            platform=_one_of(document["platform"], PLATFORMS),
            environments=tuple(map(_environment, document["environments"])),
            members=tuple(map(_member, document["members"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenPack(path=path, reason=f"{INDEX} cannot be used: {_why(error)}") from error
    if write_index(index) != data:
        raise BrokenPack(path=path, reason=f"{INDEX} says more than envforge writes there")
    return index


def read_receipt(data: bytes, path: str) -> Mapping[str, str]:
    """The hashes that a receipt states, by member.

    Raises:
        BrokenPack: it is no receipt of a pack.
    """
    try:
        document = json_text.parse(data)
        _one_of(document["_type"], {STATEMENT})
        _one_of(document["predicateType"], {PREDICATE})
        stated = [(item["name"], item["digest"]["sha256"]) for item in document["subject"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenPack(path=path, reason=f"{RECEIPT} cannot be used: {_why(error)}") from error
    return dict(stated)


def _environment(fields: Mapping[str, Any]) -> PackedEnvironment:
    name, files, models = fields["name"], fields["files"], fields["models"]
    if not all(isinstance(item, str) for item in (name, *files)) or not isinstance(models, bool):
        raise TypeError("an environment with fields that are none")
    return PackedEnvironment(name=name, files=tuple(files), models=models)


def _member(fields: Mapping[str, Any]) -> PackMember:
    name, sha256, size = fields["name"], fields["sha256"], fields["size"]
    if not isinstance(name, str) or not pack_tar.is_name(name):
        raise ValueError(f"{name!r} is no name of a member")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ValueError(f"`{name}` has no sha256")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= pack_tar.LARGEST:
        raise ValueError(f"`{name}` has no size")
    kind: Any = _one_of(fields["kind"], _KINDS)
    return PackMember(name=name, kind=kind, sha256=sha256, size=size)


def _one_of(value: Any, known: Any) -> Any:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{value!r} is not {' or '.join(sorted(known))}")
    return value


def _why(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
