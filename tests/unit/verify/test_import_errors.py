"""Words of the loader and of Python, and what they mean."""

from __future__ import annotations

import pytest

from envforge.verify.import_errors import reason_of


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        (
            "ImportError: libcudart.so.12: cannot open shared object file: No such file",
            "this CUDA library is missing",
        ),
        ("OSError: libcuda.so.1: cannot open shared object file: No such", "the GPU driver"),
        ("ImportError: libGL.so.1: cannot open shared object file: No such file", "libGL.so.1"),
        (
            (
                "ImportError: /p/lib/libcusparse.so.12: undefined symbol: __nvJitLinkAddData_12_1,"
                " version libnvJitLink.so.12"
            ),
            "libcusparse.so.12 wants __nvJitLinkAddData_12_1 of libnvJitLink.so.12",
        ),
        ("ImportError: /p/x.so: undefined symbol: _ZN2at1fEv", "x.so wants _ZN2at1fEv, which"),
        (
            "/lib/libstdc++.so.6: version `GLIBCXX_3.4.30' not found (required by x.so)",
            "x.so needs GLIBCXX_3.4.30",
        ),
        ("ImportError: libgomp.so.1: cannot allocate memory in static TLS block", "more room"),
        ("ImportError: libx.so: cannot enable executable stack as shared object", "that mark"),
        ("OSError: /p/libx.so: file too short", "damaged"),
        ("OSError: /p/libx.so: wrong ELF class: ELFCLASS32", "another processor"),
        ("ImportError: libx.so: failed to map segment from shared object", "noexec"),
        ("OSError: [Errno 24] Too many open files", "limit of open files"),
        ("ModuleNotFoundError: No module named 'typing_extensions'", "`typing_extensions`"),
    ],
)
def test_known_words(message: str, meaning: str) -> None:
    reason = reason_of(message)

    assert reason is not None
    assert meaning in reason.meaning


def test_unknown_words() -> None:
    assert reason_of("ValueError: something of its own") is None
    assert reason_of("") is None
