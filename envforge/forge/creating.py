"""`create`: lock, install, fetch models and verify, in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from envforge.forge.caching import creating as model_creating
from envforge.forge.caching import locking as model_locking
from envforge.forge.judging import naming, verifying
from envforge.forge.prefixes import installing, preflight
from envforge.forge.solving import asking, locking
from envforge.forge.solving.asking import Decision
from envforge.forge.workplace import Workplace
from envforge.model.lock import Lock
from envforge.model.models import ModelRequest
from envforge.model.results import CreateResult, LockResult
from envforge.model.spec import Request

if TYPE_CHECKING:
    from envforge.forge.caching.front import ModelCache


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """How an environment is made, beside what it is."""

    models: tuple[ModelRequest, ...] = ()
    """To pin beside it."""
    driver: str | None = None
    """That of a described machine, and so are `gpus`; None: this one's."""
    gpus: Sequence[str] = ()
    target_host: bool = False
    """Judge for the machine of virtual-packages.yml."""
    prefix: Path | None = None
    """Where to install; None: the environment's name under `settings.prefixes`."""
    engine: Literal["rattler", "conda-lock"] = "rattler"
    force: bool = False
    dry_run: bool = False
    require_gpu: bool = False


def create(
    cache: ModelCache, workplace: Workplace, request: Request, making: Making
) -> CreateResult:
    """Do what is not done yet: run again, it goes on where it stopped.

    Raises:
        EnvforgeError: of any family; nothing half-written is left.
    """
    decision = asking.decide(
        workplace,
        request,
        driver=making.driver,
        gpus=making.gpus,
        target_host=making.target_host,
        force=making.force,
    )
    installing.check_platform(request.platforms)
    installing.check_place(workplace, decision.name, making.prefix)
    locked = _locked(workplace, decision, making)
    folder, lock, prefix = locked.folder, locked.lock, making.prefix
    if making.dry_run:
        planned = installing.plan(workplace, folder, lock, prefix)
        return CreateResult(name=locked.name, lock=locked, planned=planned)
    installed = installing.install(workplace, folder, lock, prefix)
    prefilled = model_creating.prefill(cache, workplace, folder)
    looking = naming.Looking(require_gpu=making.require_gpu)
    report = verifying.verify_one(workplace, folder, installed.prefix, looking)
    return CreateResult(
        name=locked.name, lock=locked, install=installed, prefill=prefilled, report=report
    )


def _locked(workplace: Workplace, decision: Decision, making: Making) -> LockResult:
    """The folder with its locks, seen to run here and to go through before it is written."""
    folder = workplace.environments.folder(decision.name)
    models = model_locking.plan_request(workplace, folder, making.models)
    gate = preflight.Gate(
        workplace,
        folder,
        machine=decision.machine,
        target_host=making.target_host,
        force=making.force,
    )

    def check(lock: Lock) -> None:
        gate.check(lock)
        installing.check(workplace, folder, lock, making.prefix)

    locked = locking.lock_request(
        workplace,
        decision,
        dry_run=making.dry_run,
        force=making.force,
        engine=making.engine,
        before_writing=check,
    )
    gate.check(locked.lock)  # also one that was there already
    return model_locking.with_models(workplace, locked, models)
