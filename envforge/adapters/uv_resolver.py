"""Requirements become wheels with hashes, through `uv pip compile`.

torch and its family come from the index of one accelerator and from nowhere else; everything
else never comes from that index (dependency confusion). uv offers this only to a project: its
`explicit` index and `sources` (uv's documentation, "Using uv with PyTorch"), so each resolution
is a small pyproject.toml in a temporary folder.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from envforge.adapters.pip_settings import without_credentials
from envforge.adapters.uv import Uv, failed, network_failure, offline_failure, pylock_package
from envforge.errors import (
    EnvforgeError,
    InvalidValue,
    LockError,
    Unreachable,
    Unsolvable,
    WrongBuild,
)
from envforge.formats.python.pylock import (
    PylockPackage,
    PylockWheel,
    read_pylock,
    write_pylock,
)
from envforge.formats.python.wheel_name import (
    DEFAULT_GLIBC,
    choose_wheel,
    parse_wheel_name,
    target_tags,
)
from envforge.formats.text.quoting import toml
from envforge.model.lock import LockedPackage
from envforge.model.machine import Platform
from envforge.model.solving import WheelProblem
from envforge.solve.wheel_index import TORCH_FAMILY, disagreements

_LOG = logging.getLogger(__name__)
_PROJECT: Final = "envforge-request"
_GLIBCS: Final = (17, 28, *range(31, 41))
"""The `manylinux_2_N` targets uv knows, as `uv pip compile --help` lists them."""
_MACHINES: Final[Mapping[Platform, str]] = {"linux-64": "x86_64", "linux-aarch64": "aarch64"}
_MACOS: Final = "14.0"
_WIDER: Final = ("unsafe-first-match", "unsafe-best-match")
"""How uv merges indexes, the more careful way first (its documentation, "Package indexes")."""
_VIA = re.compile(r"^ +# +(?:via )?(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?: \(.*\))?$")
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*) ?(?:==|@)")


@dataclass(frozen=True, slots=True)
class UvResolver:
    """`ports.WheelResolver` through uv."""

    uv: Uv
    interpreter: Path
    """Any Python: uv asks it nothing that reaches the result, but does not run without one."""
    tell: Callable[[str], None] = _LOG.warning
    """Told when pip's indexes had to be merged, which trusts them all alike."""

    def resolve(self, problem: WheelProblem) -> tuple[LockedPackage, ...]:
        """See `ports.WheelResolver.resolve`; sorted by name.

        `depends` holds the names of the wheels each one brought in, without ranges: uv tells no
        more. `size` is None where the index does not say.

        Raises:
            WrongBuild: torch turned out to be for another accelerator than `problem` asks.
            InvalidValue: a requirement, or the C library, that cannot be.
        """
        for requirement in (*problem.requirements, *problem.torch_requirements):
            _check_requirement(requirement)
        try:
            packages = self._resolve_family(problem)
        except Unreachable as error:
            raise self._with_site_remedy(error, problem) from error
        return self._assert_build(packages, problem)

    def _resolve_family(self, problem: WheelProblem) -> tuple[LockedPackage, ...]:
        """Bind to the torch index also the family members that only others ask for."""
        while True:
            packages = self._resolve_once(problem)
            bound = {_name(item) for item in problem.torch_requirements}
            loose = sorted({item.name for item in packages} & TORCH_FAMILY - bound)
            if problem.torch_index is None or not loose:
                return packages
            problem = replace(problem, torch_requirements=(*problem.torch_requirements, *loose))

    def _resolve_once(self, problem: WheelProblem) -> tuple[LockedPackage, ...]:
        """Prefer the site's extra indexes, and look further only where they hold nothing fit.

        uv's default takes a package from the first index that has its name; pip merges all
        indexes, which lets a stranger's upload outbid an internal package. A partial mirror
        must not make a platform unsolvable, though, so pip's way is the last try.
        """
        try:
            return self._compile(problem, {})
        except Unsolvable as error:
            variables = self.uv.variables()
            several = variables.get("UV_INDEX") or variables.get("UV_EXTRA_INDEX_URL")
            if not several or variables.get("UV_INDEX_STRATEGY"):
                raise
            return self._widen(problem, error)

    def _widen(self, problem: WheelProblem, first: Unsolvable) -> tuple[LockedPackage, ...]:
        error = first
        for strategy in _WIDER:
            try:
                packages = self._compile(problem, {"UV_INDEX_STRATEGY": strategy})
            except Unsolvable as again:  # noqa: PERF203 - two tries, each a process
                error = again
            else:
                self.tell(
                    f"wheels for {problem.platform}: pip's extra indexes hold only a part, so all"
                    " its indexes were searched as one, as pip does"
                )
                return packages
        raise error from None

    def _compile(
        self, problem: WheelProblem, extra: Mapping[str, str]
    ) -> tuple[LockedPackage, ...]:
        variables = {**extra, "MACOSX_DEPLOYMENT_TARGET": _MACOS}
        with tempfile.TemporaryDirectory(prefix="envforge-uv-") as name:
            folder = Path(name)
            (folder / "pyproject.toml").write_text(_project(problem), encoding="utf-8")
            (folder / "constraints.txt").write_text("\n".join(problem.constraints) + "\n")
            command = _command(problem, self.interpreter)
            output = folder / "pylock.toml"
            if problem.preferred:  # uv keeps to the file it is about to replace, where it can
                output.write_text(write_pylock(map(pylock_package, problem.preferred)))
            done = self.uv.run(*command, *_pylock_format(output), cwd=folder, extra=variables)
            if done.status:
                raise _failure(done.stderr, problem) or failed(command, done)
            locked = read_pylock(output.read_text(encoding="utf-8"), output.name)
            packages = tuple(
                _locked(item, problem, folder) for item in locked if item.name != _PROJECT
            )
            return self._with_depends(packages, command, folder, variables)

    def _with_depends(
        self,
        packages: Sequence[LockedPackage],
        command: Sequence[str],
        folder: Path,
        extra: Mapping[str, str],
    ) -> tuple[LockedPackage, ...]:
        """Ask again for the annotated form, pinned and from the cache: pylock.toml has no edges."""
        pins = [f"{item.name}=={item.version}" for item in packages]
        with (folder / "constraints.txt").open("a", encoding="utf-8") as stream:
            stream.write("\n".join(pins) + "\n")
        offline = replace(self.uv, offline=True)
        done = offline.run(*command, "--no-header", cwd=folder, extra=extra)
        if done.status and not self.uv.offline:
            done = self.uv.run(*command, "--no-header", cwd=folder, extra=extra)
        if done.status:
            raise failed(command, done)
        edges = read_edges(done.stdout)
        return tuple(sorted(replace(item, depends=edges.get(item.name, ())) for item in packages))

    def _with_site_remedy(self, error: Unreachable, problem: WheelProblem) -> Unreachable:
        """Say whether the site's own index would serve, where the torch index is out of reach."""
        if problem.torch_index is None or not _under(error.url, problem.torch_index):
            return error
        remedy = "`--wheel-index URL` names another index that carries it"
        try:
            self.resolve(replace(problem, torch_index=None, requirements=(), constraints=()))
            remedy = "`--wheel-index site` takes it from what pip is configured with"
        except EnvforgeError as refusal:
            _LOG.debug("the site's index does not serve torch either: %s", refusal)
        return Unreachable(url=error.url, reason=error.reason, remedy=remedy)

    def _assert_build(
        self, packages: tuple[LockedPackage, ...], problem: WheelProblem
    ) -> tuple[LockedPackage, ...]:
        wanted = problem.accelerator
        wrong = disagreements(packages, wanted) if wanted else ()
        if not wanted or not wrong:
            return packages
        error = WrongBuild(
            platform=problem.platform,
            wanted=f"torch for {wanted}",
            found="; ".join(wrong[:4]),
            remedy=_build_remedy(problem),
        )
        labelled = _labelled(problem, wanted)
        if labelled is None:
            raise error
        try:
            again = self._resolve_family(labelled)
        except LockError:
            raise error from None
        return self._assert_build(again, labelled)


def _labelled(problem: WheelProblem, wanted: str) -> WheelProblem | None:
    """The problem with torch asked for by its label; None where it already is, or cannot be.

    A folder that holds both `2.6.0+cpu` and `2.6.0+cu126` gives the higher one for `==2.6.0`.
    """
    changed = tuple(
        f"{item}+{wanted}" if _is_plain_pin(item) else item for item in problem.torch_requirements
    )
    if changed == problem.torch_requirements:
        return None
    return replace(problem, torch_requirements=changed)


def _is_plain_pin(requirement: str) -> bool:
    specifiers = list(Requirement(requirement).specifier)
    return len(specifiers) == 1 and bool(
        specifiers[0].operator == "==" and re.fullmatch(r"[\d.]+", specifiers[0].version)
    )


def _build_remedy(problem: WheelProblem) -> str:
    if problem.torch_index is None:
        return (
            f"the site's index has no {problem.accelerator} build for {problem.platform} and"
            f" Python {problem.python}; `--wheel-index pytorch` has PyTorch's own"
        )
    return f"`{without_credentials(problem.torch_index)}` carries other builds; check its address"


def _check_requirement(text: str) -> None:
    try:
        Requirement(text)
    except InvalidRequirement as error:
        raise InvalidValue(
            what="requirement",
            value=text,
            reason="is not of the form of PEP 508",
            remedy="for example `transformers>=4.40`",
        ) from error


def _name(requirement: str) -> str:
    return str(canonicalize_name(Requirement(requirement).name))


def _project(problem: WheelProblem) -> str:
    """The pyproject.toml that says what comes from where."""
    wanted = (*problem.torch_requirements, *problem.requirements)
    lines = ["[project]", f'name = "{_PROJECT}"', 'version = "0"']
    lines += ["dependencies = ["] + [f"  {toml(item)}," for item in wanted] + ["]"]
    if problem.provided:  # a requirement that never holds takes the place of every real one
        never = [f"{name} ; python_version < '0'" for name in problem.provided]
        lines += ["[tool.uv]", "override-dependencies = ["]
        lines += [f"  {toml(item)}," for item in never] + ["]"]
    if problem.torch_index:
        sourced = [item for item in problem.torch_requirements if not Requirement(item).url]
        lines += ["[tool.uv.sources]"]
        lines += [f'{_name(item)} = {{ index = "torch" }}' for item in sourced]
        lines += ["[[tool.uv.index]]", 'name = "torch"', "explicit = true"]
        lines += [f"url = {toml(problem.torch_index)}"]
    return "\n".join(lines) + "\n"


def _command(problem: WheelProblem, interpreter: Path) -> list[str]:
    return [
        *("pip", "compile", "pyproject.toml", "--quiet", "--constraints", "constraints.txt"),
        *("--only-binary", ":all:", "--python", str(interpreter)),
        *("--python-version", problem.python),
        *("--python-platform", uv_platform(problem.platform, problem.glibc)),
        *_dated(problem),
    ]


def _dated(problem: WheelProblem) -> Iterator[str]:
    """What is newer does not count; torch's own index says no dates, and torch is pinned anyway."""
    if problem.exclude_newer is None:
        return
    yield from ("--exclude-newer", problem.exclude_newer)
    if problem.torch_index:
        for item in problem.torch_requirements:
            yield from ("--exclude-newer-package", f"{_name(item)}=false")


def _pylock_format(output: Path) -> tuple[str, ...]:
    return ("--format", "pylock.toml", "--output-file", str(output), "--no-header")


def uv_platform(platform: Platform, glibc: str | None = None) -> str:
    """The name uv has for a target: `x86_64-manylinux_2_28`.

    Raises:
        InvalidValue: the C library is older than any wheel of today serves.
    """
    if platform == "win-64":
        return "x86_64-pc-windows-msvc"
    if platform == "osx-arm64":
        return "aarch64-apple-darwin"
    version = Version(glibc or DEFAULT_GLIBC)
    fitting = [minor for minor in _GLIBCS if Version(f"2.{minor}") <= version]
    if not fitting:
        raise InvalidValue(
            what="C library",
            value=f"glibc {glibc}",
            reason="is older than 2.17, and no wheel resolver serves it",
            remedy="give the target's own version in virtual-packages.yml",
        )
    return f"{_MACHINES[platform]}-manylinux_2_{fitting[-1]}"


def _locked(package: PylockPackage, problem: WheelProblem, folder: Path) -> LockedPackage:
    """One package of uv's answer, as a lock holds it."""
    wheel = _choose(package, problem)
    if not wheel.sha256:
        raise Unsolvable(
            platform=problem.platform,
            explanation=f"`{package.name} {package.version}` has no sha256 on its index,"
            " and a lock without it would not be reproducible",
        )
    # A query may be a signature or a token, which must not reach a lock. Where the server insists
    # on it, the install says that the address was refused.
    url = re.split(r"[?#]", without_credentials(_address(wheel.url, folder)))[0]
    name = parse_wheel_name(_filename(wheel.url))
    return LockedPackage(
        platform=problem.platform,
        name=package.name,
        manager="pip",
        version=package.version or str(name.version),
        url=url,
        sha256=wheel.sha256,
        size=wheel.size if wheel.size is not None else _size_on_disk(url),
    )


def _choose(package: PylockPackage, problem: WheelProblem) -> PylockWheel:
    by_name = {_filename(item.url): item for item in package.wheels}
    order = target_tags(problem.platform, problem.python, problem.glibc)
    chosen = choose_wheel(tuple(by_name), order)
    if chosen is None:
        raise Unsolvable(
            platform=problem.platform,
            explanation=f"`{package.name} {package.version}` has no wheel for"
            f" Python {problem.python} on {problem.platform}: {', '.join(sorted(by_name))}",
        )
    return by_name[chosen]


def _filename(url: str) -> str:
    return unquote(urlsplit(url).path.rpartition("/")[2])


def _address(url: str, folder: Path) -> str:
    """pylock.toml may give a path, relative to itself."""
    return url if "://" in url else (folder / url).resolve().as_uri()


def _size_on_disk(url: str) -> int | None:
    if not url.startswith("file:"):
        return None
    path = Path(unquote(urlsplit(url).path))
    return path.stat().st_size if path.is_file() else None


def read_edges(text: str) -> dict[str, tuple[str, ...]]:
    """What each wheel brought in, from the `# via` notes of uv's requirements format."""
    edges: dict[str, set[str]] = {}
    for child, parent in _pairs(text.splitlines()):
        edges.setdefault(parent, set()).add(child)
    edges.pop(_PROJECT, None)
    return {parent: tuple(sorted(children)) for parent, children in edges.items()}


def _pairs(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    child = ""
    for line in lines:
        if found := _PIN.match(line):
            child = canonicalize_name(found["name"])
        elif (found := _VIA.match(line)) and found["name"] != "via":
            yield child, canonicalize_name(found["name"])


def _under(url: str, index: str) -> bool:
    return url.rstrip("/").startswith(without_credentials(index).rstrip("/"))


def _failure(stderr: str, problem: WheelProblem) -> EnvforgeError | None:
    known = network_failure(stderr)
    if known is not None or "No solution found" not in stderr:
        return known
    missing = re.search(r"Because (\S+) was not found in the cache", stderr)
    if missing:
        return offline_failure(missing[1])
    return Unsolvable(platform=problem.platform, explanation=explain(stderr))


def explain(stderr: str) -> str:
    """The explanation uv gave, shortened to what a person can act on."""
    text = stderr.partition("cause:")[2] or stderr
    body, *hints = re.split(r"\n\s*hint: ", text)
    body = re.sub(rf"(?:{_PROJECT} depends on|you require)", "you ask for", body)
    body = re.sub(r",? we can conclude that your requirements are unsatisfiable\.", ".", body)
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    if len(lines) > 12:
        lines = [*lines[:2], "…", *lines[-8:]]
    # Wheels only is our choice: what can be done about it is another version, not this switch.
    lines += [" ".join(hint.split()) for hint in hints if "--no-build" not in hint]
    return "\n".join(lines)
