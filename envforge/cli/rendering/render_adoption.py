"""What `adopt` did, as text and as JSON."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, Final

import click

from envforge.model.adoption import AdoptResult, PinChange
from envforge.model.cuda import accelerator_name
from envforge.model.wording import listed

_SHOWN: Final = 12
"""Names and clauses told one by one; more are counted."""
_WIDTH: Final = 80


def document(result: AdoptResult) -> dict[str, Any]:
    """The answer as JSON."""
    choice = result.choice
    return {
        "name": result.name,
        "folder": str(result.folder),
        "outcome": result.outcome,
        "from": {
            "origin": result.origin,
            "kind": result.kind,
            "environment": result.environment or None,
        },
        "torch": choice.torch,
        "cuda": str(choice.cuda) if choice.cuda else None,
        "cudnn": result.found_cudnn or choice.cudnn,
        "python": choice.python,
        "source": choice.source,
        "platforms": list(result.platforms),
        "locked": result.lock is not None,
        "unchecked": result.unchecked or None,
        "unsolved": result.unsolved or None,
        "kept": list(result.kept),
        "changed": [asdict(item) for item in result.changed],
        "not_carried": list(result.not_carried),
        "packages": {"before": result.before, "same": result.same},
        "files": dict(result.files) if result.outcome == "planned" else list(result.files),
    }


def show(result: AdoptResult) -> None:
    """The answer as text."""
    verb = {"written": "adopted", "planned": "would adopt"}[result.outcome]
    named = f", {result.environment}" if result.kind.startswith("pixi") else ""
    click.echo(f"{click.style(verb, fg='green')} {result.folder}")
    click.echo(f"  from {result.origin} ({result.kind}{named})")
    for line in _lines(result):
        click.echo(line)


def _lines(result: AdoptResult) -> Iterator[str]:
    yield from _wrapped(f"{_build(result)}, for {', '.join(result.platforms)}")
    if result.lock is not None and result.before:
        yield f"  {result.same} of {result.before} packages in the version they had"
    if result.kept:
        checked = "kept, not checked" if result.unchecked else "kept"
        yield from _wrapped(f"{checked}: {listed(result.kept, _SHOWN)}")
    if result.changed:
        yield "changed:"
        yield from _clauses(map(_changed, result.changed))
    if result.not_carried:
        yield "not carried over:"
        yield from _clauses(result.not_carried)
    if result.lock is None:
        yield "not locked:"
        yield from _unlocked(result.unchecked or result.unsolved)
    if result.outcome == "written":
        yield from _following(result)


def _unlocked(reason: str) -> Iterator[str]:
    """The solver's reasons keep their lines: they are a tree."""
    for line in reason.splitlines():
        indent = " " * (2 + len(line) - len(line.lstrip()))
        yield from _wrapped(line.strip(), indent)


def _following(result: AdoptResult) -> Iterator[str]:
    """The command that goes on from here; one that would fail as this one did is no help."""
    name = shlex.quote(result.name)
    if result.unsolved:
        yield "next: loosen a version in its environment.yml, then"
        yield f"  envforge lock {name}"
    else:
        yield f"next: envforge {'install' if result.lock else 'lock'} {name}"


def _build(result: AdoptResult) -> str:
    choice = result.choice
    parts = [f"torch {choice.torch}", accelerator_name(choice.cuda)]
    cudnn = result.found_cudnn or choice.cudnn
    if cudnn and choice.cuda:
        parts.append(f"cuDNN {cudnn}")
    return ", ".join([*parts, f"python {choice.python}", f"from {choice.source}"])


def _changed(item: PinChange) -> str:
    became = item.became or "left out"
    return f"{item.name} {item.was} → {became}: {item.reason}"


def _clauses(clauses: Iterable[str]) -> Iterator[str]:
    listed = list(clauses)
    for clause in listed[: 3 * _SHOWN]:
        yield from _wrapped(clause)
    if len(listed) > 3 * _SHOWN:
        yield f"  and {len(listed) - 3 * _SHOWN} more (--json has them all)"


def _wrapped(text: str, indent: str = "  ") -> list[str]:
    import textwrap

    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
