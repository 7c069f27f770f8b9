"""py-rattler as a `ports.CondaSolver`: in process, all platforms side by side.

Folders are read through `SparseRepoData`, which takes the channel's canonical address
apart from the file it reads; everything else goes through one `Gateway` (sharded
repodata, its cache, authentication). A channel on a network that is read elsewhere than
at its canonical address is solved under the address it is read at, and mapped back; its
credentials are the client's business.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Literal

from envforge.adapters import patience, repodata_files
from envforge.adapters import rattler_specs as specs
from envforge.adapters.channels import folder_of, routes
from envforge.adapters.unreachable import explain_gateway, names_an_address
from envforge.model.lock import LockedPackage
from envforge.model.settings import Settings
from envforge.model.solving import Channel, CondaConflict, CondaProblem, CondaSolution
from envforge.model.spec import Dependency

if TYPE_CHECKING:
    import rattler

_LOG = logging.getLogger(__name__)
_NO_CANDIDATES: Final = re.compile(r"[Nn]o candidates were found for ([\w.-]+)")
_SOLVE_SECONDS: Final = 300
_SHOWN: Final = 6
_PREAMBLE: Final = "Cannot solve the request because of: "


class RattlerSolver:
    """Solves with py-rattler. Keeps what it has read, so that trying again is cheap."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._gateways: dict[tuple[Any, ...], rattler.Gateway] = {}
        self._folders: dict[tuple[str, str], rattler.SparseRepoData | None] = {}
        self._old: dict[tuple[LockedPackage, tuple[Channel, ...]], rattler.RepoDataRecord | None]
        self._old = {}

    def solve(self, problems: Sequence[CondaProblem]) -> tuple[CondaSolution | CondaConflict, ...]:
        """See `ports.CondaSolver.solve`."""
        return asyncio.run(self._solve_all(problems))

    def known(
        self, problem: CondaProblem, packages: Sequence[LockedPackage]
    ) -> tuple[LockedPackage, ...]:
        """The channels' own records of packages: what a list without them leaves out.

        Raises:
            Unreachable: a channel cannot be read.
        """
        sources = self._sources(problem)
        records = asyncio.run(
            self._told(problem, lambda: self._records_of(packages, problem, sources))
        )
        return tuple(self._locked(record, problem) for record in records)

    def versions(self, problem: CondaProblem, names: Sequence[str]) -> dict[str, frozenset[str]]:
        """Every version that the channels have of these packages; none of an unknown name.

        Raises:
            Unreachable: a channel cannot be read.
        """
        found: dict[str, set[str]] = {name: set() for name in names}
        sources = self._sources(problem)
        reading = self._told(problem, lambda: self._all_records(problem, sources, names))
        for record in asyncio.run(reading):
            found[record.name.normalized].add(str(record.version))
        return {name: frozenset(versions) for name, versions in found.items()}

    def same_bytes(
        self, problem: CondaProblem, packages: Sequence[LockedPackage]
    ) -> tuple[tuple[LockedPackage, str], ...]:
        """Where the channels have archives of the same hash, whatever they are called.

        Raises:
            Unreachable: a channel cannot be read.
        """
        sources = self._sources(problem)
        names = sorted({item.name for item in packages})
        reading = self._told(problem, lambda: self._all_records(problem, sources, names))
        by_hash = {record.sha256.hex(): record for record in asyncio.run(reading) if record.sha256}
        found = ((item, by_hash.get(item.sha256)) for item in packages)
        return tuple(
            (item, specs.canonical(record.url, problem.channels))
            for item, record in found
            if record is not None
        )

    async def _told(
        self, problem: CondaProblem, reading: Callable[[], Awaitable[list[Any]]]
    ) -> list[Any]:
        """What is read, in several attempts; a channel that cannot be is named in our words."""
        from rattler.exceptions import GatewayError

        for attempt in count(1):
            try:
                return await reading()
            except GatewayError as error:  # noqa: PERF203 - few tries, each a download
                message = str(error)
                pause = await asyncio.to_thread(patience.pause, message, attempt, self._settings)
                if pause is None:
                    suspects = await self._suspects(message, problem)
                    raise explain_gateway(message, suspects, self._settings) from None
                _LOG.debug("a channel is asked again in %g s", pause)
                await asyncio.sleep(pause)
        raise AssertionError  # the loop returns or raises

    async def _solve_all(
        self, problems: Sequence[CondaProblem]
    ) -> tuple[CondaSolution | CondaConflict, ...]:
        return tuple(await asyncio.gather(*map(self._solve_one, problems)))

    async def _solve_one(self, problem: CondaProblem) -> CondaSolution | CondaConflict:
        from rattler.exceptions import GatewayError, SolverError

        sources = self._sources(problem)
        try:
            records = await self._told(problem, lambda: self._records_for(problem, sources))
        except SolverError as error:
            message = str(error)
        else:
            return self._solution(problem, records)
        try:
            return await self._conflict(problem, sources, message)
        except GatewayError as error:
            suspects = await self._suspects(str(error), problem)
            raise explain_gateway(str(error), suspects, self._settings) from None

    def _solution(
        self, problem: CondaProblem, records: Sequence[rattler.RepoDataRecord]
    ) -> CondaSolution:
        packages = (self._locked(record, problem) for record in records)
        return CondaSolution(
            platform=problem.platform,
            packages=tuple(sorted(packages)),
            undated=_undated(records) if problem.exclude_newer else (),
        )

    async def _records_for(
        self, problem: CondaProblem, sources: list[Any]
    ) -> list[rattler.RepoDataRecord]:
        """Where a date is asked for, packages of unknown age only if nothing else fits."""
        from rattler.exceptions import SolverError

        if problem.exclude_newer:
            try:
                return await self._ask(problem, sources, "require-timestamp")
            except SolverError as error:
                _LOG.debug("with dated packages alone: %s", error)
        return await self._ask(problem, sources, "allow-missing")

    async def _ask(
        self,
        problem: CondaProblem,
        sources: list[Any],
        undated: Literal["require-timestamp", "allow-missing"],
    ) -> list[rattler.RepoDataRecord]:
        from rattler import solve

        addresses = specs.addresses(problem.channels)
        return await solve(
            sources=sources,
            specs=[
                *(specs.match_spec(item, addresses) for item in problem.dependencies),
                *specs.bare_names(problem),
            ],
            gateway=self._gateway(problem),
            platforms=[problem.platform, "noarch"],
            virtual_packages=[specs.virtual_package(item) for item in problem.virtual_packages],
            constraints=[specs.constraint(item) for item in problem.constraints],
            locked_packages=await self._records_of(problem.preferred, problem, sources),
            pinned_packages=await self._records_of(problem.held, problem, sources),
            exclude_newer=specs.moment(problem.exclude_newer) if problem.exclude_newer else None,
            timestamp_policy=undated,
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

    def _gateway(self, problem: CondaProblem) -> rattler.Gateway:
        """One for all problems whose channels are read in the same ways."""
        ways = routes(problem.channels)
        key = tuple(sorted(ways.items()))
        if key not in self._gateways:
            from rattler import Gateway, SourceConfig

            from envforge.adapters.rattler_client import make_client

            offline = self._settings.offline
            self._gateways[key] = Gateway(
                cache_dir=self._settings.cache / "repodata",
                default_config=SourceConfig(
                    cache_action="force-cache-only" if offline else "cache-or-fetch"
                ),
                client=make_client(self._settings, ways),
            )
        return self._gateways[key]

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

    async def _records_of(
        self, packages: Sequence[LockedPackage], problem: CondaProblem, sources: list[Any]
    ) -> list[rattler.RepoDataRecord]:
        """The channel's own records of what an old lock holds: rattler takes only those."""
        at = problem.channels
        new = [item for item in packages if (item, at) not in self._old]
        if new:
            names = sorted({item.name for item in new})
            every = await self._all_records(problem, sources, names)
            found = {_without_ending(record.file_name): record for record in reversed(every)}
            for item in new:
                self._old[item, at] = found.get(_without_ending(item.filename))
        known = (self._old[item, at] for item in packages)
        return [record for record in known if record is not None]

    async def _all_records(
        self, problem: CondaProblem, sources: list[Any], names: Sequence[str]
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
            answer = await self._gateway(problem).query(
                remote,
                [problem.platform, "noarch"],
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
                found = await self._gateway(problem).names(
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

        records = await self._all_records(problem, sources, [wish.name])
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


def _without_ending(file_name: str) -> str:
    """A channel lists one build as `.conda` or `.tar.bz2`, and may have listed the other."""
    return file_name.removesuffix(".conda").removesuffix(".tar.bz2")


def _undated(records: Iterable[rattler.RepoDataRecord]) -> tuple[str, ...]:
    return tuple(sorted(item.name.normalized for item in records if item.timestamp is None))


def _nearest(name: str, names: Iterable[str]) -> tuple[str, ...]:
    import difflib

    return tuple(difflib.get_close_matches(name, list(names), n=3, cutoff=0.75))
