"""One script that sets up an environment for a user of a shared server."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from envforge.errors import InvalidValue
from envforge.model.outputs import Answers, Field, Output, OutputFile, Subject


def values(env: Subject, answers: Answers) -> Mapping[str, object]:
    """What the script knows besides the settings.

    Raises:
        InvalidValue: there is no folder of ours that users could install from.
    """
    lock = env.files.get("conda-lock.yml")
    if lock is None:
        raise InvalidValue(
            what="environment",
            value=env.name,
            reason="has no folder of ours, which users install from",
            remedy="`envforge adopt` makes one of another tool's lock",
        )
    return {
        "lock_sha256": hashlib.sha256(lock.encode()).hexdigest(),
        "store": answers["store"] if env.models else "",
    }


ONBOARDING: Final = (
    Output(
        name="onboarding",
        about="a script that sets up one user of a shared server, and undoes it",
        files=(OutputFile(template="onboarding.sh.j2", name="onboarding.sh", executable=True),),
        fields=(
            Field(
                name="envs",
                about="the folder on the server that holds the environment's folder",
                default=None,
                kind="path",
            ),
            Field(name="store", about="the store of models that users share", kind="path"),
            Field(
                name="shared",
                about="where `envforge install --publish` keeps it; empty: users install their own",
                kind="path",
            ),
        ),
        values=values,
        next="sh {file} --dry-run",
    ),
)
"""Outputs of this kind."""
