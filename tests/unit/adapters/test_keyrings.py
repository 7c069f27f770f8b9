"""The keyring, its ways to fail, and what rattler puts into it."""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from envforge.adapters import keyrings


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    keyrings.forget()
    yield
    keyrings.forget()


def with_keyring(monkeypatch: pytest.MonkeyPatch, **functions: Any) -> None:
    fake = SimpleNamespace(
        **{"get_credential": lambda *_: None, "get_password": lambda *_: None, **functions}
    )
    monkeypatch.setitem(__import__("sys").modules, "keyring", fake)


def test_a_user_s_password_by_address_or_host(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"https://a.example": "one", "b.example": "two"}

    def credential(service: str, user: str | None) -> Any:
        found = known.get(service)
        return SimpleNamespace(username=user or "own", password=found) if found else None

    with_keyring(monkeypatch, get_credential=credential)
    assert keyrings.password("a.example", "joe") == "one"
    assert keyrings.password("b.example", "joe") == "two"
    assert keyrings.password("c.example", "joe") is None
    assert keyrings.login("b.example") == ("own", "two")


def test_what_rattler_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = {
        "a.example": json.dumps({"BasicHTTP": {"username": "u", "password": "p"}}),
        "b.example": json.dumps({"BearerToken": "t"}),
        "c.example": "no json",
    }
    with_keyring(
        monkeypatch,
        get_password=lambda service, host: stored.get(host) if service == "rattler" else None,
    )
    assert keyrings.login("a.example") == ("u", "p")
    assert keyrings.login("b.example") is None
    assert keyrings.login("c.example") is None


def test_a_keyring_that_fails_has_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: Any) -> Any:
        raise RuntimeError("locked, and the words may hold anything")

    with_keyring(monkeypatch, get_credential=locked, get_password=locked)
    assert keyrings.password("a.example", "joe") is None
    assert keyrings.login("a.example") is None


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name == "keyring":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert keyrings.password("a.example", "joe") is None
    assert keyrings.login("a.example") is None
