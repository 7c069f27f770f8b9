"""Reading a prefix for verify: what the filesystem refuses is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envforge.adapters.prefix.prefix_facts import read_prefix
from envforge.model.prefix import PrefixState


def test_site_packages_that_may_not_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    listed = os.listdir

    def refuse(folder: Path) -> list[str]:
        if Path(folder) == site:
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(os, "listdir", refuse)
    facts = read_prefix(tmp_path, state=PrefixState.INSTALLED, environment={})

    assert facts.broken_metadata == ("lib/python3.11/site-packages: permission denied",)
