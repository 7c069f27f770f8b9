"""Channels of metadata alone, which is all that solving needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from envforge.model.lock import LockedPackage


def write_channels(
    root: Path, records: tuple[LockedPackage, ...], *, dates: dict[str, int] | None = None
) -> Path:
    """Write repodata.json of every channel and platform that the records name.

    `dates`: milliseconds since 1970 by file name; the others say nothing of their age.
    """
    folders: dict[Path, dict[str, Any]] = {}
    for item in records:
        name = item.channel_url.rpartition("/")[2]
        folders.setdefault(root / name / "noarch", {})
        record = {
            "name": item.name,
            "version": item.version,
            "build": item.build,
            "build_number": 0,
            "depends": list(item.depends),
            "subdir": item.platform,
            **({"md5": item.md5} if item.md5 else {}),
            **({"sha256": item.sha256} if item.sha256 else {}),
            **({"timestamp": dates[item.filename]} if item.filename in (dates or {}) else {}),
        }
        folders.setdefault(root / name / item.platform, {})[item.filename] = record
    for folder, found in folders.items():
        folder.mkdir(parents=True)
        data = {"info": {"subdir": folder.name}, "packages": {}, "packages.conda": found}
        (folder / "repodata.json").write_text(json.dumps(data))
    return root
