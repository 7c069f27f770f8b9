"""`verify`: gathers the facts about an environment and has them judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from envforge.adapters import check_plugins
from envforge.adapters.activation_scripts import run_environment
from envforge.adapters.environments import CONDA_LOCK_YML
from envforge.adapters.host_facts import host_facts
from envforge.adapters.prefix_facts import read_prefix
from envforge.adapters.prefix_reader import read_state
from envforge.adapters.python_probe import PythonProbe
from envforge.errors import EnvforgeError, InvalidValue, NoSuchEnvironment, StaleLock
from envforge.forge import folders, locating
from envforge.forge.workplace import Workplace, this_platform
from envforge.formats import environment_yml
from envforge.model.finding import Level, Outcome, Report
from envforge.verify import registry
from envforge.verify import verify as judging
from envforge.verify.check import Check
from envforge.verify.facts import Layer, PrefixFacts, ProbeFacts, Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """How to look: what `verify` was told on its command line."""

    level: Level | None = None
    only: Sequence[str] = ()
    skip: Sequence[str] = ()
    require_gpu: bool = False
    timeout: float = 300.0


def checks() -> Mapping[str, Check]:
    """The table, plug-ins included."""
    return check_plugins.all_checks()


def verify(
    workplace: Workplace, env: str | None, *, prefix: Path | None, looking: Looking
) -> tuple[Report, ...]:
    """One environment, or all that are installed.

    Raises:
        NoSuchEnvironment: `env` is not known, or None and nothing is installed.
    """
    registry.chosen(checks(), only=looking.only, skip=looking.skip)  # a slip is told at once
    if env is not None:
        return (verify_one(workplace, workplace.environments.locate(env), prefix, looking),)
    if prefix is not None:
        raise InvalidValue(
            what="prefix",
            value=str(prefix),
            reason="is that of one environment, and none was named",
            remedy="`envforge verify ENV --prefix PATH`",
        )
    installed = [
        name
        for name in workplace.environments.names()
        if locating.find_prefix(workplace, workplace.environments.folder(name)) is not None
    ]
    if not installed:
        raise NoSuchEnvironment(name="", searched=str(workplace.settings.envs_folder))
    return tuple(
        _verify_or_say_why_not(workplace, workplace.environments.folder(name), looking)
        for name in installed
    )


def _verify_or_say_why_not(workplace: Workplace, folder: Path, looking: Looking) -> Report:
    """One of several: what cannot be judged is a problem of its own, and the others go on."""
    try:
        return verify_one(workplace, folder, None, looking)
    except EnvforgeError as error:
        return Report(
            subject=folder.name,
            prefix=str(locating.find_prefix(workplace, folder) or ""),
            level=looking.level or "static",
            outcomes=(
                Outcome(
                    check="environment-readable",
                    claim="The environment can be judged at all",
                    verdict="crashed",
                    detail=str(error),
                ),
            ),
        )


def verify_one(workplace: Workplace, folder: Path, prefix: Path | None, looking: Looking) -> Report:
    """Gather and judge.

    Raises:
        InvalidFile: the lock cannot be read.
        StaleLock: there is none, and without it no claim to check.
        InvalidValue: a check that does not exist.
    """
    if not (folder / CONDA_LOCK_YML).exists():
        raise StaleLock(
            path=str(folder / CONDA_LOCK_YML),
            reasons=("it does not exist, so there is no claim to check",),
            remedy=f"`envforge lock {folder.name}`",
        )
    with workplace.reporter.step(f"verifying {folder.name}"):
        subject = _subject(workplace, folder, prefix, looking)
        return judging.report(subject, only=looking.only, skip=looking.skip, checks=checks())


def _subject(workplace: Workplace, folder: Path, prefix: Path | None, looking: Looking) -> Subject:
    environment = workplace.settings.environment
    host = host_facts(workplace.live_probe.driver, environment)
    lock = folders.read_lock(workplace, folder)
    target = lock.target if lock else None
    level = looking.level or judging.possible_level(host, target)
    platform = this_platform()
    place = locating.prefix_of(workplace, folder, prefix)
    missing: dict[Layer, str] = {}
    if lock is None:
        missing["lock"] = "there is no conda-lock.yml"
    facts = read_prefix(
        place,
        state=read_state(place),
        environment=environment,
        every_file=level != "static",
    )
    return Subject(
        name=folder.name,
        level=level,
        require_gpu=looking.require_gpu,
        platform=platform,
        folder=folder.name,
        declared_name=_declared_name(workplace, folder),
        target=target,
        locked=lock.for_platform(platform) if lock else None,
        host=host,
        prefix=facts,
        probe=_probe_facts(workplace, facts, level, looking.timeout, missing),
        missing=missing,
    )


def _declared_name(workplace: Workplace, folder: Path) -> str | None:
    text = workplace.environments.read(folder, "environment.yml")
    if text is None:
        return None
    return environment_yml.read(text, str(folder / "environment.yml")).spec.name


def _probe_facts(
    workplace: Workplace,
    facts: PrefixFacts,
    level: Level,
    timeout: float,
    missing: dict[Layer, str],
) -> ProbeFacts | None:
    if level == "static":
        missing["probe"] = "level static starts no interpreter"
    elif facts.interpreter is None:
        missing["probe"] = f"there is no interpreter in {facts.prefix}"
    else:
        return PythonProbe(workplace.processes).run(
            facts.interpreter,
            level=level,
            environment=run_environment(
                Path(facts.prefix), workplace.settings.environment, workplace.processes
            ),
            timeout=timeout,
        )
    return None
