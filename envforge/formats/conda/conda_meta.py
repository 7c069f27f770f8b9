"""The files of a prefix's `conda-meta/`: package records, our marker, history and state.

`*.json` files are conda's package records (conda documentation, "Environment directory
structure"): conda, mamba and rattler each read every one of them, so what is ours has another
ending. Records are large, nearly all of it lists of files. Both conda and rattler indent them
by two blanks, so a top-level key is what follows a line end and exactly two blanks, and the few
fields that most readers need can be had without parsing the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from envforge.errors import InvalidFile
from envforge.formats.text import json_text
from envforge.model.prefix import InstalledPackage, InstallPlan, InstallRecord

MARKER: Final = "envforge-install"
"""Name of our marker in `conda-meta/`; not `*.json`, which conda would take for a package."""
_MARKER_VERSION: Final = 1
_UNSET: Final = "***unset***"
"""What `conda env config vars unset` leaves behind."""
_FIELDS: Final = ("name", "version", "build", "url", "sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFile:
    """One file that a package put into the prefix."""

    path: str
    size: int | None
    """As linked; None for links, for rewritten files, and where the record does not say."""


def read_record(data: bytes, path: str) -> InstalledPackage:
    """The package that a record tells of.

    Raises:
        InvalidFile: no JSON, cut off, or without name, version or build.
    """
    fields = _indented_fields(data) if data.rstrip().endswith(b"\n}") else None
    if fields is None:
        fields = _parse(data, path)
    wanted = {key: str(fields.get(key) or "") for key in _FIELDS}
    lacking = [key for key in _FIELDS[:3] if not wanted[key]]
    if lacking:
        raise _broken(path, f"it has no {' and no '.join(lacking)}")
    return InstalledPackage(
        name=wanted["name"],
        manager="conda",
        version=wanted["version"],
        build=wanted["build"],
        url=wanted["url"],
        sha256=wanted["sha256"],
    )


def read_files(data: bytes, path: str) -> tuple[RecordedFile, ...]:
    """Every file of a package, with the size it should have where that is known.

    Raises:
        InvalidFile: no JSON, or cut off.
    """
    fields = _parse(data, path)
    described = (fields.get("paths_data") or {}).get("paths") or []
    if described:
        return tuple(_recorded(item) for item in described if item.get("_path"))
    return tuple(RecordedFile(path=item, size=None) for item in fields.get("files") or [])


def is_noarch_python(data: bytes) -> bool:
    """Whether the record is of a package whose modules are compiled on the spot."""
    return bool(_top_level(data, "noarch") == "python")


def site_packages_path(data: bytes) -> str | None:
    """Where a Python's record says that packages go; None: it does not say (CEP 17)."""
    found = _top_level(data, "python_site_packages_path")
    return str(found) if found else None


def _recorded(item: Mapping[str, Any]) -> RecordedFile:
    plain = item.get("path_type") == "hardlink" and not item.get("prefix_placeholder")
    return RecordedFile(path=item["_path"], size=item.get("size_in_bytes") if plain else None)


def _indented_fields(data: bytes) -> dict[str, Any] | None:
    found = {key: _top_level(data, key) for key in _FIELDS}
    return found if all(found[key] for key in _FIELDS[:3]) else None


def _top_level(data: bytes, key: str) -> Any:
    begin = data.find(f'\n  "{key}": '.encode())
    if begin < 0:
        return None
    end = data.find(b"\n", begin + 1)
    value = data[begin : end if end >= 0 else len(data)].partition(b": ")[2].rstrip(b", \r")
    try:
        return json_text.parse(value)
    except ValueError:
        return None


def _parse(data: bytes, path: str) -> dict[str, Any]:
    try:
        fields = json_text.parse(data)
    except ValueError as error:
        raise _broken(path, f"it is no JSON ({error})") from error
    if not isinstance(fields, dict):
        raise _broken(path, "it is no package record")
    return fields


def _broken(path: str, reason: str) -> InvalidFile:
    return InvalidFile(
        path=path,
        mistakes=(reason,),
        remedy="the environment is damaged: remove it with `envforge remove`, and install again",
    )


def render_marker(record: InstallRecord) -> str:
    """Our marker: written before the first change, and again after the last."""
    document = {
        "version": _MARKER_VERSION,
        "state": "complete" if record.complete else "incomplete",
        "environment": record.environment,
        "lock": record.digest,
        "variables": list(record.variables),
        "wheels": dict(record.wheels),
        **({"published": True} if record.published else {}),
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def parse_marker(text: str) -> InstallRecord:
    """Read our marker; one that cannot be read is taken for an install that did not end."""
    try:
        document = json_text.parse(text)
        return InstallRecord(
            environment=str(document.get("environment", "")),
            digest=str(document["lock"]),
            complete=document["state"] == "complete" and document["version"] == _MARKER_VERSION,
            variables=tuple(map(str, document["variables"])),
            wheels=_strings(document["wheels"]),
            published=document.get("published") is True,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return InstallRecord(digest="", complete=False)


def merge_state(text: str | None, ours: Mapping[str, str], before: Iterable[str], path: str) -> str:
    """`conda-meta/state` with our activation variables, and everybody else's kept.

    The format is conda's: `{"env_vars": {NAME: VALUE}}` (`conda env config vars`).

    Args:
        text: the file as it is, None where there is none.
        ours: the variables that the lock brings.
        before: names that an earlier lock brought; those no longer wanted go.
        path: for messages.

    Raises:
        InvalidFile: the file is no JSON object, or its variables are none.
    """
    state = _parse(text.encode(), path) if text and text.strip() else {}
    present = state.get("env_vars") or {}
    if not isinstance(present, dict):
        raise _broken(path, "`env_vars` is no mapping")
    kept = {name: value for name, value in present.items() if name not in set(before)}
    state["env_vars"] = {**kept, **ours}
    return json.dumps(state, indent=2, sort_keys=True) + "\n"


def state_variables(text: str | None) -> dict[str, str]:
    """Activation variables in a `conda-meta/state`; none where it cannot be read, as in conda."""
    return _strings(_lenient(text).get("env_vars"))


def package_variables(text: str | None) -> dict[str, str]:
    """Activation variables in an `etc/conda/env_vars.d/*.json`, which a package brought."""
    return _strings(_lenient(text))


def _lenient(text: str | None) -> dict[str, Any]:
    try:
        document = json_text.parse(text or "{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _strings(found: object) -> dict[str, str]:
    if not isinstance(found, dict):
        return {}
    return {str(key): str(value) for key, value in found.items() if value != _UNSET}


def history_entry(plan: InstallPlan, *, when: str, requested: Sequence[str], first: bool) -> str:
    """One revision of `conda-meta/history`, as `conda list --revisions` and conda's solver read it.

    Args:
        plan: what was changed.
        when: `YYYY-MM-DD HH:MM:SS`.
        requested: the specs that were asked for; `conda install` keeps to them later.
        first: whether the file is empty; conda's first revision has no signs before the names.
    """
    changed = [(old, new) for old, new in plan.change if new.manager == "conda"]
    added = [item for item in plan.add if item.manager == "conda"]
    removed = [item for item in plan.remove if item.manager == "conda"]
    plus = "" if first else "+"
    gone = [f"-{_dist(item.url, item)}" for item in (*removed, *(old for old, _ in changed))]
    come = [f"{plus}{_dist(item.url, item)}" for item in (*added, *(new for _, new in changed))]
    lines = [f"==> {when} <==", "# cmd: envforge install", *sorted(gone), *sorted(come)]
    if requested:
        lines.append(f"# update specs: {json.dumps(sorted(requested))}")
    return "\n".join(lines) + "\n"


_SPECS: Final = re.compile(r"#\s*(?P<action>\w+)\s+specs:\s*(?P<specs>.*?)\s*")
_SPEC: Final = re.compile(r"'(?P<single>(?:[^'\\]|\\.)*)'|\"(?P<double>(?:[^\"\\]|\\.)*)\"")


def requested_specs(history: str) -> tuple[str, ...]:
    """What was asked for by name and is not yet taken back, in the order of `history`.

    conda writes Python lists (`# update specs: ['numpy', "python=3.10"]`), older ones words
    with commas (conda, `history.py`).
    """
    asked: dict[str, str] = {}
    for line in history.splitlines():
        found = _SPECS.fullmatch(line)
        if not found:
            continue
        listed = found["specs"]
        specs = [item["single"] or item["double"] or "" for item in _SPEC.finditer(listed)]
        specs = [re.sub(r"\\(.)", r"\1", item) for item in specs]
        if not listed.startswith("["):
            specs = [item.strip() for item in listed.split(",")]
        for spec in filter(None, specs):
            name = re.split(r"[\s=<>!~\[]", spec.rpartition("::")[2].strip(), maxsplit=1)[0].lower()
            asked.pop(name, None)
            if found["action"] not in ("remove", "neutered"):
                asked[name] = spec
    return tuple(asked.values())


def _dist(url: str, package: Any) -> str:
    """`conda-forge/linux-64::python-3.11.7-h0`, conda's name of a distribution."""
    stem = f"{package.name}-{package.version}-{package.build}"
    where = [part for part in url.split("/")[:-1] if part]
    return f"{'/'.join(where[-2:])}::{stem}" if len(where) >= 2 else stem


def fuller_depends(locked: Sequence[str], built: Sequence[str]) -> list[str]:
    """Dependencies for a record: the lock's, with what a lock writer may have left out.

    The lock's come from the channel's metadata, which may have been mended since the package was
    built, so they count. conda-lock's writer drops build strings (`python_abi 3.10.* *_cp310`
    becomes `python_abi 3.10.*`): where the package itself says the same and more, that is taken.
    """
    return [next((full for full in built if _extends(full, short)), short) for short in locked]


def _extends(full: str, short: str) -> bool:
    given, wanted = full.split(), short.split()
    return len(given) > len(wanted) == 2 and given[:2] == wanted
