"""conda-lock.yml of whoever wrote it, as an imported environment."""

from __future__ import annotations

from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.imported import ImportedEnvironment


def read_source(text: str, path: str) -> tuple[ImportedEnvironment, ...]:
    """Read a lock of conda-lock 1 to 4, conda-lockfiles, micromamba or envforge.

    Raises:
        InvalidFile: see `conda_lock_yml.read`.
    """
    lock = conda_lock_yml.read(text, path)
    return (
        ImportedEnvironment(name="", lock=lock, channels=lock.channels, platforms=lock.platforms),
    )
