"""Writes the list of checks into `envforge/verify/README.md`, and `tested.json` beside it.

    python tests/catalogue/page.py            # or: nox -s docs

What a catalogue test proves is read from its `@covers("id", …)` mark, by the syntax tree: no test
is imported. A check that none proves needs its reason in `UNTESTED`.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from envforge.verify.check import Check
from envforge.verify.registry import CHECKS

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / "envforge" / "verify"
PAGE = FOLDER / "README.md"
TESTED = FOLDER / "tested.json"
BEGIN, END = "<!-- begin of the list of checks -->", "<!-- end of the list of checks -->"

UNTESTED: Mapping[str, str] = {}
"""Checks that no catalogue test proves, and why."""


def covered(folder: Path = HERE) -> dict[str, str]:
    """Id to the test that proves it, `test_driver.py::test_too_old`."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("test_*.py")):
        for test, name in _marks(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            found.setdefault(name, f"{path.name}::{test}")
    return found


def _marks(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and _name_of(mark.func) == "covers":
                    yield from ((node.name, name) for name in _ids(mark))


def _name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _ids(mark: ast.Call) -> Iterator[str]:
    for argument in mark.args:
        if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
            raise TypeError(f"line {mark.lineno}: `covers` takes ids as plain text")
        yield argument.value


def tested(covering: Mapping[str, str]) -> dict[str, str | None]:
    """Id to None where it is proven, else to the reason why not."""
    return {name: None if name in covering else UNTESTED.get(name, "") for name in CHECKS}


def table(covering: Mapping[str, str]) -> str:
    """The list as Markdown."""
    proven = sum(name in covering for name in CHECKS)
    lines = [
        f"{len(CHECKS)} checks, in the order in which they are told; {proven} are proven by a test",
        "in `tests/catalogue/`, which builds the broken situation in the world, has the real",
        "command look, and demands that this id is named first and nothing false beside it.",
        "",
        "| id | level | severity | claim | tested |",
        "|---|---|---|---|---|",
        *(_row(name, item, covering) for name, item in CHECKS.items()),
    ]
    return "\n".join(lines)


def _row(name: str, item: Check, covering: Mapping[str, str]) -> str:
    test = f"`{covering[name]}`" if name in covering else f"no: {UNTESTED.get(name, '')}"
    claim = item.claim.replace("|", "\\|")
    return f"| `{name}` | {item.level} | {item.severity} | {claim} | {test} |"


def page(text: str, covering: Mapping[str, str]) -> str:
    """The page with a current list."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE}: the marks of the list are gone")
    return f"{before}{BEGIN}\n\n{table(covering)}\n\n{END}{after}"


def tested_document(covering: Mapping[str, str]) -> str:
    """What `envforge explain` reads."""
    document = {"schema": "envforge.tested-checks/1", "checks": tested(covering)}
    return json.dumps(document, indent=2) + "\n"


def main() -> int:
    covering = covered()
    unexplained = [name for name in CHECKS if name not in covering and name not in UNTESTED]
    for name in unexplained:
        print(f"{name}: no catalogue test, and no reason in UNTESTED", file=sys.stderr)
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), covering), encoding="utf-8")
    TESTED.write_text(tested_document(covering), encoding="utf-8")
    return 1 if unexplained else 0


if __name__ == "__main__":
    raise SystemExit(main())
