"""conda-lock behind `ports.CondaSolver`: the second engine answers the same questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from envforge.adapters.conda_lock_engine import CondaLockEngine
from envforge.errors import Unsolvable
from envforge.model.lock import LockedPackage
from envforge.model.solving import CondaConflict, CondaProblem, CondaSolution
from envforge.model.spec import Constraint, Dependency, EnvironmentSpec


@dataclass(frozen=True, slots=True)
class CondaLockSolver:
    """Solves by running conda-lock. conda has no constraints, so broken ones become dependencies.

    `preferred`, `held` and `exclude_newer` of a problem are not honoured: conda-lock solves from
    nothing, and from all there is.
    """

    engine: CondaLockEngine

    def solve(self, problems: Sequence[CondaProblem]) -> tuple[CondaSolution | CondaConflict, ...]:
        """See `ports.CondaSolver.solve`; all platforms in one run, one after the other."""
        try:
            packages = self._lock(problems, ())
            broken = tuple(_broken(problems, packages))
            if broken:
                packages = self._lock(problems, broken)
        except Unsolvable as error:
            return tuple(
                CondaConflict(platform=problem.platform, explanation=error.explanation)
                for problem in problems
            )
        return tuple(
            CondaSolution(
                platform=problem.platform,
                packages=tuple(item for item in packages if item.platform == problem.platform),
            )
            for problem in problems
        )

    def _lock(
        self, problems: Sequence[CondaProblem], broken: Sequence[Constraint]
    ) -> tuple[LockedPackage, ...]:
        first = problems[0]
        extra = tuple(Dependency(name=item.package, version=item.range) for item in broken)
        spec = EnvironmentSpec(
            name="envforge",
            channels=tuple(channel.name for channel in first.channels),
            dependencies=(*first.dependencies, *extra),
            platforms=tuple(problem.platform for problem in problems),
        )
        virtual = {problem.platform: problem.virtual_packages for problem in problems}
        return self.engine.lock(spec, virtual, first.channels)


def _broken(
    problems: Sequence[CondaProblem], packages: Sequence[LockedPackage]
) -> Iterator[Constraint]:
    """Constraints that the solution does not keep."""
    from rattler import Version, VersionSpec

    for constraint in problems[0].constraints:
        allowed = VersionSpec(constraint.range)
        found = [item for item in packages if item.name == constraint.package]
        if not all(allowed.matches(Version(item.version)) for item in found):
            yield constraint
