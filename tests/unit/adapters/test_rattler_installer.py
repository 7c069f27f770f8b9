"""rattler's words become our errors; what they really are is in `integration/`."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.installing import conda_package, make_settings

from envforge.adapters.rattler_installer import RattlerInstaller, explain_rattler, read_address
from envforge.adapters.rattler_link import LinkRequest
from envforge.errors import (
    CorruptArchive,
    EnvforgeError,
    FileNotUsable,
    ToolFailed,
    Unreachable,
)

PACKAGE = conda_package("numpy")
MIRROR = "https://me:secret@mirror.example/conda-forge/linux-64/numpy-1.0-0.conda"
FETCH = "failed to fetch numpy-1.0-0.conda\nCaused by: failed to interact with the package cache\n"


def explained(message: str, tmp_path: Path) -> EnvforgeError:
    request = LinkRequest(
        settings=make_settings(tmp_path),
        prefix=tmp_path / "env",
        platform="linux-64",
        packages=(PACKAGE,),
        addresses={PACKAGE.url: MIRROR},
    )
    return explain_rattler(message, request)


@pytest.mark.parametrize(
    ("cause", "kind", "said"),
    [
        ("HTTP status client error (404 Not Found) for url (http://x)", Unreachable, "not there"),
        ("HTTP status client error (401 Unauthorized)", Unreachable, "login"),
        ("HTTP status server error (500 Internal Server Error)", Unreachable, "server failed"),
        ("error decoding response body\nCaused by: end of file before", Unreachable, "broke off"),
        ("invalid peer certificate: UnknownIssuer", Unreachable, "not trusted"),
        ("tcp connect error\nCaused by: Connection refused (os error 111)", Unreachable, "refused"),
        ("error sending request for url (http://x)\nCaused by: dns error", Unreachable, "dns"),
        ("invalid zip archive: Invalid local file header", CorruptArchive, "does not unpack"),
        (
            "hash mismatch when extracting http://x to /y: expected 00aa, got 11bb, total 5",
            CorruptArchive,
            "expected sha256 00aa, got 11bb",
        ),
        ("No space left on device (os error 28)", FileNotUsable, "no space left on device"),
        ("x: Permission denied (os error 13)", FileNotUsable, "permission denied"),
    ],
)
def test_a_failed_fetch(cause: str, kind: type[EnvforgeError], said: str, tmp_path: Path) -> None:
    error = explained(f"{FETCH}Caused by: {cause}", tmp_path)

    assert type(error) is kind
    assert said in str(error).lower()
    assert error.hint
    assert "secret" not in f"{error}{error.hint}"


def test_a_full_disk_while_linking_is_the_prefixs(tmp_path: Path) -> None:
    error = explained("failed to link\nCaused by: No space left on device (os error 28)", tmp_path)
    assert isinstance(error, FileNotUsable)
    assert error.path == str(tmp_path / "env")


def test_anything_else_is_said_as_it_is_but_without_passwords(tmp_path: Path) -> None:
    error = explained(f"something odd at {MIRROR}", tmp_path)
    assert isinstance(error, ToolFailed)
    assert "something odd" in str(error)
    assert "secret" not in str(error)


def test_a_package_is_read_where_conda_would(tmp_path: Path) -> None:
    (tmp_path / "conda-forge").mkdir()
    plain = make_settings(tmp_path)
    folder = make_settings(tmp_path, mirror=str(tmp_path))
    server = make_settings(tmp_path, mirror="https://mirror.example/conda")

    assert read_address(PACKAGE, plain) == PACKAGE.url
    below = tmp_path / "conda-forge" / "linux-64" / "numpy-1.0-0.conda"
    assert read_address(PACKAGE, folder) == below.as_uri()
    assert read_address(PACKAGE, server) == (
        "https://mirror.example/conda/conda-forge/linux-64/numpy-1.0-0.conda"
    )


def test_offline_names_everything_that_is_missing_at_once(tmp_path: Path) -> None:
    installer = RattlerInstaller(make_settings(tmp_path, offline=True))
    packages = [conda_package(f"package{number}") for number in range(12)]

    with pytest.raises(Unreachable) as caught:
        installer.check(packages)

    assert "12 of the packages" in str(caught.value)
    assert "package0-1.0-0.conda" in str(caught.value)
    assert "and 4 more" in str(caught.value)
    assert "--offline" in str(caught.value.hint)


def test_offline_a_folder_may_be_read(tmp_path: Path) -> None:
    (tmp_path / "conda-forge").mkdir()
    RattlerInstaller(make_settings(tmp_path, offline=True, mirror=str(tmp_path))).check([PACKAGE])
