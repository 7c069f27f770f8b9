"""What of uv's answer a lock keeps."""

from __future__ import annotations

from pathlib import Path

from envforge.adapters.uv_resolver import _locked
from envforge.formats.python.pylock import PylockPackage, PylockWheel
from envforge.model.solving import WheelProblem


def test_no_signature_or_login_reaches_a_lock() -> None:
    """The address without user, query and fragment; the file's name is read all the same."""
    wheel = PylockWheel(
        url="https://me:secret@host/f/alpha-1.0-py3-none-any.whl?X-Signature=secret#sha256=0",
        sha256="f" * 64,
    )
    package = PylockPackage(name="alpha", version="1.0", wheels=(wheel,))
    problem = WheelProblem(platform="linux-64", python="3.11", requirements=("alpha",))

    locked = _locked(package, problem, Path())

    assert locked.url == "https://host/f/alpha-1.0-py3-none-any.whl"
    assert "secret" not in repr(locked)
