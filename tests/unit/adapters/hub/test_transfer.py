"""Which of huggingface_hub's transfers is used, and how its errors are put up with."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.installing import make_settings
from fakes.prefilling import sha256, wanted
from huggingface_hub import constants, file_download

from envforge.adapters.hub import transfer
from envforge.adapters.hub.transfer import HubTransfer
from envforge.adapters.store.arriving.parts import Part
from envforge.errors import Unreachable, WrongBytes

DATA = b"weights" * 1000
ITEM = wanted(DATA)


class Waits(list[float]):
    """Remembers pauses instead of making them."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def part(tmp_path: Path) -> Iterator[Part]:
    with Part(tmp_path / f"{ITEM.key}.me.part", len(DATA), git=False, watch=lambda _: None) as one:
        yield one


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def carry(tmp_path: Path, said: list[str], waits: Waits) -> HubTransfer:
    settings = replace(make_settings(tmp_path), environment={"HF_ENDPOINT": "http://127.0.0.1:9/"})
    return HubTransfer(settings, waits, said.append)


def test_the_address_and_what_is_known_is_handed_on(
    carry: HubTransfer, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []

    def http_get(url: str, temp_file: Any, **about: Any) -> None:
        calls.append({"url": url, **about})
        about["_tqdm_bar"].update(7)
        about["_tqdm_bar"].set_postfix_str("x")
        temp_file.write(DATA)

    monkeypatch.setattr(file_download, "http_get", http_get)
    monkeypatch.setattr(transfer.inspect, "signature", lambda _: Signature())
    part.write(b"")
    carry.get(ITEM, part)

    [call] = calls
    assert call["url"] == f"http://127.0.0.1:9/org/name/resolve/{'c' * 40}/model.safetensors"
    assert (call["resume_size"], call["expected_size"]) == (0, len(DATA))
    assert call["headers"]["Accept-Encoding"] == "identity"
    assert "envforge/" in call["headers"]["user-agent"]
    assert constants.DOWNLOAD_CHUNK_SIZE <= 2**18


class Signature:
    parameters = ("_nb_retries", "_tqdm_bar")


def test_a_hub_that_stays_silent_is_given_up(carry: HubTransfer, part: Part, waits: Waits) -> None:
    with pytest.raises(Unreachable, match="cannot read"):
        carry.get(ITEM, part)

    assert waits == [1.0, 1.0, 2.0, 4.0, 8.0]


def test_single_attempts_are_not_shown(
    carry: HubTransfer, part: Part, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Unreachable):
        carry.get(ITEM, part)

    shown = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert shown == []


def test_a_wrong_error_of_ours_is_not_hidden(
    carry: HubTransfer, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(file_download, "http_get", crash)

    with pytest.raises(ZeroDivisionError):
        carry.get(ITEM, part)


def test_too_much_after_old_bytes_starts_anew(
    carry: HubTransfer, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old versions append a whole file to what was there, when a range is ignored."""

    def http_get(_: str, temp_file: Any, **__: Any) -> None:
        temp_file.write(DATA)

    monkeypatch.setattr(file_download, "http_get", http_get)
    part.write(DATA[:100])
    part.resumed_at = 100
    carry.get(ITEM, part)
    assert part.digests()[0] == sha256(DATA)

    part.clear()
    part.write(DATA[:100])
    with pytest.raises(WrongBytes, match="more than 100 bytes"):
        carry.get(ITEM, part)


# --- Xet ------------------------------------------------------------------------------------


@pytest.fixture
def xet(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A hub that offers the file in Xet storage, and a storage that we steer."""
    state: dict[str, Any] = {"data": DATA, "calls": 0, "http": 0}

    def metadata(*_: Any, **__: Any) -> Any:
        found = file_download.HfFileMetadata(
            commit_hash=None, etag=None, location="", size=None, xet_file_data="token route"
        )
        return replace(found, xet_file_data=state.get("offered", "token route"))

    def xet_get(*, incomplete_path: Path, _tqdm_bar: Any, **_: Any) -> None:
        state["calls"] += 1
        if state["data"] is None:
            incomplete_path.write_bytes(DATA[:10])
            raise RuntimeError("CAS says no, at https://cas.example/?sig=secret")
        _tqdm_bar.update(len(state["data"]))
        incomplete_path.write_bytes(state["data"])

    def http_get(_: str, temp_file: Any, *, resume_size: int, **__: Any) -> None:
        state["http"] += 1
        temp_file.write(DATA[resume_size:])

    monkeypatch.setattr(file_download, "get_hf_file_metadata", metadata)
    monkeypatch.setattr(file_download, "xet_get", xet_get)
    monkeypatch.setattr(file_download, "http_get", http_get)
    monkeypatch.setattr("huggingface_hub.utils._runtime.is_xet_available", lambda: True)
    return state


XET = replace(ITEM, xet=hashlib.sha256(b"xet").hexdigest())


def test_xet_is_used_where_the_hub_offers_it(
    carry: HubTransfer, part: Part, xet: dict[str, Any]
) -> None:
    carry.get(XET, part)

    assert (xet["calls"], xet["http"]) == (1, 0)
    assert part.digests()[0] == sha256(DATA)
    assert part.received == len(DATA)


def test_a_part_of_old_goes_on_by_http(carry: HubTransfer, part: Part, xet: dict[str, Any]) -> None:
    """Xet can only begin at the beginning."""
    part.write(DATA[:100])

    carry.get(XET, part)

    assert (xet["calls"], xet["http"], part.digests()[0]) == (0, 1, sha256(DATA))


def test_where_xet_fails_http_does(
    carry: HubTransfer, part: Part, xet: dict[str, Any], said: list[str]
) -> None:
    xet["data"] = None

    carry.get(XET, part)

    assert (xet["calls"], xet["http"], part.digests()[0]) == (1, 1, sha256(DATA))
    assert "plain HTTP" in said[0]
    assert "secret" not in said[0]
    assert len(list(part.path.parent.iterdir())) == 1


@pytest.mark.parametrize("why", ["not offered", "not installed", "too old"])
def test_without_xet_it_is_http(
    carry: HubTransfer,
    part: Part,
    xet: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    why: str,
) -> None:
    if why == "not offered":
        xet["offered"] = None
    elif why == "not installed":
        monkeypatch.setattr("huggingface_hub.utils._runtime.is_xet_available", lambda: False)
    else:
        monkeypatch.delattr("huggingface_hub.utils._runtime.is_xet_available")

    carry.get(XET, part)

    assert (xet["calls"], xet["http"]) == (0, 1)
