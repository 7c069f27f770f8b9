"""What uv's failures mean. The texts are captured from uv 0.13."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from envforge.adapters.pip_settings import PipSettings
from envforge.adapters.uv import Uv, network_failure
from envforge.adapters.uv_resolver import explain, read_edges, uv_platform
from envforge.errors import FileNotUsable, InvalidValue, Unreachable
from envforge.ports import Completed

DNS = """\
error: Request failed after 3 retries in 6.2s
  cause: Failed to fetch: https://download.example/whl/cu126/torch/
  cause: error sending request for url (https://download.example/whl/cu126/torch/)
  cause: client error (Connect)
  cause: dns error
  cause: failed to lookup address information: Name or service not known
"""
CERTIFICATE = """\
error: Failed to fetch: https://pypi.example/simple/numpy/
  cause: error sending request for url (https://pypi.example/simple/numpy/)
  cause: client error (Connect)
  cause: invalid peer certificate: UnknownIssuer
"""
BUSY = """\
error: Failed to fetch: http://127.0.0.1:35319/simple/beta/
  cause: HTTP status server error (503 Service Unavailable) for url (http://127.0.0.1/simple/)
"""
FORBIDDEN = """\
error: Failed to download `alpha==1.0`
  cause: Failed to fetch: http://127.0.0.1:43021/files/alpha-1.0-py3-none-any.whl
  cause: HTTP status client error (403 Forbidden) for url (http://127.0.0.1:43021/files/alpha)
"""
LOGIN = """\
error: No solution found when resolving dependencies
  cause: Because alpha was not found in the package registry and x depends on alpha, we can \
conclude that your requirements are unsatisfiable.

hint: An index URL (http://127.0.0.1:35319/simple) could not be queried due to a lack of valid \
authentication credentials (401 Unauthorized)
"""
REFUSED = """\
error: No solution found when resolving dependencies
  cause: Because beta was not found in the package registry.

hint: An index (http://127.0.0.1:35319/simple) returned a 403 Forbidden error, but uv received a \
successful response from another request to the index.
"""
UNCACHED = """\
error: Failed to download `alpha==1.0`
  cause: Network connectivity is disabled, but the requested data wasn't found in the cache: \
http://127.0.0.1:43021/files/alpha-1.0-py3-none-any.whl
"""


@pytest.mark.parametrize(
    ("text", "url", "reason", "remedy"),
    [
        (DNS, "https://download.example/whl/cu126/torch/", "name or service not known", ""),
        (CERTIFICATE, "https://pypi.example/simple/numpy/", "unknownissuer", "global.cert"),
        (BUSY, "http://127.0.0.1:35319/simple/beta/", "503 Service Unavailable", ""),
        (FORBIDDEN, "http://127.0.0.1:43021/files/alpha", "403 Forbidden", "credentials"),
        (LOGIN, "http://127.0.0.1:35319/simple", "401 Unauthorized", "credentials"),
        (REFUSED, "http://127.0.0.1:35319/simple", "403 Forbidden", "credentials"),
        (UNCACHED, "http://127.0.0.1:43021/files/alpha", "offline", "--offline"),
    ],
)
def test_an_address_out_of_reach_is_named(text: str, url: str, reason: str, remedy: str) -> None:
    error = network_failure(text)

    assert isinstance(error, Unreachable)
    assert error.url.startswith(url)
    assert reason in error.reason
    assert remedy in (error.hint or "")


def test_a_fetch_without_a_cause_is_still_named() -> None:
    error = network_failure("error: Failed to fetch: `https://i.example/x`\n")

    assert isinstance(error, Unreachable)
    assert (error.url, error.reason) == ("https://i.example/x", "the request failed")


@pytest.mark.parametrize("said", ["No space left on device", "Disk quota exceeded"])
def test_a_full_disk_is_no_network_failure(said: str) -> None:
    error = network_failure(f"error: Failed to write to: /var/cache/uv/x.whl\n  cause: {said}")

    assert isinstance(error, FileNotUsable)
    assert error.path == "/var/cache/uv/x.whl"
    assert error.reason == said.lower()


def test_other_failures_are_about_something_else() -> None:
    assert network_failure("error: No solution found when resolving dependencies") is None


def test_an_explanation_keeps_what_a_person_can_act_on() -> None:
    lines = "\n".join(f"             numpy=={number}" for number in range(30))
    text = explain(
        "error: No solution found when resolving dependencies\n"
        f"  cause: Because all of:\n{lines}\n          have no usable wheels\n"
        "         and because envforge-request depends on numpy<1, we can conclude that your"
        " requirements are unsatisfiable.\n\n"
        "hint: Wheels are required for `numpy` because building is disabled (`--no-build`)\n\n"
        "hint: You require CPython 3.11"
    )

    assert text.splitlines()[0] == "Because all of:"
    assert "…" in text
    assert "and because you ask for numpy<1." in text
    assert text.splitlines()[-1] == "You require CPython 3.11"
    assert "--no-build" not in text
    assert len(text.splitlines()) <= 13


def test_edges_are_read_from_the_notes() -> None:
    """In both forms uv writes them, and without the request itself."""
    edges = read_edges(
        "alpha==1.0\n    # via envforge-request (pyproject.toml)\n"
        "beta @ https://files.example/beta-1-py3-none-any.whl\n"
        "    # via\n    #   alpha\n    #   Torch_X\n"
        "gamma==2\n    # via\n    #   -c constraints.txt\n    #   alpha\n"
    )

    assert edges == {"alpha": ("beta", "gamma"), "torch-x": ("beta",)}


@pytest.mark.parametrize(
    ("platform", "glibc", "expected"),
    [
        ("linux-64", None, "x86_64-manylinux_2_28"),
        ("linux-64", "2.17", "x86_64-manylinux_2_17"),
        ("linux-64", "2.30", "x86_64-manylinux_2_28"),
        ("linux-aarch64", "2.35", "aarch64-manylinux_2_35"),
        ("linux-64", "2.99", "x86_64-manylinux_2_40"),
        ("win-64", "2.35", "x86_64-pc-windows-msvc"),
        ("osx-arm64", None, "aarch64-apple-darwin"),
    ],
)
def test_targets_have_uv_s_names(platform: str, glibc: str | None, expected: str) -> None:
    assert uv_platform(platform, glibc) == expected  # type: ignore[arg-type]


def test_a_c_library_too_old_for_wheels_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"older than 2\.17"):
        uv_platform("linux-64", "2.12")


@dataclass
class RecordedProcesses:
    """`ports.Processes` that only remembers how it was asked."""

    commands: list[list[str]] = field(default_factory=list)
    environments: list[Mapping[str, str]] = field(default_factory=list)

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
        self.commands.append(list(command))
        self.environments.append(env)
        return Completed(status=2, stdout="", stderr="see https://me:secret@i.example/simple")


def test_uv_gets_credentials_by_environment_alone(tmp_path: Path) -> None:
    """Command lines are readable by all users; and what uv says is shown without them."""
    processes = RecordedProcesses()
    settings = PipSettings(index_url="https://me:secret@i.example/simple", no_index=True)
    uv = Uv(processes=processes, environment={}, settings=settings, offline=True)

    done = uv.run("pip", "compile", cwd=tmp_path)

    assert processes.environments[0]["UV_DEFAULT_INDEX"] == settings.index_url
    assert not any("secret" in part for part in processes.commands[0])
    assert {"--offline", "--no-index"} <= set(processes.commands[0])
    assert done.stderr == "see https://i.example/simple"


def test_uv_is_not_steered_by_what_would_change_a_lock(tmp_path: Path) -> None:
    environment = {
        "PATH": "/usr/bin",
        "UV_CACHE_DIR": "/cache",
        "UV_INDEX_SITE_PASSWORD": "x",
        "UV_TORCH_BACKEND": "cu130",
        "UV_CONSTRAINT": "/c.txt",
        "UV_PYTHON_DOWNLOADS": "automatic",
        "VIRTUAL_ENV": "/venv",
        "PYTHONHOME": "/usr",
        "LD_LIBRARY_PATH": "/cuda",
    }
    uv = Uv(processes=RecordedProcesses(), environment=environment, settings=PipSettings())

    assert uv.variables() == {
        "PATH": "/usr/bin",
        "UV_CACHE_DIR": "/cache",
        "UV_INDEX_SITE_PASSWORD": "x",
        "UV_PYTHON_DOWNLOADS": "never",
    }
