"""What may be said together, and what may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envforge.errors import InvalidValue
from envforge.forge.judging.naming import Looking, Named, refuse_nonsense

HERE = Path("x")


@pytest.mark.parametrize(
    ("named", "looking"),
    [
        ({}, {}),
        ({"env": "x", "prefix": HERE}, {"level": "live", "hashes": True}),
        ({"prefix": HERE, "lock": HERE}, {"hashes": True}),
        ({"python": "python3", "lock": HERE}, {"level": "import"}),
        ({"lock": HERE, "driver": "535.1", "gpus": ("H200",)}, {"level": "static"}),
        ({"host": True}, {"level": "static", "require_gpu": True}),
        ({"env": "x", "gpus": ("H200",)}, {"level": "import"}),
    ],
)
def test_what_can_be_meant(named: dict[str, Any], looking: dict[str, Any]) -> None:
    refuse_nonsense(Named(**named), Looking(**looking))


@pytest.mark.parametrize(
    ("named", "looking", "message"),
    [
        ({"host": True, "env": "x"}, {}, "`--host` is the machine alone, and ENV was named"),
        ({"host": True, "prefix": HERE}, {}, "--prefix was named"),
        ({"host": True, "lock": HERE}, {}, "--lock was named"),
        ({"host": True, "driver": "1"}, {}, "and another one is described"),
        ({"env": "x", "lock": HERE}, {}, "is another claim than that of ENV"),
        ({"env": "x", "python": "p"}, {}, "`--python` names one thing to look at, and ENV another"),
        ({"prefix": HERE, "python": "p"}, {}, "and --prefix another"),
        ({"lock": HERE}, {"level": "import"}, "needs an interpreter, and a lock has none"),
        ({"host": True}, {"level": "live"}, "needs an interpreter, and the machine has none"),
        ({"lock": HERE}, {"hashes": True}, "`--hashes` needs files"),
        ({"env": "x", "driver": "1"}, {"level": "live"}, "on a machine that is described none"),
        ({}, {"timeout": 0.0}, "`--timeout` `0` is no number of seconds above 0"),
        ({}, {"timeout": float("nan")}, "`nan` is no number"),
        ({}, {"timeout": float("inf")}, "`inf` is no number"),
        ({}, {"only": ("a", "b"), "skip": ("b",)}, "`b` is asked for with `--check` and left out"),
    ],
)
def test_what_cannot(named: dict[str, Any], looking: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        refuse_nonsense(Named(**named), Looking(**looking))
    assert message in str(caught.value)


def test_what_was_named_says_what_it_is() -> None:
    assert Named().is_everything
    assert Named(driver="1").is_everything
    assert Named(driver="1").is_described
    assert not Named(host=True).is_everything
    assert not Named(lock=HERE).is_installed
    assert Named(lock=HERE, prefix=HERE).is_installed
    assert Named().is_installed
