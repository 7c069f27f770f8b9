"""What `export --to` writes with templates: the table, and the answers that an output asks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from envforge.around.outputs.clusters import CLUSTERS
from envforge.around.outputs.images import IMAGES
from envforge.around.outputs.kubernetes import KUBERNETES
from envforge.around.outputs.onboarding import ONBOARDING
from envforge.errors import InvalidValue
from envforge.model.outputs import Answers, Field, FieldKind, Output, OutputFile

OUTPUTS: Final[Mapping[str, Output]] = {
    item.name: item for item in (*IMAGES, *KUBERNETES, *CLUSTERS, *ONBOARDING)
}
"""By the name after `--to`."""

_IMAGE: Final = re.compile(
    r"(?=.{1,512}\Z)[a-z0-9][a-z0-9._/:-]*(?::[\w][\w.-]{0,127})?@sha256:[0-9a-f]{64}"
)
PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_SIZE: Final = re.compile(r"[1-9][0-9]{0,11}(?:Ki|Mi|Gi|Ti|k|M|G|T)?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def own(name: str) -> Output:
    """An output that only somebody's own template makes: one file of the template's name.

    Raises:
        InvalidValue: no name that a template can have.
    """
    if not PLAIN_NAME.fullmatch(name):
        raise InvalidValue(what="export", value=name, reason="is no name of a template")
    return Output(
        name=name, about="your own template", files=(OutputFile(template=f"{name}.j2", name=name),)
    )


def answers(output: Output, given: Mapping[str, str]) -> Answers:
    """A value for each field: what was given, else the default.

    Raises:
        InvalidValue: an unknown field, one that must be given, or a value of another kind.
    """
    fields = {item.name: item for item in output.fields}
    for name in given:
        if name not in fields and output.name in OUTPUTS:  # own templates know their settings
            raise InvalidValue(
                what="setting of the output",
                value=name,
                reason=f"is none of `{output.name}`",
                remedy=f"known: {', '.join(fields)}" if fields else "it has none",
            )
    return {**given, **{item.name: _answer(output, item, given) for item in output.fields}}


def _answer(output: Output, item: Field, given: Mapping[str, str]) -> str:
    value = given.get(item.name, item.default)
    if value is None:
        raise InvalidValue(
            what=f"export to {output.name} without",
            value=item.name,
            reason=f"cannot be written: it is {item.about}",
            remedy=f"`--set {item.name}=…`",
        )
    if item.name in given:
        reason = f"is none of {', '.join(item.choices)}" if item.choices else _KINDS[item.kind][1]
        fits = value in item.choices if item.choices else _KINDS[item.kind][0](value)
        if not fits and not (value == "" and item.default == ""):
            raise InvalidValue(
                what=f"setting `{item.name}`", value=_CONTROL.sub("?", value), reason=reason
            )
    return value


def _is_path(value: str) -> bool:
    return value.startswith("/") and ".." not in value.split("/") and not _CONTROL.search(value)


_KINDS: Final[Mapping[FieldKind, tuple[Callable[[str], bool], str]]] = {
    "text": (lambda value: not _CONTROL.search(value), "holds control characters"),
    "path": (_is_path, "is no absolute path without `..` and control characters"),
    "image": (
        lambda value: bool(_IMAGE.fullmatch(value)),
        "is no image with a digest: `registry/name@sha256:…`, which names the same bytes for ever",
    ),
    "number": (lambda value: bool(_NUMBER.fullmatch(value)), "is no whole number"),
    "size": (lambda value: bool(_SIZE.fullmatch(value)), "is no size such as `16Gi`"),
    "choice": (lambda _: False, "is none of the choices"),
    "name": (
        lambda value: bool(PLAIN_NAME.fullmatch(value)),
        "is no name of letters, digits, `.`, `_` and `-`",
    ),
}
"""Whether a value is of a kind, and what it is otherwise."""
