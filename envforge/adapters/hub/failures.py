"""What a hub's refusal, or a network's, means: in our words, and whether to ask again.

Nothing of an exception's own text about addresses is kept: those of storage servers are signed.
"""

from __future__ import annotations

import re
from typing import Final

from envforge.errors import EnvforgeError, NoSuchModel, Unreachable
from envforge.model.models import Repo

AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that another attempt may not meet."""


def transfer_errors() -> tuple[type[Exception], ...]:
    """What huggingface_hub's transfers raise, of any version: `requests` is all OSError."""
    from huggingface_hub import errors

    return (OSError, errors.HTTPError)  # type: ignore[attr-defined]  # of `requests` or `httpx`


def xet_errors() -> tuple[type[Exception], ...]:
    """What its Xet transfer raises: hf_xet knows few classes."""
    return (RuntimeError, ValueError, *transfer_errors())


def status_of(error: BaseException) -> int:
    """The HTTP status of the answer; 0: there was none."""
    return int(getattr(getattr(error, "response", None), "status_code", 0) or 0)


def retry_after(error: BaseException) -> float | None:
    """Seconds that the hub asks us to wait; None: it does not say so, or as a date."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    text = str(headers.get("Retry-After", "")).strip()
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None


def is_cut(error: BaseException) -> bool:
    """Whether the connection failed, or ended early: no answer of the hub's."""
    from huggingface_hub import errors

    if isinstance(error, (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError)):
        return False
    return isinstance(error, transfer_errors()) and not status_of(error)


def explain(
    error: BaseException, repo: Repo, revision: str, *, endpoint: str, file: str = ""
) -> EnvforgeError | None:
    """An error of huggingface_hub, or of the network below it, in our words; None: a bug.

    Args:
        error: what was raised.
        repo: what was asked for.
        revision: as it was asked for.
        endpoint: the hub's address.
        file: a path in the repository; empty: the repository itself.
    """
    from huggingface_hub import errors

    what = f"{repo.kind} `{repo.id}`" + (f", file `{file}`" if file else "")
    if isinstance(error, errors.OfflineModeIsEnabled):
        reason = "huggingface_hub is offline"
        return Unreachable(url=endpoint, reason=reason, remedy="unset `HF_HUB_OFFLINE`")
    if isinstance(error, errors.HFValidationError):
        return NoSuchModel(what=what, reason="no hub takes such a name")
    refused = _refusal(error, revision, file)
    if refused:
        said, remedy = refused
        return NoSuchModel(what=what, reason=said, remedy=remedy)
    if not isinstance(error, transfer_errors()):
        return None
    remedy = "run the same command again" + (": it goes on where it stopped" if file else "")
    if not status_of(error) and not file:
        remedy = "check the network, proxies and `HF_ENDPOINT`, then run the same command again"
    return Unreachable(url=endpoint, reason=f"{_told(error)} ({what})", remedy=remedy)


def is_no_repository(error: BaseException | None) -> bool:
    """Whether the hub said that it has no such repository, at least not for us."""
    from huggingface_hub import errors

    gated = isinstance(error, errors.GatedRepoError)
    return isinstance(error, errors.RepositoryNotFoundError) and not gated


def _refusal(error: BaseException, revision: str, file: str) -> tuple[str, str | None] | None:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return (
            "its owner grants access one by one",
            "ask for access on its page, then `hf auth login` or set `HF_TOKEN`",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the hub has no revision `{revision}` of it", None
    is_repo = isinstance(error, errors.RepositoryNotFoundError)
    is_missing = bool(file) and status_of(error) == 404 and not is_repo
    if isinstance(error, errors.EntryNotFoundError) or is_missing:
        return "the hub has no such file", "`envforge cache lock` pins what is there now"
    if status_of(error) == 401 and not is_repo:
        return "the hub does not accept our token", "`hf auth login`, or set `HF_TOKEN` anew"
    if is_repo or status_of(error) in {401, 403, 404}:
        return (
            "the hub has no such repository, or does not show it to us",
            "check its name; a private one needs `hf auth login` or `HF_TOKEN`",
        )
    return None


def _told(error: BaseException) -> str:
    answered = status_of(error)
    return f"it answers with HTTP status {answered}" if answered else reason(error)


def reason(error: BaseException) -> str:
    """The first line of what an exception says, without addresses."""
    lines = re.sub(r"https?://\S+", "the hub", str(error)).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
