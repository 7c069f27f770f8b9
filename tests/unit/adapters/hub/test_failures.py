"""What a hub's refusal means, in our words."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from huggingface_hub import errors
from huggingface_hub.utils import hf_raise_for_status

from envforge.adapters.hub import failures
from envforge.errors import NoSuchModel, Unreachable
from envforge.model.models import Repo

REPO = Repo(id="org/name")
HUB = "https://hub.example"
URL = f"{HUB}/org/name/resolve/main/a.bin?X-Amz-Signature=secret"


def answered(status: int, **headers: str) -> Exception:
    """What huggingface_hub raises for such an answer."""
    request = httpx2.Request("GET", URL)
    with pytest.raises(errors.HfHubHTTPError) as caught:
        hf_raise_for_status(httpx2.Response(status, headers=headers, request=request))
    return caught.value


def explained(error: Exception, file: str = "a.bin") -> Any:
    return failures.explain(error, REPO, "main", endpoint=HUB, file=file)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (answered(403, **{"X-Error-Code": "GatedRepo"}), "grants access one by one"),
        (answered(404, **{"X-Error-Code": "RevisionNotFound"}), "no revision `main`"),
        (answered(404, **{"X-Error-Code": "EntryNotFound"}), "no such file"),
        (answered(404, **{"X-Error-Code": "RepoNotFound"}), "no such repository"),
        (answered(403), "no such repository"),
        (answered(404), "no such file"),
        (errors.HFValidationError("bad"), "no hub takes such a name"),
    ],
)
def test_refusals_name_the_file(error: Exception, said: str) -> None:
    refused = explained(error)

    assert isinstance(refused, NoSuchModel)
    assert said in str(refused)
    assert "org/name" in str(refused)


@pytest.mark.parametrize(
    "error",
    [
        answered(500),
        answered(429, **{"Retry-After": "3"}),
        ConnectionResetError("reset"),
        httpx2.ConnectError(f"cannot connect to {URL}"),
        OSError(),
        errors.OfflineModeIsEnabled("offline"),
    ],
)
def test_failures_keep_no_address_of_a_storage_server(error: Exception) -> None:
    failed = explained(error)

    assert isinstance(failed, Unreachable)
    assert "secret" not in f"{failed} {failed.hint}"
    assert failed.hint


def test_a_bug_is_none_of_these() -> None:
    assert explained(KeyError("x")) is None


@pytest.mark.parametrize(
    ("told", "seconds"), [("3", 3.0), ("0.5", 0.5), ("Fri, 31 Dec 1999 23:59:59 GMT", None)]
)
def test_how_long_to_wait(told: str, seconds: float | None) -> None:
    assert failures.retry_after(answered(429, **{"Retry-After": told})) == seconds
    assert failures.retry_after(OSError()) is None


def test_what_may_pass() -> None:
    assert failures.status_of(answered(503)) in failures.AGAIN
    assert failures.is_cut(ConnectionResetError())
    assert failures.is_cut(httpx2.ReadTimeout("slow"))
    assert not failures.is_cut(answered(500))
    assert not failures.is_cut(KeyError())
    assert not failures.is_cut(errors.OfflineModeIsEnabled("offline"))
