"""Which files a request means: held against huggingface_hub's own filter."""

from __future__ import annotations

from huggingface_hub.utils import filter_repo_objects
from hypothesis import given
from hypothesis import strategies as st

from envforge.cache import patterns
from envforge.model.models import TOKENIZER_FILES, ModelRequest, Repo

PATHS = (
    *("config.json", "model.safetensors", "model-00001-of-00002.safetensors", "tokenizer.json"),
    *("onnx/model.onnx", "onnx/config.json", "README.md", "vocab.txt", "pytorch_model.bin"),
    *("a[1].bin", "Ünïcode/x.bin", ".gitattributes", "spiece.model", "1_Pooling/config.json"),
)
PATTERNS = st.lists(
    st.sampled_from(("*", "*.json", "onnx/", "onnx/*", "model*", "[mt]*", "a[[]1].bin", "x", "?o*"))
    | st.text("*?[]!ao/.json", max_size=6),
    max_size=3,
)


def meant(request: ModelRequest) -> list[str]:
    means = patterns.matcher(request)
    return [path for path in PATHS if means(path)]


@given(allow=PATTERNS, ignore=PATTERNS)
def test_as_huggingface_hub_filters(allow: list[str], ignore: list[str]) -> None:
    request = ModelRequest(repo=Repo(id="a"), allow=tuple(allow), ignore=tuple(ignore))
    expected = filter_repo_objects(
        PATHS, allow_patterns=allow or None, ignore_patterns=ignore or None
    )

    assert meant(request) == list(expected)


def test_no_patterns_mean_everything() -> None:
    assert meant(ModelRequest(repo=Repo(id="a"))) == list(PATHS)


def test_tokenizer_only_leaves_the_weights_out() -> None:
    request = ModelRequest(repo=Repo(id="a"), only="tokenizer-only", ignore=("onnx/",))

    assert meant(request) == [
        *("config.json", "tokenizer.json", "vocab.txt", "spiece.model", "1_Pooling/config.json")
    ]
    assert not any(pattern.endswith(("safetensors", "bin")) for pattern in TOKENIZER_FILES)
