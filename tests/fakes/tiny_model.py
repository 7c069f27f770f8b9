"""A BERT small enough to be made in a millisecond, and real enough for every loader.

    files = tiny_bert(seed=1)   # config.json, model.safetensors, vocab.txt, tokenizer files

`python tests/fakes/tiny_model.py DIR` writes them into a folder.

The weights are a real safetensors file, written here by its format's few rules (its README,
"Format"): a length, a JSON header, the tensors.
"""

from __future__ import annotations

import json
import random
import struct
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

HIDDEN, INNER, POSITIONS = 8, 16, 32
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "dog", "sat", "ran", "##s")
_BLOCK = "encoder.layer.0"


def config(vocabulary: int = len(WORDS)) -> dict[str, object]:
    """What transformers makes the model from."""
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "pad_token_id": 0,
    }


def _shapes() -> dict[str, tuple[int, ...]]:
    """Every parameter of a `BertModel` of this size."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(WORDS), HIDDEN),
        "embeddings.position_embeddings.weight": (POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
    }
    linear = {
        f"{_BLOCK}.attention.self.query": (HIDDEN, HIDDEN),
        f"{_BLOCK}.attention.self.key": (HIDDEN, HIDDEN),
        f"{_BLOCK}.attention.self.value": (HIDDEN, HIDDEN),
        f"{_BLOCK}.attention.output.dense": (HIDDEN, HIDDEN),
        f"{_BLOCK}.intermediate.dense": (INNER, HIDDEN),
        f"{_BLOCK}.output.dense": (HIDDEN, INNER),
        "pooler.dense": (HIDDEN, HIDDEN),
    }
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    norms = ("embeddings", f"{_BLOCK}.attention.output", f"{_BLOCK}.output")
    for name in norms:
        shapes |= {f"{name}.LayerNorm.weight": (HIDDEN,), f"{name}.LayerNorm.bias": (HIDDEN,)}
    return shapes


def safetensors(tensors: Mapping[str, tuple[tuple[int, ...], list[float]]]) -> bytes:
    """A file of 32-bit floats."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, (shape, values) in sorted(tensors.items()):
        data = struct.pack(f"<{len(values)}f", *values)
        place = [len(body), len(body) + len(data)]
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": place}
        body += data
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def values(seed: int) -> dict[str, tuple[tuple[int, ...], list[float]]]:
    """The tensors: the same for the same seed."""
    dice = random.Random(seed)
    found = {}
    for name, shape in sorted(_shapes().items()):
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        found[name] = (shape, [dice.uniform(-0.5, 0.5) for _ in range(count)])
    return found


@cache
def tiny_bert(seed: int = 0) -> dict[str, bytes]:
    """A whole repository."""
    tokenizer = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    return {
        "README.md": b"# A tiny BERT\n",
        "config.json": json.dumps(config(), indent=2).encode(),
        "model.safetensors": safetensors(values(seed)),
        "tokenizer_config.json": json.dumps(tokenizer).encode(),
        "tokenizer.json": _tokenizer(),
        "vocab.txt": "".join(f"{word}\n" for word in WORDS).encode(),
    }


def _tokenizer() -> bytes:
    """As the `tokenizers` library writes it: whole words only, for WordPiece's vocabulary."""
    special = [
        {"id": place, "content": word, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for place, word in enumerate(WORDS[:5])
    ]
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "BertProcessing",
            "sep": ["[SEP]", 3],
            "cls": ["[CLS]", 2],
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {word: place for place, word in enumerate(WORDS)},
        },
    }
    return json.dumps(document).encode()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in tiny_bert().items():
        (folder / name).write_bytes(data)
