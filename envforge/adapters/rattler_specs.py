"""Channels, dependencies and virtual packages in rattler's own types."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from envforge.adapters.channels import folder_of
from envforge.model.solving import Channel, CondaProblem, without_credentials
from envforge.model.spec import Constraint, Dependency, VirtualPackage

if TYPE_CHECKING:
    import rattler


def bare_names(problem: CondaProblem) -> list[rattler.MatchSpec]:
    """What makes strict priority hold for direct dependencies too.

    A gateway reads no record that a spec rules out. Where the first channel has `numpy` but
    not `numpy >=3`, it would look as if it had none, and the next channel's would be taken. A
    second spec without a range makes it read them all; `channel::` is exempt by its meaning.
    """
    from rattler import MatchSpec

    if len(problem.channels) < 2:
        return []
    restricted = (item for item in problem.dependencies if item.version or item.build)
    return [MatchSpec(item.name) for item in restricted if not item.channel]


def match_spec(item: Dependency, addresses: Mapping[str, str]) -> rattler.MatchSpec:
    """A line of environment.yml; in brackets, where every version and build can be said."""
    from rattler import MatchSpec

    parts = [f"version={quoted(exact_version(item))}"] if item.version else []
    if item.build:
        parts.append(f"build={quoted(item.build)}")
    if item.channel:
        parts.append(f"channel={quoted(addresses.get(item.channel, item.channel))}")
    return MatchSpec(f"{item.name}[{', '.join(parts)}]" if parts else item.name)


def exact_version(item: Dependency) -> str:
    """`name=1.2=build` means exactly 1.2 to conda; without a build, `=1.2` means 1.2.*."""
    single = re.fullmatch(r"=([^=<>!~*|,]+)", item.version)
    return f"=={single[1]}" if single and item.build else item.version


def constraint(item: Constraint) -> rattler.MatchSpec:
    """A range that holds if the package is there."""
    from rattler import MatchSpec

    return MatchSpec(f"{item.package}[version={quoted(item.range)}]")


def quoted(text: str) -> str:
    """A value in brackets; our grammar has no quotes inside one."""
    return f"'{text}'"


def virtual_package(item: VirtualPackage) -> rattler.GenericVirtualPackage:
    """What the target has, as rattler wants it said."""
    from rattler import GenericVirtualPackage, PackageName, Version
    from rattler.package import BuildString

    return GenericVirtualPackage(
        PackageName(item.name), Version(item.version), BuildString(item.build)
    )


def moment(text: str) -> dt.datetime:
    """`2024-03-01T23:59:59Z`, as rattler wants it said."""
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 knows no `Z`


def addresses(channels: Sequence[Channel]) -> dict[str, str]:
    """A `channel::` prefix to the address that rattler knows it by.

    `pytorch::` also means a channel that environment.yml lists by its address.
    """
    short = {item.url.removeprefix("https://conda.anaconda.org/"): item for item in channels}
    named = {
        **short,
        **{item.url: item for item in channels},
        **{item.name: item for item in channels},
    }
    return {name: read_address(item) for name, item in named.items()}


def read_address(channel: Channel) -> str:
    """The address that rattler knows a channel by, and may keep: without credentials."""
    return channel.url if is_folder(channel) else without_credentials(channel.mirror or channel.url)


def is_folder(channel: Channel) -> bool:
    """Whether a channel is read from a folder, and not over a network."""
    return folder_of(channel.mirror or channel.url) is not None


def canonical(url: str, channels: Sequence[Channel]) -> str:
    """The address a lock holds, whichever address the channel was read at.

    Of one that no channel of ours was read at (repodata may name another base, CEP 15) only what
    may be written down.
    """
    bare = without_credentials(url)
    for channel in channels:
        read = f"{read_address(channel).rstrip('/')}/"
        if bare.startswith(read):
            return f"{channel.url}/{bare.removeprefix(read)}"
    return bare
