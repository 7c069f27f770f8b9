"""Models in a program: a folder that every loader takes, from here first, then from the hub.

from envforge import models
path = models.path("bert-base-uncased")
model = AutoModel.from_pretrained(path)
path.source     # "local" or "online"
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from envforge.model.found import ModelPath, Policy

__all__ = ["ModelPath", "path"]


def path(
    repo: str,
    *,
    revision: str | None = None,
    allow: Sequence[str] = (),
    ignore: Sequence[str] = (),
    policy: Policy = "local-first",
    cache: Path | str | None = None,
) -> ModelPath:
    """The folder of a snapshot, for `from_pretrained` and `load_dataset`.

    Looked for is in what huggingface_hub would use (`HF_HUB_CACHE` and its like), in the views of
    the active environment and of the user, and in `~/.cache/huggingface`; fetched is into the
    first of them that may be written, so a cache that may only be read is no obstacle.

    Args:
        repo: `org/name`, `dataset:org/name`, also with `@revision`.
        revision: branch, tag or commit; None: `main`.
        allow: only files that match one of these patterns; empty: all.
        ignore: no file that matches one of these.
        policy: `local-first` takes what is here, and asks the hub only for what is not;
            `local-only` never asks; `online` always asks for the newest commit.
        cache: look, and fetch, here alone.

    Raises:
        NotCached: it is not here, and nobody may be asked.
        NoSuchModel, Unreachable: the hub has it not, or does not answer.
        InvalidValue: a name, revision or policy that cannot be.
    """
    from envforge.forge import Forge

    return Forge().cache.path(
        repo,
        revision=revision,
        allow=allow,
        ignore=ignore,
        policy=policy,
        cache=None if cache is None else Path(cache),
    )
