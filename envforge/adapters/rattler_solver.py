"""py-rattler as a `ports.CondaSolver`: in process, all platforms side by side.

Folders are read through `SparseRepoData`, which takes the channel's canonical address
apart from the file it reads; everything else goes through one `Gateway` (sharded
repodata, its cache, authentication). A channel on a network that is read elsewhere than
at its canonical address is solved under the address it is read at, and mapped back.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from envforge.adapters import rattler_specs as specs
from envforge.adapters import repodata_files
from envforge.adapters.channels import folder_of
from envforge.adapters.unreachable import explain_gateway, names_an_address
from envforge.model.lock import LockedPackage
from envforge.model.machine import Platform
from envforge.model.settings import Settings
from envforge.model.solving import Channel, CondaConflict, CondaProblem, CondaSolution
from envforge.model.spec import Dependency

if TYPE_CHECKING:
    import rattler

_NO_CANDIDATES: Final = re.compile(r"[Nn]o candidates were found for ([\w.-]+)")
_SOLVE_SECONDS: Final = 300
_SHOWN: Final = 6
_PREAMBLE: Final = "Cannot solve the request because of: "


class RattlerSolver:
    """Solves with py-rattler. Keeps what it has read, so that trying again is cheap."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._gateway: rattler.Gateway | None = None
        self._folders: dict[tuple[str, str], rattler.SparseRepoData | None] = {}

    def solve(self, problems: Sequence[CondaProblem]) -> tuple[CondaSolution | CondaConflict, ...]:
        """See `ports.CondaSolver.solve`."""
        return asyncio.run(self._solve_all(problems))

    async def _solve_all(
        self, problems: Sequence[CondaProblem]
    ) -> tuple[CondaSolution | CondaConflict, ...]:
        return tuple(await asyncio.gather(*map(self._solve_one, problems)))

    async def _solve_one(self, problem: CondaProblem) -> CondaSolution | CondaConflict:
        from rattler.exceptions import GatewayError, SolverError

        sources = self._sources(problem)
        try:
            try:
                records = await self._records_for(problem, sources)
            except SolverError as error:
                return await self._conflict(problem, sources, str(error))
        except GatewayError as error:
            suspects = await self._suspects(str(error), problem)
            raise explain_gateway(str(error), suspects, self._settings) from error
        packages = (self._locked(record, problem) for record in records)
        return CondaSolution(platform=problem.platform, packages=tuple(sorted(packages)))

    async def _records_for(
        self, problem: CondaProblem, sources: list[Any]
    ) -> list[rattler.RepoDataRecord]:
        from rattler import solve

        addresses = specs.addresses(problem.channels)
        return await solve(
            sources=sources,
            specs=[
                *(specs.match_spec(item, addresses) for item in problem.dependencies),
                *specs.bare_names(problem),
            ],
            gateway=self._shared_gateway(),
            platforms=[problem.platform, "noarch"],
            virtual_packages=[specs.virtual_package(item) for item in problem.virtual_packages],
            constraints=[specs.constraint(item) for item in problem.constraints],
            locked_packages=await self._preferred(problem, sources),
            timeout=dt.timedelta(seconds=_SOLVE_SECONDS),
            channel_relations="disabled",  # what is asked for is what is searched
        )

    async def _suspects(self, message: str, problem: CondaProblem) -> Sequence[Channel]:
        """Where the message names no channel: those that fail when asked alone."""
        if names_an_address(message):
            return problem.channels
        failing = [item for item in problem.channels if await self._fails(problem, item)]
        return failing or problem.channels

    async def _fails(self, problem: CondaProblem, channel: Channel) -> bool:
        from rattler.exceptions import GatewayError

        try:
            await self._names(replace(problem, channels=(channel,)))
        except GatewayError:
            return True
        return False

    # -- where records come from ------------------------------------------------------

    def _shared_gateway(self) -> rattler.Gateway:
        if self._gateway is None:
            from rattler import Gateway, SourceConfig

            from envforge.adapters.rattler_client import make_client

            offline = self._settings.offline
            self._gateway = Gateway(
                cache_dir=self._settings.cache / "repodata",
                default_config=SourceConfig(
                    cache_action="force-cache-only" if offline else "cache-or-fetch"
                ),
                client=make_client(self._settings),
            )
        return self._gateway

    def _sources(self, problem: CondaProblem) -> list[Any]:
        """One entry a channel and subdirectory, in order of priority."""
        from rattler import Channel as RattlerChannel

        sources: list[Any] = []
        for channel in problem.channels:
            if specs.is_folder(channel):
                read = [self._folder(channel, sub) for sub in (problem.platform, "noarch")]
                sources += [item for item in read if item is not None]
            else:
                sources.append(RattlerChannel(specs.read_address(channel)))
        return sources

    def _folder(self, channel: Channel, subdir: str) -> rattler.SparseRepoData | None:
        key = (channel.url, subdir)
        if key not in self._folders:
            folder = folder_of(channel.mirror or channel.url)
            assert folder is not None  # noqa: S101 - `_is_folder` was asked
            self._folders[key] = repodata_files.open_subdir(
                channel, folder, subdir, self._settings.cache
            )
        return self._folders[key]

    async def _preferred(self, problem: CondaProblem, sources: list[Any]) -> list[Any]:
        """The channel's own records of what an old lock holds: rattler prefers only those."""
        if not problem.preferred:
            return []
        wanted = {item.filename for item in problem.preferred}
        names = sorted({item.name for item in problem.preferred})
        found = await self._all_records(problem.platform, sources, names)
        return [record for record in found if record.file_name in wanted]

    async def _all_records(
        self, platform: Platform, sources: list[Any], names: Sequence[str]
    ) -> list[Any]:
        """Every record of these names, whatever its version."""
        from rattler import MatchSpec, PackageName, SparseRepoData

        found = [
            record
            for source in sources
            if isinstance(source, SparseRepoData)
            for name in names
            for record in source.load_records(PackageName(name))
        ]
        remote = [source for source in sources if not isinstance(source, SparseRepoData)]
        if remote:
            answer = await self._shared_gateway().query(
                remote,
                [platform, "noarch"],
                [MatchSpec(name) for name in names],
                recursive=False,
                channel_relations="disabled",
            )
            found += [record for records in answer for record in records]
        return found

    # -- what came of it --------------------------------------------------------------

    def _locked(self, record: rattler.RepoDataRecord, problem: CondaProblem) -> LockedPackage:
        url = specs.canonical(record.url, problem.channels)
        md5, sha256 = record.md5, record.sha256
        if md5 is None or sha256 is None:
            md5, sha256 = repodata_files.hashes(url, md5, sha256)
        return LockedPackage(
            platform=problem.platform,
            name=record.name.normalized,
            version=str(record.version),
            build=str(record.build),
            url=url,
            sha256=sha256.hex() if sha256 else "",
            md5=md5.hex() if md5 else "",
            depends=tuple(record.depends),
            constrains=tuple(record.constrains),
            size=record.size,
        )

    async def _conflict(
        self, problem: CondaProblem, sources: list[Any], message: str
    ) -> CondaConflict:
        text = message.removeprefix(_PREAMBLE).strip()
        if "cancelled" in text:
            text = (
                f"within {_SOLVE_SECONDS} s there was neither a solution nor a contradiction;"
                " ask for fewer packages, or for exact versions"
            )
        for channel in problem.channels:
            text = text.replace(specs.read_address(channel), channel.url)
        wishes = {item.name: item for item in problem.dependencies}
        direct = {*_NO_CANDIDATES.findall(text)} & wishes.keys()
        by_channel = await self._names(problem) if direct else {}
        names = frozenset[str]().union(*by_channel.values())
        return CondaConflict(
            platform=problem.platform,
            explanation=text,
            unknown={name: _nearest(name, names) for name in sorted(direct - names)},
            available={
                name: await self._available(problem, sources, wishes[name])
                for name in sorted(direct & names)
            },
            empty_channels=tuple(url for url, found in by_channel.items() if not found),
        )

    async def _names(self, problem: CondaProblem) -> dict[str, frozenset[str]]:
        """Every package name, by the channel's address."""
        from rattler import Channel as RattlerChannel

        by_channel: dict[str, frozenset[str]] = {}
        for channel in problem.channels:
            if specs.is_folder(channel):
                read = [self._folder(channel, subdir) for subdir in (problem.platform, "noarch")]
                names = {name for item in read if item for name in item.package_names()}
            else:
                found = await self._shared_gateway().names(
                    [RattlerChannel(specs.read_address(channel))],
                    [problem.platform, "noarch"],
                    channel_relations="disabled",
                )
                names = {name.normalized for name in found}
            by_channel[channel.url] = frozenset(names)
        return by_channel

    async def _available(
        self, problem: CondaProblem, sources: list[Any], wish: Dependency
    ) -> tuple[str, ...]:
        """What there is instead: other builds of that version, else the versions around it."""
        from rattler import MatchSpec

        records = await self._all_records(problem.platform, sources, [wish.name])
        if wish.channel:
            address = specs.addresses(problem.channels).get(wish.channel, wish.channel)
            records = [record for record in records if record.url.startswith(f"{address}/")]
        if wish.build and wish.version:
            spec = MatchSpec(f"{wish.name}[version={specs.quoted(specs.exact_version(wish))}]")
            same = sorted(
                {f"{item.version} {item.build}" for item in records if spec.matches(item)}
            )
            if same:
                return tuple(same[:_SHOWN]) + (("…",) if len(same) > _SHOWN else ())
        return _around(wish.version, {record.version for record in records})


def _around(asked: str, versions: Iterable[Any]) -> tuple[str, ...]:
    """Versions on both sides of the one asked for, newest first; the newest where none was."""
    from rattler import Version

    ordered = sorted(versions, reverse=True)
    found = re.search(r"\d[\w.]*", asked)
    at = 0
    if found:
        wanted = Version(found[0].rstrip("."))
        at = sum(version > wanted for version in ordered)
    first = max(0, min(at - _SHOWN // 2, len(ordered) - _SHOWN))
    return tuple(dict.fromkeys(str(item) for item in ordered[first : first + _SHOWN]))


def _nearest(name: str, names: Iterable[str]) -> tuple[str, ...]:
    import difflib

    return tuple(difflib.get_close_matches(name, list(names), n=3, cutoff=0.75))
