"""Judges a load that was watched. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from envforge.model.models import Repo
from envforge.model.proof import LoadRun, ProvenFile
from envforge.model.wording import listed

_MOST_NAMED: Final = 3
Problem = tuple[str, str | None]


def problems(
    repo: Repo, environment: str, files: Sequence[ProvenFile], runs: Sequence[LoadRun]
) -> tuple[Problem, ...]:
    """Everything that keeps a load from being proven.

    Proven is a load that succeeded, opened at least one of the repository's files, took all that
    it took of any hub cache from the store, and called nobody.
    """
    return (
        *_of_view(environment, files),
        *_of_runs(runs),
        *_of_use(repo, files, runs),
    )


def _of_view(environment: str, files: Sequence[ProvenFile]) -> Iterator[Problem]:
    missing = [item.path for item in files if item.origin == "missing"]
    if missing:
        yield f"the view lacks {_named(missing)}", f"envforge cache prefill {environment}"
    other = [item.path for item in files if item.origin == "elsewhere"]
    if other:
        yield (
            f"{_named(other)} in the view {'is' if len(other) == 1 else 'are'} not the store's",
            f"envforge cache view {environment}",
        )


def _of_runs(runs: Sequence[LoadRun]) -> Iterator[Problem]:
    failed = next((run for run in runs if run.status), None)
    if failed is not None:
        tail = "".join(f"\n  {line}" for line in failed.output.strip().splitlines()[-8:])
        yield f"the program failed ({failed.status}){':' if tail else ''}{tail}", None
    calls = sorted({call for run in runs for call in run.calls})
    if calls:
        yield (
            f"it tried to reach {_named(calls)}, and was refused",
            "`local_files_only=True` where it loads; huggingface_hub before 0.19 needs that",
        )


def _of_use(repo: Repo, files: Sequence[ProvenFile], runs: Sequence[LoadRun]) -> Iterator[Problem]:
    strangers = sorted({path for run in runs for path in run.strangers})
    if strangers:
        which = "is" if len(strangers) == 1 else "are"
        yield (
            f"it read {_named(strangers)}, which {which} not of the store",
            "name the model as models.yml does, and leave `cache_dir` and `HF_HOME` alone",
        )
    if not any(item.opened for item in files) and not any(run.status for run in runs):
        yield f"it opened no file of {repo.shown}", None


def _named(names: Sequence[str]) -> str:
    return listed(names, _MOST_NAMED, quote="`")
