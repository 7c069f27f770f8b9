"""rattler's words about a channel that cannot be read, as one error with a remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from envforge.errors import Unreachable
from envforge.model.settings import Settings
from envforge.model.solving import Channel, without_credentials

_URL: Final = re.compile(r"(?:https?|file|s3|oci|gcs)://[^\s'\")]+")
_STATUS: Final = re.compile(r"\((\d{3}) ([^)]*)\)")
_ELSEWHERE: Final = "try again later, or read the channel elsewhere with `--mirror`"
_CHECK: Final = "check the address and the proxy, or use a copy of the channels with `--mirror`"
_KINDS: Final[tuple[tuple[Callable[[str, str], bool], str, str], ...]] = (
    # The words looked for are those of rattler and of the libraries below it.
    (
        lambda low, _: "no usable repodata cache" in low,
        "we are offline, and it was never read before",
        "run once without `--offline`, or give a copy of the channels with `--mirror`",
    ),
    (
        lambda low, status: "could not find subdir" in low or status in {"404", "410"},
        "there is no such channel",
        "check the spelling of `--channel` and `--mirror`",
    ),
    (
        lambda _, status: status in {"401", "403", "407"},
        "it asks for a login ({cause})",
        "put user and password into `~/.netrc` (mode 600), or use `rattler auth login`",
    ),
    (lambda _, status: bool(status), "the server failed ({cause})", _ELSEWHERE),
    (
        lambda low, _: "certificate" in low or "tls" in low,
        "its certificate is not trusted ({cause})",
        "set `ssl_verify` in `.condarc` to your site's certificate bundle",
    ),
    (
        lambda low, _: "timed out" in low,
        "it gave no complete answer within {seconds} s",
        _ELSEWHERE,
    ),
    (
        lambda low, _: "dns error" in low or "failed to lookup" in low,
        "its host name is not known here",
        _CHECK,
    ),
    (
        lambda low, _: "refused" in low,
        "nothing answers there (connection refused)",
        _CHECK,
    ),
    (
        lambda low, _: any(word in low for word in ("reading a body", "body error", "connection")),
        "the download broke off ({cause})",
        _ELSEWHERE,
    ),
    (
        lambda low, _: any(word in low for word in ("zst", "frame", "parse", "decode", "expected")),
        "what it answered is no channel metadata, or half of it ({cause})",
        "a proxy or a login page may answer in its place; try again, or use `--mirror`",
    ),
)


def names_an_address(message: str) -> bool:
    """Whether rattler says which channel it is about; where parsing fails it does not."""
    return _URL.search(message) is not None


def explain_gateway(message: str, channels: Sequence[Channel], settings: Settings) -> Unreachable:
    """Name the channel, what is wrong with its answer, and what to do.

    Args:
        message: rattler's own.
        channels: one of these it is, where the message names no address.
        settings: for the time that was waited.
    """
    found = _URL.findall(message)
    read = [without_credentials(item.mirror or item.url) for item in channels]
    url = without_credentials(found[-1]) if found else ", ".join(read)
    reason, remedy = _reason(message, settings)
    return Unreachable(url=url, reason=reason, remedy=remedy)


def _reason(message: str, settings: Settings) -> tuple[str, str]:
    """What is wrong, and the remedy; `{cause}` and `{seconds}` are filled in."""
    low = _URL.sub("", message).lower()
    found = _STATUS.search(message)
    status = found[1] if found else ""
    cause = f"{found[1]} {found[2]}" if found else _last(message)
    for fits, reason, remedy in _KINDS:
        if fits(low, status):
            return reason.format(cause=cause, seconds=f"{settings.timeout:g}"), remedy
    return cause, _CHECK


def _last(message: str) -> str:
    """The innermost cause, without addresses (which may hold credentials)."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return _URL.sub("…", lines[-1].removeprefix("Caused by: ")) if lines else "no reason given"
