"""`ports.Prefixes` and `ports.EnvironmentRegistry` on the filesystem."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from envforge.adapters import conda_registry, prefix_reader, prefix_writer
from envforge.adapters.locking import hold
from envforge.model.lock import LockedPackage
from envforge.model.prefix import InstallPlan, InstallRecord, PrefixContents, PrefixState


class RealPrefixes:
    """Prefixes where they are."""

    def read(self, prefix: Path) -> PrefixContents:
        """See `ports.Prefixes.read`."""
        return prefix_reader.read_prefix(prefix)

    def state(self, prefix: Path) -> PrefixState:
        """See `ports.Prefixes.state`."""
        return prefix_reader.read_state(prefix)

    def hold(self, prefix: Path, waiting: Callable[[str], None]) -> AbstractContextManager[None]:
        """See `ports.Prefixes.hold`; the lock lies in the prefix: all who see that share it."""
        return hold(prefix / "conda-meta" / prefix_reader.LOCK_NAME, waiting=waiting)

    def begin(self, prefix: Path, record: InstallRecord) -> None:
        """See `ports.Prefixes.begin`."""
        prefix_writer.write_marker(prefix, record)

    def clear(self, prefix: Path) -> None:
        """See `ports.Prefixes.clear`."""
        prefix_writer.clear_leftovers(prefix)

    def describe(
        self,
        prefix: Path,
        plan: InstallPlan,
        *,
        packages: Sequence[LockedPackage],
        variables: Mapping[str, str],
        before: Sequence[str],
        requested: Sequence[str],
    ) -> None:
        """See `ports.Prefixes.describe`."""
        prefix_writer.write_variables(prefix, variables, before)
        if not plan.is_empty:
            prefix_writer.write_history(
                prefix,
                plan,
                packages=packages,
                when=time.strftime("%Y-%m-%d %H:%M:%S"),
                requested=requested,
            )

    def finish(self, prefix: Path, record: InstallRecord) -> None:
        """See `ports.Prefixes.finish`."""
        prefix_writer.write_marker(prefix, record)

    def delete(self, prefix: Path) -> None:
        """See `ports.Prefixes.delete`."""
        prefix_writer.delete(prefix)


@dataclass(frozen=True, slots=True)
class CondaRegistry:
    """conda's list of environments, of one user."""

    home: Path

    def add(self, prefix: Path) -> None:
        """See `ports.EnvironmentRegistry.add`."""
        conda_registry.register(self.home, prefix)

    def remove(self, prefix: Path) -> None:
        """See `ports.EnvironmentRegistry.remove`."""
        conda_registry.unregister(self.home, prefix)
