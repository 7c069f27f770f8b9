"""A model in one word."""

from __future__ import annotations

import pytest

from envforge.errors import InvalidValue
from envforge.formats.models import model_spec
from envforge.model.models import ModelRequest, Repo


@pytest.mark.parametrize(
    ("text", "kind", "name", "revision", "only"),
    [
        ("bert-base-uncased", "model", "bert-base-uncased", "main", ""),
        ("org/name@v1.0", "model", "org/name", "v1.0", ""),
        ("dataset:org/data@refs/pr/1", "dataset", "org/data", "refs/pr/1", ""),
        ("space:org/demo", "space", "org/demo", "main", ""),
        ("gpt2:tokenizer-only", "model", "gpt2", "main", "tokenizer-only"),
        ("model:gpt2@v1:tokenizer-only", "model", "gpt2", "v1", "tokenizer-only"),
        ("a", "model", "a", "main", ""),
        ("0rg/n.a_m-e", "model", "0rg/n.a_m-e", "main", ""),
    ],
)
def test_read(text: str, kind: str, name: str, revision: str, only: str) -> None:
    request = model_spec.parse(text)

    assert (request.repo.kind, request.repo.id) == (kind, name)
    assert (request.revision, request.only) == (revision, only)
    assert model_spec.parse(model_spec.show(request)) == request


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no repository"),
        ("@v1", "names no repository"),
        ("a/b/c", "is no repository"),
        ("../etc", "is no repository"),
        ("a--b", "is no repository"),
        ("org/na me", "is no repository"),
        ("/name", "is no repository"),
        ("name.git", "is no repository"),
        ("x" * 97, "is no repository"),
        ("https://huggingface.co/", "is an address"),
        ("gpt2:weights only", "only `:tokenizer-only` can stand there"),
        ("gpt2@a b", "has `a b` as a revision"),
        ("gpt2@a..b", "has `a..b` as a revision"),
        ("gpt2@-x", "has `-x` as a revision"),
        ("gpt2@/x", "has `/x` as a revision"),
        ("gpt2@x.lock", "has `x.lock` as a revision"),
    ],
)
def test_mistakes(text: str, said: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        model_spec.parse(text)

    assert said in str(caught.value)
    assert "org/name@revision" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("https://huggingface.co/org/name", "org/name"),
        ("https://huggingface.co/gpt2?library=transformers", "gpt2"),
        ("https://huggingface.co/org/name/tree/main", "org/name"),
        ("https://huggingface.co/org/name/blob/v1.0/config.json", "org/name@v1.0"),
        ("https://huggingface.co/datasets/org/corpus", "dataset:org/corpus"),
        ("huggingface.co/org/name", "org/name"),
        ("hf://datasets/org/corpus@v2", "dataset:org/corpus@v2"),
        ("models--org--name", "org/name"),
        ("datasets--corpus", "dataset:corpus"),
        ("datasets/org/corpus", "dataset:org/corpus"),
        ("datasets:org/corpus", "dataset:org/corpus"),
        ("org/name/", "org/name"),
        ("org/name@", "org/name"),
        ("org/name:v1.0", "org/name@v1.0"),
        ("org/name:latest", "org/name"),
        ("org/name:tokenizer", "org/name:tokenizer-only"),
    ],
)
def test_what_people_paste(text: str, meant: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        model_spec.parse(text)

    assert caught.value.hint == f"did you mean `{meant}`?"


def test_a_model_is_shown_without_what_goes_without_saying() -> None:
    assert model_spec.show(ModelRequest(repo=Repo(id="gpt2"))) == "gpt2"
