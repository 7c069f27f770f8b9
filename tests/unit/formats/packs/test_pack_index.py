"""Index and receipt of a pack."""

from __future__ import annotations

import json
from typing import Any

import pytest

from envforge.errors import BrokenPack
from envforge.formats.packs import pack_index
from envforge.model.pack import PackedEnvironment, PackIndex, PackMember

SHA = "a" * 64
LOCK = "environments/p/conda-lock.yml"
INDEX = PackIndex(
    platform="linux-64",
    environments=(PackedEnvironment(name="p", files=("conda-lock.yml",)),),
    members=(
        PackMember(name=LOCK, kind="environment", sha256=SHA, size=3),
        PackMember(name="wheels/x-1-py3-none-any.whl", kind="wheel", sha256="b" * 64, size=7),
    ),
)


def changed(change: dict[str, Any]) -> bytes:
    document = json.loads(pack_index.write_index(INDEX))
    return json.dumps({**document, **change}).encode()


def member(**change: Any) -> dict[str, Any]:
    return {"members": [{"name": "x", "kind": "wheel", "sha256": SHA, "size": 1, **change}]}


def test_it_is_read_as_it_was_written() -> None:
    assert pack_index.read_index(pack_index.write_index(INDEX), "p") == INDEX
    assert INDEX.by_hash.keys() == {"b" * 64}
    assert INDEX.by_name.keys() == {LOCK, "wheels/x-1-py3-none-any.whl"}
    assert (INDEX.count("wheel"), INDEX.size_of("wheel")) == (1, 7)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{", "cannot be used"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "cannot be used"),
        (b"\xff", "cannot be used"),
        (changed({"schema": "envforge.pack/2"}), "'envforge.pack/2' is not envforge.pack/1"),
        (changed({"schema": []}), "is not envforge.pack/1"),
        (changed({"platform": "beos"}), "'beos' is not linux-64 or"),
        (changed({"members": 3}), "cannot be used"),
        (changed({"environments": [{"name": "p"}]}), "it has no 'files'"),
        (changed({"environments": [{"name": 1, "files": [], "models": False}]}), "none"),
        (changed({"environments": [{"name": "p", "files": [], "models": 1}]}), "none"),
        (changed(member(name="../x")), "'../x' is no name"),
        (changed(member(name=7)), "7 is no name"),
        (changed(member(sha256="A" * 64)), "has no sha256"),
        (changed(member(size=-1)), "has no size"),
        (changed(member(size=True)), "has no size"),
        (changed(member(size=2**60)), "has no size"),
        (changed(member(kind="malware")), "'malware' is not"),
        (changed({"more": 1}), "says more"),
        (pack_index.write_index(INDEX) + b"\n", "says more"),
    ],
)
def test_any_other_is_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(BrokenPack) as caught:
        pack_index.read_index(data, "p.tar")
    assert why in str(caught.value)


def test_the_receipt_states_every_hash() -> None:
    receipt = pack_index.write_receipt(INDEX, "c" * 64, "envforge 1")

    stated = pack_index.read_receipt(receipt, "p")

    assert stated == {**{m.name: m.sha256 for m in INDEX.members}, "index.json": "c" * 64}
    predicate = json.loads(receipt)["predicate"]
    assert predicate["environments"] == [
        {"name": "p", "files": {"conda-lock.yml": SHA}, "models": False}
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b"nothing",
        json.dumps({"_type": "x", "predicateType": "y", "subject": []}).encode(),
        json.dumps(
            {"_type": pack_index.STATEMENT, "predicateType": "slsa", "subject": []}
        ).encode(),
    ],
)
def test_what_is_no_receipt_is_refused(data: bytes) -> None:
    with pytest.raises(BrokenPack, match=r"receipt\.json cannot be used"):
        pack_index.read_receipt(data, "p")
