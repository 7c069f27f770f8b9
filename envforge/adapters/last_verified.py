"""How verifications ended, remembered under envforge's own cache, for this user."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from pathlib import Path

from envforge.adapters.files import is_there, read_text, write_text
from envforge.errors import EnvforgeError
from envforge.formats import verified_json
from envforge.model.finding import Report
from envforge.model.verified import Verified

_log = logging.getLogger(__name__)


class LastVerified:
    """One small file an environment; an environment is its folder."""

    def __init__(self, cache: Path) -> None:
        self._folder = cache / "verified"

    def remember(self, folder: Path, report: Report, lock: str) -> None:
        """Keep how it ended; a cache that takes nothing spoils no verification."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            text = verified_json.write(verified_json.of_report(report, at=at, lock=lock))
            write_text(self._file(folder), text, mode=0o600)
        except (OSError, EnvforgeError) as error:
            _log.debug("the verification of %s is not remembered: %s", folder, error)

    def of(self, folder: Path) -> Verified | None:
        """How the last one ended; None: there was none, or it cannot be read."""
        path = self._file(folder)
        if not is_there(path):
            return None
        try:
            if path.stat().st_uid != os.geteuid():  # a cache that users share, or another's HOME
                return None
            (found,) = verified_json.read(read_text(path), str(path))
        except (OSError, EnvforgeError, ValueError) as error:
            _log.debug("what is remembered of %s cannot be read: %s", folder, error)
            return None
        return found

    def _file(self, folder: Path) -> Path:
        named = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape"))
        return self._folder / f"{named.hexdigest()[:16]}.json"
