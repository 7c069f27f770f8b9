"""pylock.toml of any tool (PEP 751), as an imported environment.

A pylock serves many machines: each package lists the files of all of them. A lock of ours names
one file a platform, so the file that an installer would take is chosen for each.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from envforge.errors import InvalidFile
from envforge.formats import archive_name
from envforge.formats.conda_lock.conda_lock_tree import SHA256
from envforge.formats.python import python_requirement
from envforge.formats.python.wheel_name import choose_wheel, target_tags
from envforge.formats.text import toml_text
from envforge.model.imported import ImportedEnvironment
from envforge.model.lock import Lock, LockedPackage
from envforge.model.machine import Platform
from envforge.model.spec import Dependency

_ASSUMED: Final[Platform] = "linux-64"
_NEWEST_GLIBC: Final = "2.39"
"""For choosing among files: which C library the installing machine has is not said."""
_DEFAULT_PYTHON: Final = "3.12"
_INTERPRETER: Final = re.compile(r"-cp3(?P<minor>\d+)-(?:cp3|abi3)")
_SYSTEMS: Final[tuple[tuple[Platform, str, str], ...]] = (
    ("linux-64", r"linux", r"x86_64"),
    ("linux-aarch64", r"linux", r"aarch64"),
    ("osx-arm64", r"darwin", r"arm64"),
    ("win-64", r"win32", r"amd64|x86_64"),
)
_LOCAL: Final = ("vcs", "directory")


def read_source(text: str, path: str) -> tuple[ImportedEnvironment, ...]:
    """Read every package, sdists included.

    Raises:
        InvalidFile: no TOML, another version, or a package without a name or a source; every
            mistake at once, with its line.
    """
    document = toml_text.parse(text, path)
    version = str(document.get("lock-version", ""))
    if version.partition(".")[0] != "1":
        line = toml_text.line_of(text, "lock-version")
        raise InvalidFile(
            path=path, mistakes=(f"line {line}: lock-version `{version}` is not read, 1.x is",)
        )
    tables = _tables(document, text, path)
    python = _python(document, tables)
    platforms = _platforms(document)
    notes = list(_notes(document, tables, platforms))
    packages = tuple(
        sorted(
            _locked(table, platform, python)
            for platform in platforms
            for table in tables
            if not _excluded(table, platform)
        )
    )
    unique = {(item.platform, item.name): item for item in packages}
    lock = Lock(
        packages=tuple(unique.values()),
        platforms=platforms,
        channels=(),
        content_hash={},
        sources=(),
    )
    return (
        ImportedEnvironment(
            name="",
            lock=lock,
            dependencies=tuple(_interpreter(document)),
            platforms=platforms,
            indexes=tuple(sorted({str(table["index"]) for table in tables if "index" in table})),
            local=tuple(str(table["name"]) for table in tables if _is_local(table)),
            notes=tuple(notes),
        ),
    )


def _tables(document: Mapping[str, Any], text: str, path: str) -> list[dict[str, Any]]:
    mistakes: list[str] = []
    tables: list[dict[str, Any]] = []
    places = [
        text.count("\n", 0, found.start()) + 1
        for found in re.finditer(r"^\[\[packages\]\]", text, re.MULTILINE)
    ]
    listed = document.get("packages", [])
    for number, table in enumerate(listed if isinstance(listed, list) else [listed]):
        place = f"line {places[number]}: " if number < len(places) else ""
        problem = _problem(table)
        if problem:
            mistakes.append(f"{place}{problem}")
        else:
            tables.append(table)
    if mistakes:
        raise InvalidFile(path=path, mistakes=tuple(mistakes))
    return tables


def _problem(table: object) -> str:
    if not isinstance(table, dict):
        return "`packages` is no list of tables"
    name = table.get("name")
    if not isinstance(name, str) or not name:
        return "a package has no `name`"
    files = _files(table)
    if not files and not any(key in table for key in (*_LOCAL, "archive")):
        return f"package `{name}` has none of wheels, sdist, archive, vcs and directory"
    for item in files:
        digest = item.get("hashes", {}).get("sha256", "") if isinstance(item, dict) else None
        if digest is None or (digest and not SHA256.fullmatch(str(digest).lower())):
            return f"package `{name}` has a file whose sha256 is none: `{str(digest)[:70]}`"
    return ""


def _files(table: Mapping[str, Any]) -> list[Any]:
    wheels = table.get("wheels", [])
    files = list(wheels) if isinstance(wheels, list) else [wheels]
    return files + [table[key] for key in ("sdist", "archive") if key in table]


def _is_local(table: Mapping[str, Any]) -> bool:
    return any(key in table for key in _LOCAL)


def _python(document: Mapping[str, Any], tables: list[dict[str, Any]]) -> str:
    """The CPython that most wheels are for; else the oldest that is allowed."""
    counted: Counter[str] = Counter()
    for table in tables:
        minors = {
            found["minor"]
            for item in table.get("wheels", [])
            if (found := _INTERPRETER.search(_name(item)))
        }
        counted.update(minors if len(minors) == 1 else ())
    if counted:
        return f"3.{counted.most_common(1)[0][0]}"
    found = re.search(r"3\.\d+", str(document.get("requires-python", "")))
    return found[0] if found else _DEFAULT_PYTHON


def _platforms(document: Mapping[str, Any]) -> tuple[Platform, ...]:
    """Those that `environments` names; none named: it is for all, and one is assumed."""
    markers = " ".join(map(str, document.get("environments", [])))
    found = [
        platform
        for platform, system, machine in _SYSTEMS
        if re.search(rf"(?i)['\"](?:{system})['\"]", markers)
        and (re.search(rf"(?i){machine}", markers) or "platform_machine" not in markers)
    ]
    return tuple(found) or (_ASSUMED,)


def _excluded(table: Mapping[str, Any], platform: Platform) -> bool:
    """Whether the marker of a package excludes a platform; Python versions are not judged."""
    text = str(table.get("marker", ""))
    if not text:
        return False
    from packaging.markers import InvalidMarker, Marker

    system, machine = {
        "linux-64": ("linux", "x86_64"),
        "linux-aarch64": ("linux", "aarch64"),
        "osx-arm64": ("darwin", "arm64"),
        "win-64": ("win32", "AMD64"),
    }[platform]
    names = {"linux": ("posix", "Linux"), "darwin": ("posix", "Darwin"), "win32": ("nt", "Windows")}
    try:
        return not Marker(text).evaluate(
            {
                "sys_platform": system,
                "platform_machine": machine,
                "os_name": names[system][0],
                "platform_system": names[system][1],
            },
            context="lock_file",
        )
    except (InvalidMarker, ValueError, TypeError):
        return False


def _locked(table: Mapping[str, Any], platform: Platform, python: str) -> LockedPackage:
    chosen = _chosen(table, platform, python)
    address = str(chosen.get("url") or chosen.get("path") or _local_address(table))
    named = archive_name.parse_python(address)
    return LockedPackage(
        platform=platform,
        name=python_requirement.canonical(str(table["name"])),
        manager="pip",
        version=str(table.get("version") or (named.version if named else "")),
        url=address,
        sha256=str(chosen.get("hashes", {}).get("sha256", "")).lower(),
        depends=tuple(
            sorted(
                python_requirement.canonical(str(item.get("name", "")))
                for item in table.get("dependencies", [])
                if isinstance(item, dict) and item.get("name")
            )
        ),
        size=chosen["size"] if isinstance(chosen.get("size"), int) else None,
    )


def _chosen(table: Mapping[str, Any], platform: Platform, python: str) -> Mapping[str, Any]:
    """The file that an installer takes on the platform; an sdist where no wheel fits."""
    wheels = {_name(item): item for item in table.get("wheels", [])}
    order = target_tags(platform, python, _NEWEST_GLIBC if platform.startswith("linux") else None)
    fitting = [name for name in wheels if archive_name.parse_python(name)]
    best = choose_wheel(fitting, order)
    if best is not None:
        chosen: Mapping[str, Any] = wheels[best]
        return chosen
    others = [table[key] for key in ("archive", "sdist") if key in table]
    return next(iter([*others, *wheels.values()]), {})


def _name(item: Mapping[str, Any]) -> str:
    return str(
        item.get("name") or archive_name.file_name(str(item.get("url") or item.get("path") or ""))
    )


def _local_address(table: Mapping[str, Any]) -> str:
    found: Any = next((table[key] for key in _LOCAL if key in table), {})
    return str(found.get("url") or found.get("path") or "") if isinstance(found, dict) else ""


def _interpreter(document: Mapping[str, Any]) -> Iterator[Dependency]:
    found = re.fullmatch(r"\s*(?:==|~=)\s*(3\.\d+)(?:\.\*|\.\d+)?\s*", _requires(document))
    if found:
        yield Dependency(name="python", version=f"={found[1]}")


def _requires(document: Mapping[str, Any]) -> str:
    return str(document.get("requires-python", ""))


def _notes(
    document: Mapping[str, Any], tables: list[dict[str, Any]], platforms: tuple[str, ...]
) -> Iterator[str]:
    for key in ("extras", "dependency-groups"):
        if document.get(key):
            yield f"`{key}`: {', '.join(map(str, document[key]))}"
    if not document.get("environments"):
        yield f"platform {platforms[0]} assumed"
    built = [str(table["name"]) for table in tables if "sdist" in table and not table.get("wheels")]
    if built:
        yield f"built from source: {', '.join(sorted(built))}"
