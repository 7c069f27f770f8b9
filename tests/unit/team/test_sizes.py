"""What two locks weigh."""

from __future__ import annotations

from dataclasses import replace

from fakes.conda_solver import package
from fakes.locks import lock

from envforge.model.difference import Amount
from envforge.team.sizes import rows


def test_known_estimated_and_unknown() -> None:
    old = lock(replace(package("a", "1"), size=10), package("b", "1"))
    new = lock(replace(package("a", "2"), size=15), replace(package("b", "2"), size=5))

    def on_disk(item):
        return None if item.size is None else (item.size * 5, item.name == "b")

    [row] = rows(old, new, ["linux-64"], on_disk)

    assert row.download == (Amount(total=10, unknown=1), Amount(total=20))
    assert row.disk == (Amount(total=50, unknown=1), Amount(total=100, estimated=1))
