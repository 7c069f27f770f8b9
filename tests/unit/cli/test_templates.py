"""`envforge templates`."""

from __future__ import annotations

import pytest
from fakes.command_line import Run

pytestmark = pytest.mark.usefixtures("forge")


def test_a_line_a_template(run: Run) -> None:
    done = run("templates")
    names = [line.split()[0] for line in done.out.splitlines()]

    assert done.status == 0
    assert names[0] == "base"
    assert "nlp" in names
    assert max(map(len, done.out.splitlines())) <= 80
    document = run("templates", "--json").json
    assert document["schema"] == "envforge.templates/1"
    assert [item["name"] for item in document["templates"]] == names


def test_one_with_its_conditions(run: Run) -> None:
    done = run("templates", "llm-serve")

    assert done.out.startswith("llm-serve: answering over HTTP")
    assert "  transformers >=4.48  (torch >=2.6)\n" in done.out
    assert "  TOKENIZERS_PARALLELISM=false\n" in done.out
    [document] = run("templates", "llm-serve", "--json").json["templates"]
    assert document["variables"] == {"TOKENIZERS_PARALLELISM": "false"}
    assert run("templates", "visoin").err.endswith("hint: did you mean `vision`?\n")
