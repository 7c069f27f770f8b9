"""requirements.txt, as pip reads it, and as pip-compile, uv and `pip freeze` write it.

Options that choose indexes are kept, hashes too; what names a folder, a repository or another
file is told apart, since nobody else can fetch it by that (pip documentation, "Requirements File
Format").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from envforge.errors import InvalidFile, InvalidValue
from envforge.formats import archive_name
from envforge.formats.conda import conda_spec
from envforge.formats.conda_lock.conda_lock_tree import SHA256
from envforge.formats.python import python_requirement
from envforge.model.imported import ImportedEnvironment
from envforge.model.lock import Lock, LockedPackage
from envforge.model.machine import Platform
from envforge.model.spec import Dependency

ASSUMED_PLATFORM: Final[Platform] = "linux-64"
"""The file does not say; a CUDA torch is mostly locked there."""
_INDEXES: Final = ("-i", "--index-url", "--extra-index-url", "-f", "--find-links")
_INCLUDES: Final = ("-r", "--requirement", "-c", "--constraint")
_SILENT: Final = frozenset({"--require-hashes", "--prefer-binary"})
_OPTION: Final = re.compile(r"(?P<name>--?[A-Za-z][\w-]*)(?:[ =]\s*(?P<value>.*))?")
_HASH: Final = re.compile(r"\s--hash[= ]\s*(?P<kind>[a-z0-9]+):(?P<value>\S+)")
_PER_REQUIREMENT: Final = re.compile(r"\s--(?:config-settings?|global-option)[= ].*")
_SOURCE: Final = re.compile(
    r"(?:(?P<name>[A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*@\s*)?(?P<where>\S+)"
)
_REPOSITORY: Final = re.compile(r"(?:git|hg|svn|bzr)\+|git@")
_EGG: Final = re.compile(r"[#&]egg=(?P<name>[A-Za-z0-9][\w.-]*)")
_EXACT: Final = re.compile(r"={2,3}\s*(?P<version>[^,*\s]+)")


@dataclass(slots=True)
class _Entry:
    """One logical line that asks for something."""

    line: int
    text: str
    hashes: tuple[tuple[str, str], ...]
    """Kind and value: of each file of the release that pip may take."""
    via: tuple[str, ...] = ()
    """What pip-compile notes behind a line: who asks for it."""
    where: str = ""
    """In an included file: its name."""


@dataclass(slots=True)
class _Read:
    """What is gathered on the way."""

    path: str
    entries: list[_Entry] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)


def included(text: str) -> tuple[str, ...]:
    """The files that `-r` and `-c` lines name, as they stand there."""
    names = []
    for _, line, _ in _logical_lines(text):
        found = _OPTION.fullmatch(line)
        if found and found["name"] in _INCLUDES and found["value"]:
            names.append(found["value"].strip())
    return tuple(names)


def read_source(
    text: str, path: str, beside: Mapping[str, str] | None = None
) -> tuple[ImportedEnvironment, ...]:
    """Read a list of requirements; where every one is pinned, it is a lock too.

    Args:
        text: the file.
        path: how it is called in mistakes.
        beside: texts of the files that `-r` names, by the name that stands there.

    Raises:
        InvalidFile: with every mistake and its line.
    """
    read = _Read(path)
    _gather(text, read, dict(beside or {}), depth=0)
    parsed = list(_parsed(read))
    if read.mistakes:
        raise InvalidFile(path=path, mistakes=tuple(read.mistakes))
    if not (parsed or read.indexes or read.notes):
        raise InvalidFile(path=path, mistakes=("it asks for nothing",))
    return (_environment(read, parsed),)


# --- lines ------------------------------------------------------------------------------------


def _logical_lines(text: str) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Continued lines joined, without comments: first line's number, text, comments below it."""
    joined, start = "", 0
    pending: tuple[int, str] | None = None
    comments: list[str] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        code, hash_sign, comment = _without_comment(raw)
        start = start or number
        if code.rstrip().endswith("\\") and not hash_sign:
            joined += code.rstrip()[:-1] + " "
            continue
        line = (joined + code).strip()
        if line:
            if pending:
                yield (*pending, tuple(comments))
            pending, comments = (start, line), []
        if hash_sign:
            comments.append(comment)
        joined, start = "", 0
    if joined.strip():
        if pending:
            yield (*pending, tuple(comments))
        pending, comments = (start, joined.strip()), []
    if pending:
        yield (*pending, tuple(comments))


def _without_comment(line: str) -> tuple[str, str, str]:
    """A `#` begins a comment at the beginning or behind a blank; in addresses it is a fragment."""
    found = re.search(r"(?:^|\s)#", line)
    if not found:
        return line, "", ""
    return line[: found.start()], "#", line[found.end() :].strip()


def _via(comments: tuple[str, ...]) -> tuple[str, ...]:
    """`# via torch`, or `# via` and a line for each (pip-compile and uv)."""
    found: list[str] = []
    begun = False
    for comment in comments:
        if comment == "via" or comment.startswith("via "):
            begun = True
            comment = comment[3:].strip()  # noqa: PLW2901 - the rest of the same line
        if begun and comment:
            found += [part.strip() for part in comment.split(",")]
    return tuple(found)


def _gather(text: str, read: _Read, beside: dict[str, str], depth: int, name: str = "") -> None:
    where = f"`{name}`, " if name else ""
    for number, line, comments in _logical_lines(text):
        option = _OPTION.fullmatch(line)
        if option:
            _option(option, number, where, read, beside=beside, depth=depth)
            continue
        hashes = tuple((found["kind"], found["value"]) for found in _HASH.finditer(line))
        bare = _PER_REQUIREMENT.sub("", _HASH.sub("", line)).strip()
        for kind, value in hashes:
            if kind == "sha256" and not SHA256.fullmatch(value):
                read.mistakes.append(
                    f"{where}line {number}: `--hash=sha256:{value[:70]}` is no sha256"
                )
        read.entries.append(_Entry(number, bare, hashes, _via(comments), where))


def _option(
    found: re.Match[str],
    number: int,
    where: str,
    read: _Read,
    *,
    beside: dict[str, str],
    depth: int,
) -> None:
    name, value = found["name"], (found["value"] or "").strip()
    if name in _INDEXES:
        if not value:
            read.mistakes.append(f"{where}line {number}: `{name}` names nothing")
        else:
            read.indexes.append(value)
    elif name in ("-e", "--editable"):
        read.entries.append(_Entry(number, f"-e {value}", ()))
    elif name in _INCLUDES:
        other = beside.pop(value, None)
        if other is None or name in ("-c", "--constraint"):
            read.notes.append(f"`{name} {value}` (line {number}) was not followed")
        elif depth < 20:
            _gather(other, read, beside, depth + 1, value)
    elif name not in _SILENT:
        read.notes.append(f"option `{' '.join(filter(None, (name, value)))}` (line {number})")


# --- requirements -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Parsed:
    """An entry that was understood."""

    entry: _Entry
    dependency: Dependency | None
    """None: a folder or repository."""
    name: str


def _parsed(read: _Read) -> Iterator[_Parsed]:
    for entry in read.entries:
        local = _local_name(entry.text)
        if local is not None:
            yield _Parsed(entry, None, local)
            continue
        text = _named_wheel(entry.text)
        try:
            dependency = conda_spec.parse_pip(text)
        except InvalidValue as error:
            # any file at all may have been named: what stands in it is not for a log
            why = "it is no requirement" if entry.where else str(error)
            read.mistakes.append(f"{entry.where}line {entry.line}: {why}")
            continue
        yield _Parsed(entry, dependency, dependency.name)


def _local_name(text: str) -> str | None:
    """The name of what is a folder or a repository; None: it is a release."""
    bare = text.removeprefix("-e ").strip()
    found = None if bare.startswith("git@") else _SOURCE.fullmatch(bare.partition(" ;")[0].strip())
    editable = bare != text
    where = found["where"] if found else bare
    is_folder = where.startswith((".", "/", "~", "file:"))
    if not (editable or is_folder or _REPOSITORY.match(where)):
        return None
    if named := archive_name.parse_python(where):
        return named.name
    where = re.sub(r"\[[^\]]*\]$", "", where)
    egg = _EGG.search(where)
    name = (found["name"] if found else None) or (egg["name"] if egg else None)
    path = re.sub(r"(?:\.git)?(?:@[^/]*)?(?:#.*)?$", "", where).rstrip("/")
    last = name or path.rpartition("/")[2]
    return python_requirement.canonical(last) if re.search(r"\w", last) else where


def _named_wheel(text: str) -> str:
    """A bare address of a wheel, with the name that it bears."""
    where, semicolon, marker = text.partition(" ;")
    if not re.match(r"https?://", where):
        return text
    named = archive_name.parse_python(where)
    return f"{named.name} @ {where}{semicolon}{marker}" if named else text


def _environment(read: _Read, parsed: list[_Parsed]) -> ImportedEnvironment:
    releases = [item for item in parsed if item.dependency is not None]
    direct = [item for item in releases if _is_direct(item.entry.via)]
    return ImportedEnvironment(
        name="",
        lock=_lock(read, releases),
        dependencies=tuple(item.dependency for item in direct if item.dependency),
        indexes=tuple(dict.fromkeys(read.indexes)),
        local=tuple(item.name for item in parsed if item.dependency is None),
        notes=tuple(read.notes),
    )


def _is_direct(via: tuple[str, ...]) -> bool:
    """Nobody is named, or a file is: `-r requirements.in`, `project (pyproject.toml)`."""
    return not via or any(
        item.startswith(("-r", "-c")) or item.endswith(")") or "/" in item or ".toml" in item
        for item in via
    )


def _lock(read: _Read, releases: list[_Parsed]) -> Lock | None:
    """Everything pinned, as a lock; None: something is not."""
    packages = [_locked(item) for item in releases]
    if not packages or None in packages:
        return None
    unique = {item.name: item for item in packages if item}
    if len(unique) < len(packages):
        read.notes.append("some names stand there several times, with markers; the last counts")
    depends: dict[str, list[str]] = {}
    for item in releases:
        for asker in item.entry.via:
            depends.setdefault(python_requirement.canonical(asker), []).append(item.name)
    read.notes.append(f"platform {ASSUMED_PLATFORM} assumed")
    return Lock(
        packages=tuple(sorted(_with_depends(item, depends) for item in unique.values())),
        platforms=(ASSUMED_PLATFORM,),
        channels=(),
        content_hash={},
        sources=(),
    )


def _with_depends(item: LockedPackage, depends: Mapping[str, list[str]]) -> LockedPackage:
    return replace(item, depends=tuple(sorted(depends.get(item.name, ()))))


def _locked(item: _Parsed) -> LockedPackage | None:
    dependency, hashes = item.dependency, item.entry.hashes
    assert dependency is not None  # noqa: S101 - releases only
    url = dependency.url or ""
    named = archive_name.parse_python(url.partition("#")[0]) if url else None
    exact = _EXACT.fullmatch(dependency.version)
    version = named.version if named else exact["version"] if exact else ""
    if not version:
        return None
    fragment = re.search(r"[#&]sha256=([0-9a-f]{64})", url)
    sha256 = [value for kind, value in hashes if kind == "sha256"]
    only = sha256[0] if len(sha256) == 1 else ""
    return LockedPackage(
        platform=ASSUMED_PLATFORM,
        name=item.name,
        manager="pip",
        version=version,
        url=url.partition("#")[0],
        sha256=fragment[1] if fragment else only,
    )
