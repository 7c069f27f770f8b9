"""The templates that travel with envforge."""

from __future__ import annotations

import pytest

from envforge.errors import InvalidValue
from envforge.forge.solving.starting import load_template, template_names


def test_base_comes_first_and_the_others_by_name() -> None:
    first, *others = template_names()

    assert first == "base"
    assert others == sorted(others)
    assert {"nlp", "vision", "audio", "llm-train", "llm-serve", "diffusion", "science"} <= {*others}


def test_each_can_be_read_and_says_what_it_is_for() -> None:
    for name in template_names():
        template = load_template(name)
        assert template.name == name
        assert template.description
        assert template.packages


@pytest.mark.parametrize(
    ("name", "hint"), [("visoin", "did you mean `vision`?"), ("", "known: base, audio, ")]
)
def test_an_unknown_one_shows_the_nearest_or_all(name: str, hint: str) -> None:
    with pytest.raises(InvalidValue, match="does not exist") as caught:
        load_template(name)

    assert str(caught.value.hint).startswith(hint)
