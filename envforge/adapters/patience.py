"""When to ask a channel again: a busy server, a line that broke. Engines give up sooner.

py-rattler 0.28 tries again within a second, does not wait as long as `Retry-After` asks, and does
not begin again where the body of an answer broke off.
"""

from __future__ import annotations

import http.client
import re
from typing import Final
from urllib.error import HTTPError

from envforge.adapters.pack.download import retry_after
from envforge.adapters.pip_settings import PipSettings
from envforge.adapters.web import Web
from envforge.model.settings import Settings

_PAUSES: Final = (0.5, 2.0, 5.0)
"""Seconds before the second, third and fourth attempt."""
_LONGEST: Final = 60.0
"""Seconds. A server that asks for more is told to the person instead."""
_STATUS: Final = re.compile(r"\((408|425|429|502|503|504) [^)]*\)")
_BUSY: Final = frozenset({"429", "503"})
_URL: Final = re.compile(r"https?://[^\s'\")]+")
_CUT: Final = ("reading a body", "body error", "end of file before", "decoding response body")


def pause(message: str, attempt: int, settings: Settings) -> float | None:
    """Seconds to wait before a channel is asked again; None: it would not help.

    Args:
        message: rattler's, about what failed.
        attempt: how often it was tried, from 1.
        settings: how the network is reached.
    """
    if attempt > len(_PAUSES) or settings.offline:
        return None
    status = _STATUS.search(message)
    if status is None:
        return _PAUSES[attempt - 1] if any(word in message.lower() for word in _CUT) else None
    asked = _asked(message, settings) if status[1] in _BUSY else 0.0
    return None if asked > _LONGEST else max(asked, _PAUSES[attempt - 1])


def _asked(message: str, settings: Settings) -> float:
    """Its `Retry-After`, which rattler does not hand on: the server is asked once more."""
    found = _URL.findall(message)
    if not found:
        return 0.0
    try:
        Web(settings, PipSettings()).open(found[-1].rstrip(",."), method="HEAD").close()
    except HTTPError as error:
        return retry_after(error)
    except (OSError, ValueError, http.client.HTTPException):
        return 0.0
    return 0.0
