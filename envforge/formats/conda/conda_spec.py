"""One dependency as a person writes it, for conda and for pip.

The grammar is the part of conda's MatchSpec that conda, conda-lock, micromamba and rattler
read alike: `channel::name`, then a version (`=1.26`, `==1.26.4`, `>=1,<2`, `1.2.*`), then a
build (`=py310_0`, `*cuda126*`). Regular expressions, parentheses, subdirs and hashes are
left out, because at least one of them reads each of these differently or not at all.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NoReturn

from envforge.errors import InvalidValue
from envforge.model.spec import Dependency

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_-])?")
_CHANNEL: Final = re.compile(
    r"[A-Za-z0-9_.][A-Za-z0-9_./-]*|(?:https?|file)://[A-Za-z0-9_.~%:/${}@+-]+"
)
_SUBDIR: Final = re.compile(r"(?:^|/)(?:noarch|(?:linux|osx|win|freebsd|emscripten|wasi)-\w+)/?$")
_ONLY_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_NAME_END: Final = re.compile(r"[\s\[\]<>=!~,|]|$")
_CLAUSE: Final = re.compile(
    r"(?P<operator>~=|==|!=|<=|>=|=|<|>)?"
    r"(?P<version>\*|(?:\d+!)?[A-Za-z0-9][A-Za-z0-9._+-]*?(?P<star>\.?\*)?)"
)
_OPERATORS: Final = re.compile(r"[<>=!~^]+")
_BUILD: Final = re.compile(r"[A-Za-z0-9_.+*]+")
_TRAILING_BUILD: Final = re.compile(
    r"(?P<version>.*[^\s=!|,<>~])(?:\s+=?|=)(?P<build>[^\s=,|<>!~-]+)"
)
_BRACKET_FIELD: Final = re.compile(
    r"\s*(?P<key>[a-z_0-9]+)\s*=\s*(?:'(?P<single>[^']*)'|\"(?P<double>[^\"]*)\"|(?P<bare>[^\s,'\"]*))\s*(?:,|$)"
)
EXAMPLES: Final = (
    "for example `numpy`, `numpy=1.26`, `numpy>=1.26,<2` or `pytorch::pytorch=2.1`",
    "for example `torch==2.1.0`, `datasets[audio]>=2` or `name @ address`",
)
"""Remedies of mistakes that have none of their own: conda's forms, and pip's."""


def parse(text: str) -> Dependency:
    """Read a conda spec: `transformers>=4.40`, `pytorch::pytorch=2.0.1=*cuda*`, `datasets[audio]`.

    Args:
        text: one spec. `name[version=…,build=…,channel=…]` is read too, and so are extras,
            which only mean something where the package becomes a wheel.

    Raises:
        InvalidValue: saying what is wrong with it.
    """
    if not text.strip():
        _refuse(text, "is empty")
    _check_characters(text)
    _refuse_several(text)
    head, separator, tail = text.strip().partition("::")
    channel = _checked_channel(text, head) if separator else None
    name, rest = _split_at_name(tail if separator else head)
    _check_name(text, name)
    rest, brackets = _split_brackets(text, rest)
    fields, extras = _bracket_fields(text, brackets)
    version, build = _version_and_build(text, rest)
    if "version" in fields:
        version = _loose(_checked_version(text, "".join(fields["version"].split())))
    if "build" in fields:
        build = fields["build"]
        _check_build(text, build)
    return Dependency(
        name=name.lower(),
        version=version,
        build=build,
        channel=_checked_channel(text, fields.get("channel")) or channel,
        extras=extras,
    )


def _refuse_several(text: str) -> None:
    """`numpy pandas` would be read as a version of numpy: none begins with a name like that."""
    words = [word for word in re.split(r"[\s,]+", text.strip()) if word]
    if len(words) > 1 and all(_ONLY_NAME.fullmatch(word) for word in words):
        each = " and ".join(f"`{word}`" for word in words)
        _refuse(text, "names several packages", remedy=f"give each its own: {each}")


def parse_line(text: str) -> Dependency:
    """Read a spec that stands under `dependencies:`, where every tool has to read the same.

    Raises:
        InvalidValue: also for extras, and for brackets where the plain form exists: conda-lock
            reads `name[version='=1.2']` as another version than `name=1.2`.
    """
    dependency = parse(text)
    if dependency.extras:
        _refuse(
            text,
            "has extras, which conda packages do not have",
            remedy="name the packages that the extra stands for, or list it under `pip:`",
        )
    if "[" in text:
        _refuse(
            text,
            "has brackets, which not every tool reads alike",
            remedy=f"write `{format_conda(dependency)}`",
        )
    return dependency


def format_conda(dependency: Dependency) -> str:
    """The spec as it stands in environment.yml; `parse` reads it again."""
    prefix = f"{dependency.channel}::" if dependency.channel else ""
    return prefix + dependency.name + version_text(dependency.version, dependency.build)


def version_text(version: str, build: str = "") -> str:
    """What follows the name: `=2.0.1=*cuda*`, `>=1,<2`, ` 1.2 py310_0`, or nothing."""
    if not version:
        return f"=*={build}" if build else ""
    single = re.fullmatch(r"={1,2}[^=<>!~,|]+", version)
    if build:
        return f"{version}={build}" if single else f" {version} {build}"
    return version if version[0] in "=<>!~" else f" {version}"


@lru_cache(maxsize=16384)  # the packages of one lock name each other again and again
def split_depends(spec: str) -> tuple[str, str]:
    """Split a package's own dependency, as repodata writes it, into name and the rest.

    Lenient where `parse` is strict: `python>=3.8`, `numpy >= 1.19` and `blas * openblas` all
    stand in published packages. The rest is `version` or `version build`, with single spaces.
    """
    name, rest = _split_name(spec.strip())
    rest = re.sub(r"\s*([,|])\s*", r"\1", rest)
    rest = re.sub(r"([<>=!~]=?)\s+", r"\1", rest)
    return name, " ".join(rest.split())


def _split_name(spec: str) -> tuple[str, str]:
    head, _, brackets = spec.partition("[")
    if brackets:
        fields, _ = _bracket_fields(spec, brackets.rstrip("] "))
        rest = f"{fields.get('version', '*')} {fields.get('build', '')}" if fields else ""
        return head.rpartition("::")[2].strip(), rest.strip()
    found = re.match(r"(?:[^\s]*::)?(?P<name>[^\s<>=!~]+)", spec)
    return (found["name"], spec[found.end() :].strip()) if found else (spec, "")


def conda_version(version: str, build: str = "") -> str:
    """The version as conda understands it: `=1.26` is `1.26.*`, `==1.26.4` is `1.26.4`.

    This is the form that conda-lock hashes (conda, `MatchSpec` and `VersionSpec`). Given a
    build, conda takes `=1.26` for the exact version.
    """
    if version.startswith("==") and not build:
        version = version[2:]
    elif version.startswith("=") and not re.search(r"[=,|]", version[1:]):
        version = version[1:]
        if not build and not version.endswith("*"):
            version += "*"
    return re.sub(r"[^,|]+", lambda clause: _with_dotted_star(clause[0]), version)


def _with_dotted_star(clause: str) -> str:
    if clause[0] in "=<>!~" or clause == "*" or not clause.endswith("*") or clause.endswith(".*"):
        return clause
    return clause[:-1] + ".*"


def is_exact(dependency: Dependency) -> bool:
    """Whether the line names one version: `=2.0.1`, `==2.0.1` or ` 2.0.1`, without a star.

    `=2.0` counts: what a person wrote cannot be told from what was written back.
    """
    return bool(re.fullmatch(r"(?:===|==|=)?[^=<>!~,|*]+", dependency.version))


def parse_pip(text: str) -> Dependency:
    """Read a line under `pip:`, a PEP 508 requirement; `name @ url#sha256=…` for one wheel.

    Raises:
        InvalidValue: saying what is wrong, also for what cannot be locked: options (`-e`, `-r`),
            hashes behind the line, and source repositories.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    stripped = text.strip()
    _check_lockable(text, stripped)
    try:
        requirement = Requirement(stripped)
    except InvalidRequirement as error:
        _refuse(text, _pip_reason(stripped, str(error)), what="requirement")
    return _from_requirement(text, requirement)


def _check_lockable(text: str, stripped: str) -> None:
    reasons = (
        (not stripped, "is empty"),
        (stripped.startswith(("-e", "--editable")), "is editable, and a lock cannot hold that"),
        (stripped.startswith("-"), "is an option of pip, and a lock cannot hold that"),
        (" --hash" in stripped, "carries a hash, which belongs into the lock"),
        (
            re.match(r"(?:[a-z+]+://|git@|[./])", stripped) is not None,
            "has no name: write `name @ address`",
        ),
        (re.search(r"@\s*(?:git|hg|svn|bzr)\+", stripped) is not None, "is no wheel"),
        ("\n" in stripped, "holds a line break"),
    )
    for is_wrong, reason in reasons:
        if is_wrong:
            _refuse(text, reason, what="requirement")


def _pip_reason(stripped: str, message: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9._\[\]-]+\s*=\s*[0-9][^=<>]*", stripped):
        return "has one `=`: pip wants `==`"
    return "is no PEP 508 requirement: " + message.splitlines()[0].lower().rstrip(".")


def _from_requirement(text: str, requirement: Requirement) -> Dependency:
    from packaging.utils import canonicalize_name

    if requirement.url and not re.match(r"(?:https?|file):", requirement.url):
        _refuse(text, f"points to `{requirement.url}`, which is no address", what="requirement")
    return Dependency(
        name=canonicalize_name(requirement.name),
        version=str(requirement.specifier),
        manager="pip",
        extras=tuple(sorted(requirement.extras)),
        url=requirement.url,
        marker=text.rpartition(";")[2].strip() if requirement.marker else "",
    )


def format_pip(dependency: Dependency) -> str:
    """The requirement as it stands under `pip:`; `parse_pip` reads it again."""
    extras = f"[{','.join(dependency.extras)}]" if dependency.extras else ""
    if dependency.url:
        marker = f" ; {dependency.marker}" if dependency.marker else ""
        return f"{dependency.name}{extras} @ {dependency.url}{marker}"
    marker = f"; {dependency.marker}" if dependency.marker else ""
    return f"{dependency.name}{extras}{dependency.version}{marker}"


def format_dependency(dependency: Dependency) -> str:
    """The line of environment.yml, for either manager."""
    return format_pip(dependency) if dependency.manager == "pip" else format_conda(dependency)


def as_pip(dependency: Dependency) -> Dependency:
    """The same wish for pip: `=1.26` becomes `==1.26.*`, `==1.26.4` stays; builds are dropped.

    Raises:
        InvalidValue: for `|`, which pip does not have.
    """
    if "|" in dependency.version:
        _refuse(format_conda(dependency), "has alternatives (`|`), which pip does not know")
    clauses = [_pip_clause(clause) for clause in dependency.version.split(",") if clause]
    version = ",".join(sorted(clause for clause in clauses if clause))
    return replace(dependency, version=version, build="", channel=None, manager="pip")


def _pip_clause(clause: str) -> str:
    version = clause.lstrip("<>=!~")
    operator = clause.removesuffix(version)
    if version == "*":
        return ""
    if version.endswith("*"):
        return f"{'!=' if operator == '!=' else '=='}{version.rstrip('*').rstrip('.')}.*"
    return f"=={version}.*" if operator == "=" else f"{operator or '=='}{version}"


def _check_characters(text: str) -> None:
    bad = re.search(r"[^A-Za-z0-9_.:/\[\]<>=!~,|*+' \"@%$^{}()-]|[()^{}$@%](?!.*::)", text)
    if bad:
        char = bad[0]
        shown = "a line break" if char in "\r\n" else f"{char!r}"
        _refuse(text, f"holds {shown}, which has no meaning in it")


def _split_at_name(text: str) -> tuple[str, str]:
    end = next(_NAME_END.finditer(text)).start()
    return text[:end], text[end:]


def _check_name(text: str, name: str) -> None:
    if not name:
        _refuse(text, "has no package name")
    if not _NAME.fullmatch(name):
        char = next((c for c in name if not re.fullmatch(r"[A-Za-z0-9_.-]", c)), name[-1])
        _refuse(text, f"has the package name `{name}`, in which {char!r} cannot stand there")


def _checked_channel(text: str, channel: str | None) -> str | None:
    if channel is None:
        return None
    if not _CHANNEL.fullmatch(channel):
        _refuse(text, f"has the channel `{channel}`, which is neither a name nor an address")
    if _SUBDIR.search(channel):
        _refuse(text, "names a platform's folder; the platform decides that")
    return channel.rstrip("/")


def _split_brackets(text: str, rest: str) -> tuple[str, str]:
    """Take `[…]` off; it stands behind the name or at the end."""
    if "[" not in rest and "]" not in rest:
        return rest, ""
    found = re.fullmatch(r"(?P<before>[^\[\]]*)\[(?P<inside>[^\[\]]*)\](?P<after>[^\[\]]*)", rest)
    if not found or (found["before"].strip() and found["after"].strip()):
        _refuse(text, "has brackets that do not pair, or more than one pair")
    return f"{found['before']} {found['after']}".strip(), found["inside"]


def _bracket_fields(text: str, inside: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The fields of `[version='>=2',build=x]`, or the extras of `[audio,vision]`."""
    if "=" not in inside:
        return {}, _extras(text, inside)
    fields: dict[str, str] = {}
    at = 0
    while at < len(inside):
        found = _BRACKET_FIELD.match(inside, at)
        if not found or found.end() == at:
            _refuse(text, "has brackets that are not of the form `[version='>=2',build=x]`")
        fields[found["key"]] = found["single"] or found["double"] or found["bare"] or ""
        at = found.end()
    for key, value in fields.items():
        if key not in ("version", "build", "channel"):
            _refuse(text, f"asks for `{key}`; only version, build and channel can be asked for")
        if not value:
            _refuse(text, f"has an empty `{key}` in its brackets")
    return fields, ()


def _extras(text: str, inside: str) -> tuple[str, ...]:
    extras = tuple(sorted(part.strip() for part in inside.split(",") if part.strip()))
    for extra in extras:
        if not _NAME.fullmatch(extra):
            _refuse(text, f"has the extra `{extra}`, which is no name")
    return extras


def _loose(version: str) -> str:
    """Conda reads `[version='=1.2',build=x]` as 1.2.*, but `=1.2=x` as exactly 1.2."""
    single = re.fullmatch(r"=([^=,|*]+)", version)
    return f"{single[1]}.*" if single else version


def _version_and_build(text: str, rest: str) -> tuple[str, str]:
    rest = re.sub(r"\s*([,|])\s*", r"\1", rest.strip())
    rest = re.sub(r"([<>=!~]+)\s+", r"\1", rest)
    if not rest:
        return "", ""
    found = _TRAILING_BUILD.fullmatch(rest)
    version, build = (found["version"], found["build"]) if found else (rest, "")
    if re.search(r"\s", version):
        _refuse(text, "has more than a version and a build behind the name")
    if build:
        _check_build(text, build)
    return _checked_version(text, version), build


def _check_build(text: str, build: str) -> None:
    if not _BUILD.fullmatch(build):
        _refuse(text, f"has the build `{build}`, and may hold letters, digits, `_`, `.`, `+`, `*`")


def _checked_version(text: str, version: str) -> str:
    for clause in re.split(r"[,|]", version):
        if not clause:
            _refuse(text, "has a comma or a `|` with nothing before or behind it")
        found = _CLAUSE.fullmatch(clause)
        if not found:
            _refuse(text, _clause_reason(clause))
        if found["star"] and found["operator"] in ("<", ">", "<=", ">=", "~="):
            _refuse(text, f"has `*` behind `{found['operator']}`, where it has no meaning")
    return version


def _clause_reason(clause: str) -> str:
    operator = _OPERATORS.match(clause)
    known = ("~=", "==", "!=", "<=", ">=", "=", "<", ">")
    if operator and operator[0] in known and operator.end() == len(clause):
        return f"has no version behind `{clause}`"
    if operator and operator[0] not in known:
        meant = {"=>": ">=", "=<": "<=", "<>": "!=", "!": "!=", "~": "~=", "===": "=="}
        better = meant.get(operator[0])
        hint = f"; did you mean `{better}`?" if better else ""
        return f"has the operator `{operator[0]}`, which conda does not know{hint}"
    return f"has `{clause}` where a version should be"


def _refuse(
    text: str, reason: str, *, remedy: str | None = None, what: str = "package spec"
) -> NoReturn:
    example = EXAMPLES[0 if what == "package spec" else 1]
    raise InvalidValue(what=what, value=text, reason=reason, remedy=remedy or example)
