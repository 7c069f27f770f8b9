"""What pip and uv are configured with on this site: indexes, certificates, proxies.

Sites set up pip; uv reads none of pip's files. So we read them as pip's documentation
("Configuration", and `pip help config`) describes, and hand them to uv where uv's own settings
are silent. uv reads its own files and variables itself.

Addresses may hold credentials: they go to uv through its environment, which other users cannot
read, never through its command line, and `redact` takes them out of everything that is shown.
"""

from __future__ import annotations

import configparser
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from envforge.adapters.files import read_text
from envforge.errors import InvalidFile

_LOG = logging.getLogger(__name__)
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/\s`'\"]+@")
_DEFAULT_INDEX: Final = "https://pypi.org/simple"
_ENVIRONMENT: Final = ":env:"
_SECTIONS: Final = ("global", "install", _ENVIRONMENT)
"""Later ones win, whatever file they stand in."""
_TRUE: Final = frozenset({"1", "true", "yes", "on", "y", "t"})
_UV_INDEX_KEY = re.compile(
    r"^\s*(?:\[\[(?:pip\.)?index\]\]|(?:pip\.)?(?:index|index-url|default-index|extra-index-url)\s*=)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipSettings:
    """The part of pip's settings that says where packages come from. Addresses are unredacted."""

    index_url: str | None = None
    """None: pip's default, the public registry."""
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    """Folders as absolute paths, pages as addresses."""
    no_index: bool = False
    """Only `find_links` serve."""
    cert: str | None = None
    """PEM bundle to trust instead of the built-in one."""
    client_cert: str | None = None
    proxy: str | None = None
    trusted_hosts: tuple[str, ...] = ()
    timeout: str | None = None
    """Seconds without an answer."""
    retries: str | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Where packages come from, most important first, for people: without credentials."""
        indexes = () if self.no_index else (self.index_url or _DEFAULT_INDEX,)
        extra = () if self.no_index else self.extra_index_urls
        return tuple(redact(item) for item in (*indexes, *extra, *self.find_links))


def redact(text: str) -> str:
    """Take user names, passwords and tokens out of every address in a text."""
    return _USERINFO.sub(r"\g<scheme>", text)


def without_credentials(url: str) -> str:
    """A wheel's address, or an index's, as a lock may hold it: no user and no password.

    Unlike a channel's (`model.solving`) it keeps `/t/…`, a folder like any other on mirrors of
    the registry (`packages/t/torch/`), and its query.
    """
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def read_pip_settings(
    environment: Mapping[str, str], *, home: Path, prefix: Path | None = None
) -> PipSettings:
    """Read pip's files and `PIP_*` variables, in pip's order of precedence.

    Args:
        environment: variables of the process.
        home: the user's home folder.
        prefix: of the Python environment whose own `pip.conf` counts; None: the running one.

    Raises:
        InvalidFile: a file that pip too would refuse.
    """
    values: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for path in _files(environment, home, prefix or Path(sys.prefix)):
        for section, options in _read(path).items():
            if section in values:
                values[section].update(options)
    values[_ENVIRONMENT].update(_variables(environment))
    merged: dict[str, str] = {}
    for section in _SECTIONS:
        merged.update(values[section])
    return _settings(merged)


def _files(environment: Mapping[str, str], home: Path, prefix: Path) -> Iterator[Path]:
    """Where pip looks, least important first; only those that exist."""
    chosen = environment.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return  # pip's way to say: no files at all
    name = "pip.ini" if sys.platform == "win32" else "pip.conf"
    candidates = [*_global_folders(environment), home / (".pip" if name == "pip.conf" else "pip")]
    candidates.append(_user_folder(environment, home))
    candidates.append(prefix)
    paths = [folder / name for folder in candidates]
    paths += [Path(chosen)] if chosen else []
    yield from (path for path in paths if os.path.isfile(path))  # noqa: PTH113 - as pip: never an error


def _global_folders(environment: Mapping[str, str]) -> list[Path]:
    if sys.platform == "win32":
        return [Path(environment.get("PROGRAMDATA", "C:\\ProgramData")) / "pip"]
    if sys.platform == "darwin":
        return [Path("/Library/Application Support/pip")]
    folders = environment.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    return [*(Path(item) / "pip" for item in folders.split(os.pathsep) if item), Path("/etc")]


def _user_folder(environment: Mapping[str, str], home: Path) -> Path:
    if sys.platform == "win32":
        return Path(environment.get("APPDATA", str(home))) / "pip"
    mac = home / "Library" / "Application Support" / "pip"
    if sys.platform == "darwin" and mac.is_dir():
        return mac
    return Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "pip"


def _read(path: Path) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
    except (configparser.Error, UnicodeDecodeError) as error:
        line = str(error).replace("\n", " ")
        raise InvalidFile(
            path=str(path),
            mistakes=(f"pip's settings: {redact(line)}",),
            remedy="`pip config edit`",
        ) from error
    except OSError as error:
        # pip leaves out what it may not read: another user's file is no mistake of ours.
        _LOG.info("pip settings in %s are not readable: %s", path, error)
        return {}
    return {
        section: {_key(key): value for key, value in parser.items(section)}
        for section in parser.sections()
    }


def _variables(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        _key(name.removeprefix("PIP_")): value
        for name, value in environment.items()
        if name.startswith("PIP_") and value
    }


def _key(name: str) -> str:
    """One spelling: pip takes `extra_index_url` and `--extra-index-url` for the same option."""
    return name.lower().replace("_", "-").removeprefix("--")


def _settings(values: Mapping[str, str]) -> PipSettings:
    return PipSettings(
        index_url=values.get("index-url", "").strip() or None,
        extra_index_urls=_several(values, "extra-index-url"),
        find_links=tuple(_existing(_several(values, "find-links"))),
        no_index=values.get("no-index", "").strip().lower() in _TRUE,
        cert=values.get("cert") or None,
        client_cert=values.get("client-cert") or None,
        proxy=values.get("proxy") or None,
        trusted_hosts=_several(values, "trusted-host"),
        timeout=values.get("timeout") or values.get("default-timeout") or None,
        retries=values.get("retries") or None,
    )


def _several(values: Mapping[str, str], key: str) -> tuple[str, ...]:
    return tuple(values.get(key, "").split())


def _existing(locations: Iterable[str]) -> Iterator[str]:
    """Pass over a folder that is not there, as pip does; uv would stop."""
    for location in locations:
        if "://" in location:
            yield location
            continue
        path = Path(location).expanduser().absolute()
        if os.path.exists(path):  # noqa: PTH110 - as pip: never an error
            yield str(path)
        else:
            _LOG.info("find-links folder %s does not exist", path)


def uv_environment(settings: PipSettings, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that give uv what pip is configured with; what uv was told itself wins."""
    given = _connection_variables(settings, environment)
    if settings.find_links:
        given["UV_FIND_LINKS"] = ",".join(_comma_safe(item) for item in settings.find_links)
    if not _uv_chooses_indexes(environment):
        given |= _index_variables(settings)
    return {name: value for name, value in given.items() if not environment.get(name)}


def uv_arguments(settings: PipSettings) -> list[str]:
    """The settings uv has no variable for."""
    return ["--no-index"] if settings.no_index else []


def _index_variables(settings: PipSettings) -> dict[str, str]:
    given = {}
    if settings.index_url:
        given["UV_DEFAULT_INDEX"] = settings.index_url
    if settings.extra_index_urls:
        given["UV_INDEX"] = " ".join(settings.extra_index_urls)
    return given


def _comma_safe(location: str) -> str:
    """A location with no comma in it: uv separates this variable by commas."""
    if "," not in location:
        return location
    return location.replace(",", "%2C") if "://" in location else Path(location).as_uri()


def _connection_variables(settings: PipSettings, environment: Mapping[str, str]) -> dict[str, str]:
    pairs = {
        "SSL_CERT_FILE": settings.cert,
        "SSL_CLIENT_CERT": settings.client_cert,
        "UV_INSECURE_HOST": " ".join(settings.trusted_hosts),
        "UV_HTTP_TIMEOUT": settings.timeout,
        "UV_HTTP_RETRIES": settings.retries,
    }
    # uv reads the proxy variables in either case, the lower one first, as curl does.
    for scheme in ("http", "https"):
        if not environment.get(f"{scheme}_proxy"):
            pairs[f"{scheme.upper()}_PROXY"] = settings.proxy
    return {name: value for name, value in pairs.items() if value}


def _uv_chooses_indexes(environment: Mapping[str, str]) -> bool:
    """Whether uv is configured with indexes of its own, so that pip's are not for it."""
    variables = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")
    if any(environment.get(name) for name in variables):
        return True
    return any(_UV_INDEX_KEY.search(text) for text in _uv_files(environment))


def _uv_files(environment: Mapping[str, str]) -> Iterator[str]:
    home = Path(environment.get("HOME", "/nonexistent"))
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    chosen = environment.get("UV_CONFIG_FILE")
    candidates = [Path(chosen)] if chosen else [config / "uv/uv.toml", Path("/etc/uv/uv.toml")]
    if environment.get("UV_NO_CONFIG"):
        return
    yield from (read_text(path) for path in candidates if os.path.isfile(path))  # noqa: PTH113
