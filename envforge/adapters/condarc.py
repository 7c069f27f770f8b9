"""conda's own settings, from the files and variables that conda reads.

Order and names after conda's documentation, "Using the .condarc conda configuration file":
system, root, user, active environment, `$CONDARC`, then `CONDA_*` variables; later wins.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from envforge.errors import InvalidFile
from envforge.model.settings import CondaSettings

_CONDA_CHANNELS = "https://conda.anaconda.org"
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def read_conda_settings(environ: Mapping[str, str], home: Path) -> CondaSettings:
    """Read and merge what concerns us.

    Raises:
        InvalidFile: a condarc that is not YAML, or whose keys have the wrong shape.
    """
    merged: dict[str, Any] = {}
    for path in _files(environ, home):
        for key, value in _load(path).items():
            merged[key] = _merge(merged.get(key), value)
    return CondaSettings(
        channel_alias=_filled(
            environ.get("CONDA_CHANNEL_ALIAS") or merged.get("channel_alias") or _CONDA_CHANNELS,
            environ,
        ).rstrip("/"),
        custom_channels=_map(merged.get("custom_channels"), environ),
        mirrored_channels=_lists(merged.get("mirrored_channels"), environ),
        custom_multichannels=_lists(merged.get("custom_multichannels"), environ),
        default_channels=_list(merged.get("default_channels"), environ),
        channels=_list(merged.get("channels"), environ),
        envs_dirs=_folders(environ, ("CONDA_ENVS_DIRS", "CONDA_ENVS_PATH"), merged, "envs_dirs"),
        pkgs_dirs=_folders(environ, ("CONDA_PKGS_DIRS",), merged, "pkgs_dirs"),
        ssl_verify=_ssl(
            _filled(environ.get("CONDA_SSL_VERIFY", merged.get("ssl_verify", True)), environ)
        ),
        proxy_servers=_map(merged.get("proxy_servers"), environ),
        offline=_true(environ.get("CONDA_OFFLINE", merged.get("offline", False))),
    )


def _files(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    roots = [Path("/etc/conda"), Path("/var/lib/conda")]
    roots += [
        Path(environ[name]) for name in ("CONDA_ROOT", "MAMBA_ROOT_PREFIX") if environ.get(name)
    ]
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "conda"
    roots += [config, home / ".conda"]
    for root in roots:
        yield from _in_folder(root)
    yield home / ".condarc"
    if environ.get("CONDA_PREFIX"):
        yield from _in_folder(Path(environ["CONDA_PREFIX"]))
    if environ.get("CONDARC"):
        yield Path(environ["CONDARC"]).expanduser()


def _in_folder(root: Path) -> Iterator[Path]:
    yield root / ".condarc"
    yield root / "condarc"
    parts = root / "condarc.d"
    if os.access(parts, os.R_OK) and parts.is_dir():
        yield from sorted(path for path in parts.iterdir() if path.suffix in {".yml", ".yaml"})


def _load(path: Path) -> dict[str, Any]:
    if not os.access(path, os.R_OK) or not path.is_file():
        return {}
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        loaded = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        # Nothing of the file itself: the line that is wrong may be the one with the password.
        raise InvalidFile(path=str(path), mistakes=(_mistake(error),)) from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise InvalidFile(path=str(path), mistakes=("a condarc is a mapping of settings",))
    _check_shapes(path, loaded)
    return loaded


def _mistake(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return "is no YAML that can be read"
    problem = getattr(error, "problem", None) or "is no YAML that can be read"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def _check_shapes(path: Path, loaded: dict[str, Any]) -> None:
    shapes: dict[str, type] = {
        "channels": list,
        "envs_dirs": list,
        "pkgs_dirs": list,
        "custom_channels": dict,
        "mirrored_channels": dict,
        "custom_multichannels": dict,
        "default_channels": list,
        "proxy_servers": dict,
    }
    wrong = [
        f"{key}: must be a {'list' if shape is list else 'mapping'}"
        for key, shape in shapes.items()
        if loaded.get(key) is not None and not isinstance(loaded[key], shape)
    ]
    for key in ("mirrored_channels", "custom_multichannels"):
        named = loaded.get(key)
        if isinstance(named, dict):
            wrong += [
                f"{key}.{name}: must be a list"
                for name, addresses in named.items()
                if not isinstance(addresses, list)
            ]
    if wrong:
        raise InvalidFile(path=str(path), mistakes=tuple(wrong))


def _merge(old: Any, new: Any) -> Any:
    """Maps are joined, lists of a later file go before those of earlier ones, as conda does."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **new}
    if isinstance(old, list) and isinstance(new, list):
        return [*new, *(item for item in old if item not in new)]
    return old if new is None else new


def _map(value: Any, environ: Mapping[str, str]) -> dict[str, str]:
    return {str(key): _filled(item, environ).rstrip("/") for key, item in (value or {}).items()}


def _list(value: Any, environ: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(_filled(item, environ).rstrip("/") for item in value or ())


def _lists(value: Any, environ: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {str(key): _list(items, environ) for key, items in (value or {}).items()}


def _filled(value: Any, environ: Mapping[str, str]) -> str:
    """`$NAME` and `${NAME}` as conda fills them in; one that is not set stays as it is."""
    return _VARIABLE.sub(lambda found: environ.get(found[1] or found[2], found[0]), str(value))


def _folders(
    environ: Mapping[str, str], names: tuple[str, ...], merged: Mapping[str, Any], key: str
) -> tuple[Path, ...]:
    variable = next((environ[name] for name in names if environ.get(name)), "")
    listed = [*variable.split(os.pathsep), *map(str, merged.get(key) or ())]
    home = environ.get("HOME", "~")
    return tuple(
        Path(item.replace("~", home, 1) if item.startswith("~") else os.path.expandvars(item))
        for item in listed
        if item
    )


def _ssl(value: Any) -> bool | str:
    text = str(value)
    if text.lower() in {"true", "1", "yes", "on"}:
        return True
    if text.lower() in {"false", "0", "no", "off"}:
        return False
    return text  # `<path>`, or conda's word `truststore`


def _true(value: Any) -> bool:
    return str(value).lower() in {"true", "1", "yes", "on"}
