"""`cache prove`: a model is loaded offline and watched, and what it read held against the store."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from envforge.adapters.activation import activation_scripts
from envforge.adapters.proof import identities, load, page_cache, watch
from envforge.adapters.proof.identities import Identities
from envforge.adapters.proof.listener import Seen
from envforge.adapters.store.store import Store
from envforge.cache import proof
from envforge.errors import InvalidValue
from envforge.forge.caching import model_files, viewing
from envforge.forge.prefixes.locating import usable_prefix
from envforge.forge.workplace import Workplace
from envforge.formats.models import model_spec
from envforge.model.models import LockedModel, ModelsLock
from envforge.model.proof import LoadProof, LoadRun
from envforge.model.views import ViewVariables

OFFLINE: Final = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
"""What libraries are told; the watched program is refused the network besides."""
_MOST_OUTPUT: Final = 4000


def prove(
    workplace: Workplace,
    store: Store,
    env: str,
    repo: str,
    *,
    revision: str | None,
    command: Sequence[str],
    prefix: Path | None,
    once: bool,
    timeout: float,
) -> LoadProof:
    """Load, twice unless `once`, and say what was seen.

    Raises:
        InvalidValue: the environment's lock has no such model.
        BrokenPrefix: the environment is not installed.
        NotCached: it has no view.
        ToolMissing, ToolFailed: programs cannot be watched here, or it took too long.
    """
    folder = model_files.locate(workplace, env)
    lock = model_files.current_lock(workplace, env)
    model = _chosen(lock, repo, revision, folder.name)
    installed = usable_prefix(workplace, folder, prefix)
    variables = viewing.variables(workplace, env, user=None, offline=True)
    known = identities.look(store, Path(variables.view), lock, model)
    environment = _environment(workplace, installed, variables)
    line = tuple(command) or _own_program(installed, model)
    runs: list[LoadRun] = []
    files = known.files()
    for first in (True,) if once else (True, False):
        with workplace.reporter.step(f"loading {model.repo.shown}{'' if first else ' again'}"):
            cold = first and page_cache.drop(known.paths)
            seen = watch.watch(line, env=environment, wanted=known.known, timeout=timeout)
        runs.append(_run(seen, known, cold=cold))
        files = known.noted(files, seen)
    return LoadProof(
        environment=folder.name,
        repo=model.repo,
        revision=model.request.revision,
        commit=model.commit,
        store=str(store.root),
        view=variables.view,
        command=tuple(command),
        files=files,
        runs=tuple(runs),
        problems=proof.problems(model.repo, folder.name, files, runs),
    )


def _chosen(lock: ModelsLock, repo: str, revision: str | None, env: str) -> LockedModel:
    """The model of this name; without `revision`, the first that is locked."""
    if not lock.models:
        raise model_files.no_models(env)
    if revision is None and "@" in repo:
        repo, _, revision = repo.partition("@")
    named = [model for model in lock.models if repo in {model.repo.id, model.repo.shown}]
    for model in named:
        asked = model.request.revision
        if revision is None or revision == asked or model.commit.startswith(revision):
            return model
    meant = repo if revision is None else f"{repo}@{revision}"
    locked = [model_spec.show(model.request) for model in lock.models]
    locked.sort(key=lambda name: -difflib.SequenceMatcher(None, name, meant).ratio())
    raise InvalidValue(
        what="model",
        value=meant,
        reason=f"is not in the lock of `{env}`",
        remedy=f"locked, nearest first: {', '.join(f'`{name}`' for name in locked)}",
    )


def _environment(workplace: Workplace, prefix: Path, variables: ViewVariables) -> Mapping[str, str]:
    activated = activation_scripts.run_environment(
        prefix, workplace.settings.environment, workplace.processes
    )
    return {**activated, **variables.variables, **OFFLINE}


def _own_program(prefix: Path, model: LockedModel) -> tuple[str, ...]:
    order = {
        "repo": model.repo.id,
        "kind": model.repo.kind,
        "revision": model.request.revision,
        "files": [item.path for item in model.files],
    }
    return (str(prefix / "bin" / "python"), str(Path(load.__file__)), json.dumps(order))


def _run(seen: Seen, known: Identities, *, cold: bool) -> LoadRun:
    told = next((line for line in reversed(seen.output) if line.startswith(load.MARK)), None)
    answer = json.loads(told.removeprefix(load.MARK)) if told else {}
    written = "".join(line for line in seen.output if line is not told) + seen.stderr
    strangers = {path for path, identity in seen.opened.items() if identity not in known.known}
    return LoadRun(
        cold=cold,
        status=seen.status,
        seconds=seen.seconds,
        load_seconds=answer.get("seconds"),
        loader=answer.get("loader", ""),
        notes=tuple(answer.get("notes", ())),
        calls=tuple(dict.fromkeys(seen.calls)),
        strangers=tuple(sorted(strangers)),
        output=written.strip()[-_MOST_OUTPUT:],
    )
