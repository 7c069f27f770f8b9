"""The quick reader of machine-made YAML gives the same nodes as ruamel.yaml."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envforge.errors import InvalidFile
from envforge.formats.text import yaml_lines, yaml_text
from envforge.formats.text.yaml_text import Node

LAID_OUT = """\
# a comment
version: 6
environments:
  default:
    channels:
    - url: https://conda.anaconda.org/conda-forge/
    indexes: []
    packages:
      linux-64:
        - conda: https://x/noarch/a-1-0.conda
          name: 'it''s'
        - pypi: "./a b"
packages:
- conda: https://x/noarch/a-1-0.conda
  depends:
  - __glibc >=2.17,<3.0.a0
  - python
  size: 12
  empty:
  options: {}
"""


def as_data(node: Node) -> Any:
    """A node with the places of its scalars."""
    if node.kind == "map":
        return [(as_data(key), as_data(value)) for key, value in node.pairs]
    if node.kind == "list":
        return [as_data(item) for item in node.items]
    if node.is_empty:  # ruamel places it where the next thing begins
        return "empty"
    return (node.value, node.quote, node.line, node.column, node.start, node.end)


def test_the_nodes_are_those_of_ruamel() -> None:
    quick = yaml_lines.parse(LAID_OUT, "x")

    assert as_data(quick) == as_data(yaml_text.parse(LAID_OUT, "x"))


@pytest.mark.parametrize(
    "text",
    [
        "a: [b, c]\n",  # flow
        "a: |\n  b\n",  # a block of text
        'a: "b\\n"\n',
        "a: b\n  c\n",  # a scalar on two lines
        "a:\r\n  b: c\r\n",
        "- a\n- b: c\n  d: e\n",
        "a: b # comment\n",
        "'quoted key': 1\n",
        "a: *b\n",
        "a:\n  - - b\n",
        "? a\n: b\n",
        "  a: b\n",
        "a: b\n c: d\n",
        "",
    ],
)
def test_any_other_layout_is_left_to_ruamel(text: str) -> None:
    """Whatever that makes of it, an error included."""
    try:
        expected: Any = as_data(yaml_text.parse(text, "x"))
    except InvalidFile as error:
        expected = error.mistakes
    try:
        found: Any = as_data(yaml_lines.parse(text, "x"))
    except InvalidFile as error:
        found = error.mistakes

    assert found == expected


SCALARS = st.text("abc019.:-#'\"[]{}>|* ,=&%!", min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d"]), SCALARS), max_size=4))
def test_a_scalar_is_never_read_as_something_else(pairs: list[tuple[str, str]]) -> None:
    text = "top:\n" + "".join(f"- {key}: {value}\n" for key, value in pairs)
    try:
        expected = as_data(yaml_text.parse(text, "x"))
    except InvalidFile:
        with pytest.raises(InvalidFile):
            yaml_lines.parse(text, "x")
        return

    assert as_data(yaml_lines.parse(text, "x")) == expected
