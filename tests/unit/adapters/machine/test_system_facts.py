"""Versions for a bug report, and no names."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from envforge.adapters.machine.system_facts import kernel_family, system_facts, user_and_host


def test_the_system_names_itself(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_bytes(b'ID=x\nPRETTY_NAME="Some Linux 12 (\xff)"\nbroken\n')
    facts = system_facts(tmp_path)
    assert facts["system"].startswith("Some Linux 12 (")
    assert facts["python of envforge"].endswith(platform.python_version())
    assert system_facts(tmp_path / "none")["system"].startswith(platform.system())


@pytest.mark.parametrize(
    ("release", "family"),
    [
        ("6.8.0-45-generic", "6.8"),
        ("5.15.153.1-microsoft-standard-WSL2", "5.15, WSL"),
        ("4.18.0-553.el8_10.site7.x86_64", "4.18"),
        ("strange", "unknown"),
    ],
)
def test_a_kernel_is_told_by_its_family(release: str, family: str) -> None:
    assert kernel_family(release) == family


def test_a_user_whom_nobody_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that was started with `--user 12345`."""
    assert user_and_host()[1] == platform.node()
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999_999)
    assert user_and_host()[0] == ""
