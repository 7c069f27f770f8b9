"""Users by name and by number."""

from __future__ import annotations

import os
import pwd

import pytest

from envforge.adapters.users import folder_of, group_of, name_of

NOBODY = 3_000_000_000
"""A number that no user has, as containers use them."""


def test_known_and_unknown_users() -> None:
    us = pwd.getpwuid(os.geteuid())

    assert (name_of(us.pw_uid), group_of(us.pw_uid)) == (us.pw_name, us.pw_gid)
    assert (name_of(NOBODY), group_of(NOBODY), folder_of(NOBODY)) == (str(NOBODY), -1, str(NOBODY))


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("ada", "ada"),
        ("ada@corp.example", "ada@corp.example"),
        ("HOST$", "HOST$"),
        ("..", "7"),
        ("DOM\\user", "7"),
        ("a/b", "7"),
        ("-x", "7"),
        ("", "7"),
        ("1000", "7"),
    ],
)
def test_a_folder_is_called_by_the_name_where_it_can_be(
    monkeypatch: pytest.MonkeyPatch, name: str, folder: str
) -> None:
    monkeypatch.setattr("pwd.getpwuid", lambda _: type("Entry", (), {"pw_name": name}))

    assert folder_of(7) == folder
