"""Interpreters that cannot be repacked are refused, with the reason."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from envforge.adapters.host_probe import probe
from envforge.errors import InvalidValue, ToolFailed
from envforge.ports import Completed


class Answering:
    """`ports.Processes` whose interpreter gives this answer."""

    def __init__(self, answer: str, *, status: int = 0) -> None:
        self._answer, self._status = answer, status

    def run(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        timeout: float | None,
        cwd: Path | None = None,
        stdin: str | None = None,
        check: bool = True,
    ) -> Completed:
        assert "-I" in command
        assert "PYTHONHOME" not in env
        if self._status:
            raise ToolFailed(command=tuple(command), status=self._status, output="")
        return Completed(status=0, stdout=self._answer, stderr="")


@pytest.fixture
def facts(tmp_path: Path) -> dict[str, Any]:
    """A good CPython 3.11 with a shared library."""
    base = tmp_path / "python"
    for folder in ("bin", "lib/python3.11", "include/python3.11"):
        (base / folder).mkdir(parents=True)
    (base / "bin/python3.11").write_bytes(b"\x7fELF\x02\x01" + bytes(20))
    (base / "lib/libpython3.11.so.1.0").write_bytes(b"\x7fELF\x02\x01" + bytes(20))
    return {
        "implementation": "CPython",
        "version": "3.11.7",
        "release": [3, 11],
        "system": "linux",
        "machine": "x86_64",
        "bits": 64,
        "abiflags": "",
        "base_prefix": str(base),
        "named_prefix": str(base),
        "executable": str(base / "bin/python3.11"),
        "stdlib": str(base / "lib/python3.11"),
        "platlibdir": "lib",
        "include": str(base / "include/python3.11"),
        "shared": True,
        "library": "libpython3.11.so.1.0",
        "libdir": str(base / "lib"),
        "makefile": "config-3.11-x86_64-linux-gnu",
        "site": ["site-packages"],
        "glibc": True,
    }


def ask(facts: dict[str, Any]) -> Any:
    return probe(Answering(json.dumps(facts)), Path("/some/python"))


def test_a_good_interpreter_is_described(facts: dict[str, Any]) -> None:
    host = ask(facts)

    assert (host.version, host.series, host.platform) == ("3.11.7", "3.11", "linux-64")
    assert host.library == Path(facts["libdir"]) / "libpython3.11.so.1.0"
    assert host.prefixes == (facts["base_prefix"],)


def test_a_static_one_without_headers_too(facts: dict[str, Any]) -> None:
    host = ask({**facts, "shared": False, "include": "", "machine": "aarch64"})

    assert host.library is None
    assert host.platform == "linux-aarch64"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"implementation": "PyPy"}, "is PyPy"),
        ({"release": [3, 7], "version": "3.7.16"}, "3.8 is the oldest"),
        ({"system": "darwin", "machine": "arm64"}, "only 64-bit Linux"),
        ({"bits": 32}, "only 64-bit Linux"),
        ({"glibc": False}, "not built for glibc"),
        ({"abiflags": "t"}, "special build"),
        ({"site": ["dist-packages", "dist-packages"]}, "the distribution's own"),
        ({"platlibdir": "lib64"}, "environments have it in"),
        ({"stdlib": "/usr/share/python3.11"}, "environments have it in"),
        ({"library": "libpython9.so"}, "has no `libpython9.so`"),
        ({"libdir": "/" + "x" * 300}, "has no `libpython3.11"),  # fails as a closed folder does
    ],
)
def test_what_would_not_work_is_refused(
    facts: dict[str, Any], changed: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidValue, match=reason) as caught:
        ask({**facts, **changed})

    assert caught.value.value == "/some/python"
    assert "pyenv" in (caught.value.hint or "")


def test_a_wrapper_script_is_refused(facts: dict[str, Any]) -> None:
    Path(facts["executable"]).write_text("#!/bin/sh\nexec real-python\n")

    with pytest.raises(InvalidValue, match="wrapper script"):
        ask(facts)


def test_a_conda_environment_is_refused(facts: dict[str, Any]) -> None:
    (Path(facts["base_prefix"]) / "conda-meta").mkdir()

    with pytest.raises(InvalidValue, match="needs the other packages"):
        ask(facts)


@pytest.mark.parametrize("processes", [Answering("hello"), Answering("", status=1)])
def test_what_is_no_python_is_refused(processes: Answering) -> None:
    with pytest.raises(InvalidValue, match="does not start as a Python"):
        probe(processes, Path("/bin/sh"))
