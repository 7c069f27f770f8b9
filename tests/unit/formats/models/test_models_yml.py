"""models.yml: read with every mistake, edited without losing a comment."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envforge.errors import InvalidFile
from envforge.formats.models import model_spec, models_yml
from envforge.model.models import ModelRequest, Repo

TEXT = """\
# What the service loads.
models:  # in this order
  # the encoder
  - bert-base-uncased  # pinned below
  - repo: org/other
    revision: refs/pr/1
    allow: ['*.safetensors', '*.json']
    ignore: onnx/

  # for the tests
  - {repo: org/data, kind: dataset}
  - {repo: gpt2, only: tokenizer-only}
# end
"""


def test_read() -> None:
    requests = models_yml.read(TEXT, "models.yml").requests

    assert requests == (
        ModelRequest(repo=Repo(id="bert-base-uncased")),
        ModelRequest(
            repo=Repo(id="org/other"),
            revision="refs/pr/1",
            allow=("*.safetensors", "*.json"),
            ignore=("onnx/",),
        ),
        ModelRequest(repo=Repo(kind="dataset", id="org/data")),
        ModelRequest(repo=Repo(id="gpt2"), only="tokenizer-only"),
    )


def test_added_at_the_end_and_comments_stay() -> None:
    added = models_yml.read(TEXT, "m").with_request(model_spec.parse("a/b@v1"))

    assert added.text == TEXT.replace("# end\n", "  - a/b@v1\n# end\n")
    assert added.requests[-1] == model_spec.parse("a/b@v1")


def test_what_is_there_is_not_added_again() -> None:
    document = models_yml.read(TEXT, "m")

    assert document.with_request(document.requests[1]) is document


def test_other_patterns_replace_the_entry_in_its_place() -> None:
    document = models_yml.read(TEXT, "m")
    other = replace(document.requests[1], allow=(), ignore=("*.onnx",))

    changed = document.with_request(other)

    assert changed.requests == (document.requests[0], other, *document.requests[2:])
    assert "    revision: refs/pr/1\n    ignore: ['*.onnx']\n\n  # for the tests\n" in changed.text


def test_patterns_taken_away_leave_a_word() -> None:
    document = models_yml.read(TEXT, "m").with_request(model_spec.parse("gpt2"))

    assert document.text.endswith("kind: dataset}\n  - gpt2\n# end\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (models_yml.NEW, models_yml.NEW.replace(": []", ":\n  - a/b")),
        ("models: [x]\n", "models:\n  - x\n  - a/b\n"),
        ("models:\n- x", "models:\n- x\n- a/b"),
        ("models:\n    - repo: x\n      only: tokenizer-only\n", None),
    ],
)
def test_every_layout_takes_an_entry(before: str, after: str | None) -> None:
    added = models_yml.read(before, "m").with_request(model_spec.parse("a/b"))

    assert added.text == (after or f"{before}    - a/b\n")


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("model: []\n", ["line 1, column 1: `model`: unknown key; did you mean `models`?"]),
        ("[]\n", ["the file is a list"]),
        ("models: gpt2\n", ["line 1, column 9: `models` is the text `gpt2`"]),
        ("models:\n  - a b\n  - []\n", ["line 2, column 5: model `a b`", "line 3, column 5"]),
        ("models:\n  - 12\n", ["a model is the number `12`, and should be text; write `'12'`"]),
        (
            "models:\n  - repo: a\n    revision: 1.0\n    rev: x\n",
            ["line 3, column 15: `revision` is the number `1.0`", "line 4, column 5: `rev`"],
        ),
        ("models:\n  - kind: model\n", ["line 2, column 5: a model without `repo`"]),
        ("models:\n  - repo: a/b/c\n    kind: modle\n", ["did you mean `model`", "`a/b/c` is no"]),
        ("models:\n  - repo: a\n    kind: x\n", ["one of model, dataset, space"]),
        ("models:\n  - repo: a\n    revision: a b\n", ["`a b` has `a b` as a revision"]),
        ("models:\n  - repo: a\n    only: weights\n", ["`only` knows no `weights`"]),
        (
            "models:\n  - repo: a\n    allow: []\n    ignore: ['']\n",
            ["`allow` is empty", "empty pa"],
        ),
        ("models:\n  - repo: a\n    allow: {}\n", ["`allow` is a mapping, and should be a list"]),
        (
            "models:\n  - {repo: a, allow: x, only: tokenizer-only}\n",
            ["`allow` and `only: tokenizer-only` exclude each other"],
        ),
        ("models:\n  - a\n  - repo: a\n    ignore: x\n", ["`a@main` stands here a second time"]),
    ],
)
def test_every_mistake_with_its_place(text: str, mistakes: list[str]) -> None:
    with pytest.raises(InvalidFile) as caught:
        models_yml.read(text, "models.yml")

    for mistake in mistakes:
        assert mistake in str(caught.value)


@pytest.mark.parametrize("text", ["models: [*.json]\n", "models:\n- repo: a\n  allow: [*.json]\n"])
def test_a_bare_star_is_explained(text: str) -> None:
    with pytest.raises(InvalidFile, match="undefined alias") as caught:
        models_yml.read(text, "m")

    assert caught.value.hint == "a pattern that begins with `*` needs quotes: `'*.json'`"


def test_other_mistakes_of_yaml_are_told_as_they_are() -> None:
    with pytest.raises(InvalidFile) as caught:
        models_yml.read("models: [a\n", "m")

    assert caught.value.hint is None


PATTERNS = st.lists(st.text(min_size=1, max_size=12), max_size=3).map(tuple)


@given(allow=PATTERNS, ignore=PATTERNS, revision=st.sampled_from(["main", "1.0", "0e1", "v1"]))
def test_whatever_is_written_is_read_again(
    allow: tuple[str, ...], ignore: tuple[str, ...], revision: str
) -> None:
    request = ModelRequest(repo=Repo(id="1e5"), revision=revision, allow=allow, ignore=ignore)

    added = models_yml.read(models_yml.NEW, "m").with_request(request)

    assert added.requests == (request,)
