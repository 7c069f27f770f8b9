"""Which files of a repository are meant, as huggingface_hub's `allow_patterns` decide it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate

from envforge.model.models import ModelRequest


def matcher(request: ModelRequest) -> Callable[[str], bool]:
    """Says of a path whether the request means it.

    As `huggingface_hub.utils.filter_repo_objects`: some pattern of `allow` matches (or there is
    none), and no pattern of `ignore`. A `*` matches `/` as well; `folder/` is all below it.
    """
    allow, ignore = (_either(patterns) for patterns in request.patterns)

    def means(path: str) -> bool:
        allowed = allow is None or bool(allow.match(path))
        return allowed and not (ignore and ignore.match(path))

    return means


def _either(patterns: Iterable[str]) -> re.Pattern[str] | None:
    """One expression for all patterns; None: there are none."""
    whole = [f"{one}*" if one.endswith("/") else one for one in patterns]
    return re.compile("|".join(map(translate, whole))) if whole else None
