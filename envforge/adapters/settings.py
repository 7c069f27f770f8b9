"""The one place that reads environment variables and settings files.

Precedence: command line, `ENVFORGE_*`, `[tool.envforge]` in the nearest pyproject.toml,
defaults. conda's own settings are read from the places conda reads them.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from envforge.adapters.condarc import read_conda_settings
from envforge.adapters.files import read_text
from envforge.errors import InvalidFile, InvalidValue
from envforge.model.settings import CondaSettings, Settings

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off", ""})
KEYS: Final[Mapping[str, str]] = {
    "envs": "folder of the environments' folders",
    "prefixes": "folder that environments are installed under",
    "package-cache": "folder of unpacked packages, shared by all environments",
    "store": "folder of model files, shared by all environments",
    "views": "folder of the environments' views of the store; on the store's own filesystem",
    "cache": "envforge's own cache: channel metadata, host Python packages",
    "templates": "folder of your own templates; `exports/NAME.j2` in it is taken before ours",
    "host-root": "where the machine's own files are seen, `/host` in some containers",
    "mirror": "folder or address under which channels are found by their name",
    "wheel-index": "`auto`, `pytorch`, `site` or an address",
    "timeout": "seconds to wait for a channel",
    "offline": "take nothing from the network",
    "link-scripts": "let packages run their post-link scripts",
}
"""Every setting: as `[tool.envforge]` key, and as `ENVFORGE_KEY` in the environment."""
_FOLDERS: Final = frozenset(
    {"envs", "prefixes", "package-cache", "cache", "host-root", "store", "views", "templates"}
)
_FOREVER: Final = 1e6
"""Seconds; what engines are handed must be finite."""
_TEXTS: Final = _FOLDERS | {"mirror", "wheel-index"}


def load_settings(
    environ: Mapping[str, str], cwd: Path, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Read everything once.

    Args:
        environ: the process environment.
        cwd: where pyproject.toml is looked for, upwards, and `./envs` lies.
        overrides: from the command line; keys as in `KEYS`, None: not given.

    Raises:
        InvalidFile: pyproject.toml or a condarc that cannot be read, or holds unknown keys.
        InvalidValue: a variable that does not mean anything.
    """
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    values = {**_from_pyproject(cwd), **_from_environment(environ), **given}
    home = Path(environ.get("HOME") or environ.get("USERPROFILE") or Path.home())
    conda = read_conda_settings(environ, home)
    cache = _path(values.get("cache"), cwd) or _cache_home(environ, home) / "envforge"
    store = _path(values.get("store"), cwd) or _data_home(environ, home) / "envforge" / "store"
    envs = _path(values.get("envs"), cwd) or cwd / "envs"
    return Settings(
        home=home,
        envs_folder=envs,
        templates=_path(values.get("templates"), cwd) or envs.parent / "templates",
        prefixes=_path(values.get("prefixes"), cwd) or _prefixes(conda, home),
        package_cache=_path(values.get("package-cache"), cwd) or _package_cache(conda, cache),
        cache=cache,
        store=store,
        views=_path(values.get("views"), cwd) or store / "views",
        host_root=_path(values.get("host-root"), cwd) or Path("/"),
        mirror=_mirror(values.get("mirror"), cwd),
        wheel_index=str(values.get("wheel-index", "auto")),
        timeout=_seconds(values.get("timeout", 60)),
        offline=_flag("offline", values.get("offline", False)) or conda.offline,
        link_scripts=_flag("link-scripts", values.get("link-scripts", False)),
        conda=conda,
        environment=dict(environ),
    )


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    named = {key: f"ENVFORGE_{key.upper().replace('-', '_')}" for key in KEYS}
    return {key: environ[name] for key, name in named.items() if environ.get(name)}


def _from_pyproject(cwd: Path) -> dict[str, Any]:
    path = next((folder / "pyproject.toml" for folder in _upwards(cwd) if _is_there(folder)), None)
    if path is None:
        return {}
    tool = _load_toml(path).get("tool", {})
    table = tool.get("envforge", {}) if isinstance(tool, dict) else {}
    mistakes = tuple(_mistakes(table))
    if mistakes:
        raise InvalidFile(path=str(path), mistakes=mistakes)
    return {key: _placed(key, value, path.parent) for key, value in table.items()}


def _mistakes(table: Any) -> Iterator[str]:
    if not isinstance(table, dict):
        yield "tool.envforge: must be a table"
        return
    for key, value in table.items():
        if key not in KEYS:
            yield _unknown(key)
        elif key in _TEXTS and not isinstance(value, str):
            yield f"tool.envforge.{key}: must be text, in quotes"


def _placed(key: str, value: Any, folder: Path) -> Any:
    """Relative paths in a file are relative to that file."""
    if key in _FOLDERS or (key == "mirror" and "://" not in value):
        return folder / _expanded(value)
    return value


def _upwards(cwd: Path) -> Iterator[Path]:
    yield cwd
    yield from cwd.parents


def _is_there(folder: Path) -> bool:
    return os.access(folder / "pyproject.toml", os.R_OK)


def _unknown(key: str) -> str:
    nearest = difflib.get_close_matches(key, KEYS, n=1)
    hint = f"; did you mean `{nearest[0]}`?" if nearest else f"; known: {', '.join(KEYS)}"
    return f"tool.envforge.{key}: unknown key{hint}"


def _load_toml(path: Path) -> dict[str, Any]:
    text = read_text(path)
    if "envforge" not in text:
        return {}  # most pyproject.toml files: not worth the parser
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        loaded: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidFile(path=str(path), mistakes=(str(error),)) from error
    return loaded


def _flag(key: str, value: object) -> bool:
    text = str(value).strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise InvalidValue(
        what=f"setting `{key}`", value=str(value), reason="is neither true nor false"
    )


def _seconds(value: object) -> float:
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = -1.0
    if 0 < seconds < _FOREVER:
        return seconds
    raise InvalidValue(
        what="setting `timeout`",
        value=str(value),
        reason="is no number of seconds above 0 and below a million",
    )


def _path(value: Any, cwd: Path) -> Path | None:
    """Absolute, and without `..`: one folder has one path, by which views are known."""
    return None if value is None else Path(os.path.abspath(cwd / _expanded(value)))  # noqa: PTH100


def _expanded(value: Any) -> Path:
    try:
        return Path(str(value)).expanduser()
    except RuntimeError as error:
        raise InvalidValue(
            what="path", value=str(value), reason="begins with `~` and a user who is not known here"
        ) from error


def _mirror(value: Any, cwd: Path) -> str | None:
    if value is None or "://" in str(value):
        return None if value is None else str(value).rstrip("/")
    return str((cwd / _expanded(value)).resolve())


def _data_home(environ: Mapping[str, str], home: Path) -> Path:
    return Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")


def _cache_home(environ: Mapping[str, str], home: Path) -> Path:
    return Path(environ.get("XDG_CACHE_HOME") or home / ".cache")


def _prefixes(conda: CondaSettings, home: Path) -> Path:
    """Where `conda activate NAME` looks, conda installed or not."""
    return _first_writable(conda.envs_dirs) or home / ".conda" / "envs"


def _package_cache(conda: CondaSettings, cache: Path) -> Path:
    return _first_writable(conda.pkgs_dirs) or cache / "pkgs"


def _first_writable(folders: tuple[Path, ...]) -> Path | None:
    return next((folder for folder in folders if _writable(folder)), None)


def _writable(folder: Path) -> bool:
    # `os.path`: a folder of somebody else's, which we may not enter, is none to us and no error
    above = (folder, *folder.parents)
    present = next((path for path in above if os.path.exists(path)), None)  # noqa: PTH110
    return present is not None and present.is_dir() and os.access(present, os.W_OK)
