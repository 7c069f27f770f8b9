"""What pip's files and variables say, and how uv is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envforge.adapters.pip_settings import (
    PipSettings,
    read_pip_settings,
    redact,
    uv_arguments,
    uv_environment,
    without_credentials,
)
from envforge.errors import InvalidFile


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A home, a prefix and a folder of machine-wide settings, all empty."""
    for name in ("home/.config/pip", "home/.pip", "prefix", "xdg/pip"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def read(site: Path, **environment: str) -> PipSettings:
    variables = {"XDG_CONFIG_DIRS": str(site / "xdg"), **environment}
    return read_pip_settings(variables, home=site / "home", prefix=site / "prefix")


def test_later_places_win_and_variables_last(site: Path) -> None:
    """Machine, user (old and new place), environment, PIP_CONFIG_FILE, variables."""
    places = ["xdg/pip", "home/.pip", "home/.config/pip", "prefix"]
    for number, place in enumerate(places):
        lines = [f"[global]\nindex-url = https://i{number}.example/simple\n"]
        lines += [f"timeout = {number}\n"] if number < 2 else []
        (site / place / "pip.conf").write_text("".join(lines))

    assert read(site).index_url == "https://i3.example/simple"
    assert read(site).timeout == "1"

    chosen = site / "chosen.conf"
    chosen.write_text("[global]\nindex_url = https://chosen.example/simple\n")
    assert read(site, PIP_CONFIG_FILE=str(chosen)).index_url == "https://chosen.example/simple"
    assert read(site, PIP_INDEX_URL="https://v.example").index_url == "https://v.example"


def test_a_command_s_section_beats_the_general_one_of_any_file(site: Path) -> None:
    (site / "xdg/pip/pip.conf").write_text("[install]\nno-index = yes\n[list]\nno-index = 0\n")
    (site / "home/.config/pip/pip.conf").write_text("[global]\nno-index = false\n")

    assert read(site).no_index is True


def test_devnull_switches_files_off(site: Path) -> None:
    (site / "prefix/pip.conf").write_text("[global]\nindex-url = https://i.example/simple\n")

    assert read(site, PIP_CONFIG_FILE=os.devnull) == PipSettings()


def test_lists_hosts_and_folders(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Several values stand on lines or between spaces; folders that are not there are left out."""
    caplog.set_level("INFO")
    wheels = site / "wheels"
    wheels.mkdir()
    (site / "prefix/pip.conf").write_text(
        "[global]\nextra-index-url =\n    https://a.example/simple\n    https://b.example/simple\n"
        f"find-links = {wheels} {site}/gone https://c.example/wheels.html\n"
        "trusted-host = a.example\n"
    )

    settings = read(site, PIP_DEFAULT_TIMEOUT="180", PIP_CERT="/ca.pem", PIP_PROXY="")

    assert settings.extra_index_urls == ("https://a.example/simple", "https://b.example/simple")
    assert settings.find_links == (str(wheels), "https://c.example/wheels.html")
    assert settings.trusted_hosts == ("a.example",)
    assert (settings.timeout, settings.cert, settings.proxy) == ("180", "/ca.pem", None)
    assert "gone does not exist" in caplog.text


def test_a_broken_file_is_named_with_its_line(site: Path) -> None:
    (site / "prefix/pip.conf").write_text("index-url = https://me:secret@i.example/simple\n")

    with pytest.raises(InvalidFile, match=r"pip\.conf") as caught:
        read(site)

    assert "secret" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_another_user_s_file_is_passed_over(site: Path) -> None:
    file = site / "prefix/pip.conf"
    file.write_text("[global]\nindex-url = https://i.example/simple\n")
    file.chmod(0)

    assert read(site) == PipSettings()


def test_sources_are_shown_without_credentials(site: Path) -> None:
    settings = PipSettings(
        index_url="https://me:secret@i.example/simple",
        extra_index_urls=("https://token@e.example/simple",),
        find_links=("/srv/wheels",),
    )

    assert settings.sources == (
        "https://i.example/simple",
        "https://e.example/simple",
        "/srv/wheels",
    )
    assert PipSettings().sources == ("https://pypi.org/simple",)
    assert PipSettings(no_index=True, find_links=("/w",)).sources == ("/w",)


def test_credentials_are_taken_out() -> None:
    text = "error: `https://me:se@cret@h.example/x` and http://t@h/y; mail a@b.example"

    assert redact(text) == "error: `https://h.example/x` and http://h/y; mail a@b.example"
    assert (
        without_credentials("https://me:s@h.example:8443/x?a=b") == "https://h.example:8443/x?a=b"
    )
    assert without_credentials("file:///srv/a.whl") == "file:///srv/a.whl"


FULL = PipSettings(
    index_url="https://i.example/simple",
    extra_index_urls=("https://a.example/simple", "https://b.example/simple"),
    find_links=("/srv/a,b", "https://c.example/x,y"),
    no_index=True,
    cert="/ca.pem",
    client_cert="/me.pem",
    proxy="http://proxy.example:3128",
    trusted_hosts=("a.example", "b.example"),
    timeout="60",
    retries="2",
)


def test_uv_is_told_everything() -> None:
    assert uv_environment(FULL, {}) == {
        "UV_DEFAULT_INDEX": "https://i.example/simple",
        "UV_INDEX": "https://a.example/simple https://b.example/simple",
        "UV_FIND_LINKS": "file:///srv/a%2Cb,https://c.example/x%2Cy",
        "SSL_CERT_FILE": "/ca.pem",
        "SSL_CLIENT_CERT": "/me.pem",
        "HTTP_PROXY": "http://proxy.example:3128",
        "HTTPS_PROXY": "http://proxy.example:3128",
        "UV_INSECURE_HOST": "a.example b.example",
        "UV_HTTP_TIMEOUT": "60",
        "UV_HTTP_RETRIES": "2",
    }
    assert uv_arguments(FULL) == ["--no-index"]
    assert uv_environment(PipSettings(), {}) == {}
    assert uv_arguments(PipSettings()) == []


def test_what_uv_was_told_itself_wins() -> None:
    environment = {
        "UV_DEFAULT_INDEX": "https://u.example/simple",
        "SSL_CERT_FILE": "/mine.pem",
        "https_proxy": "http://other.example",
        "UV_FIND_LINKS": "/mine",
    }

    told = uv_environment(FULL, environment)

    assert "UV_INDEX" not in told
    assert not told.keys() & environment.keys()
    assert "HTTPS_PROXY" not in told
    assert told["HTTP_PROXY"] == "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("text", "keeps"),
    [
        ('[[index]]\nurl = "https://u.example"\ndefault = true\n', True),
        ('index-url = "https://u.example"\n', True),
        ('[pip]\nindex-url = "https://u.example"\n', True),
        ('# index-url = "https://u.example"\nlink-mode = "copy"\n', False),
    ],
)
def test_indexes_in_uv_s_own_file_win(tmp_path: Path, text: str, keeps: bool) -> None:
    """Then pip's indexes are not for uv, but its folders and connection still are."""
    file = tmp_path / "uv" / "uv.toml"
    file.parent.mkdir()
    file.write_text(text)

    told = uv_environment(FULL, {"XDG_CONFIG_HOME": str(tmp_path)})

    assert ("UV_DEFAULT_INDEX" not in told) is keeps
    assert "UV_FIND_LINKS" in told
    assert "UV_DEFAULT_INDEX" in uv_environment(
        FULL, {"XDG_CONFIG_HOME": str(tmp_path), "UV_NO_CONFIG": "1"}
    )
    assert ("UV_INDEX" in uv_environment(FULL, {"UV_CONFIG_FILE": str(file)})) is not keeps
