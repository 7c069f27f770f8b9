"""Loads a snapshot as a program would, and says how long it took.

Runs in the environment that is proven: Python 3.8 or newer, its libraries, and no envforge. It is
handed a JSON object (`repo`, `kind`, `revision`, `files`), and writes one behind `MARK`.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import mmap
import sys
import time

# `typing.Any` and the like are names in annotations only, which Python 3.8 does not evaluate.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Order = dict[str, Any]
    Loader = tuple[str, Callable[[], Any]]

MARK = "envforge-loaded "
_WEIGHTS = (".safetensors", ".bin", ".pt")
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model")
_STRIDE = 512  # elements: less than a page of any type
_UNTIL_SEEN = 0.05  # seconds: twice what passes between two looks at what is mapped


class UnableError(Exception):
    """A loader that this environment, or this repository, has nothing for."""


def load_model(order: Order) -> Loader:
    """As most programs do: `AutoModel`, and `AutoTokenizer` where there is one."""
    if order["kind"] != "model" or "config.json" not in order["files"]:
        raise UnableError("no config.json")
    if not any(name.endswith(_WEIGHTS) for name in order["files"]):
        raise UnableError("no weights")
    _need("transformers", "torch")
    transformers = importlib.import_module("transformers")
    auto = transformers.AutoModel, transformers.AutoTokenizer
    about = {
        "revision": order["revision"],
        "local_files_only": True,
        "trust_remote_code": False,
    }
    config = transformers.AutoConfig.from_pretrained(order["repo"], **about)
    if type(config) in transformers.MODEL_MAPPING:  # asking imports it, which is no part of a load
        transformers.MODEL_MAPPING[type(config)]
    return "transformers.AutoModel", lambda: _with_transformers(order, *auto, about)


def _with_transformers(order: Order, auto_model: Any, auto_tokenizer: Any, about: Any) -> Any:
    model = auto_model.from_pretrained(order["repo"], **about)
    for weights in model.parameters():  # what is only mapped has not been read yet
        weights.detach().reshape(-1)[::_STRIDE].float().sum()
    if not set(_TOKENIZERS).intersection(order["files"]):
        return model
    return model, auto_tokenizer.from_pretrained(order["repo"], **about)


def load_files(order: Order) -> Loader:
    """Every file through huggingface_hub, mapped and read to its end."""
    _need("huggingface_hub")
    hub = importlib.import_module("huggingface_hub")
    return "huggingface_hub", lambda: _with_hub(order, hub.hf_hub_download)


def _with_hub(order: Order, download: Any) -> Any:
    about = {"repo_type": order["kind"], "revision": order["revision"], "local_files_only": True}
    paths = [download(order["repo"], name, **about) for name in order["files"]]
    return [_mapped(path) for path in paths]


def _mapped(path: str) -> Any:
    with open(path, "rb") as stream:  # noqa: PTH123 - a library's answer, taken as it is
        if not stream.seek(0, 2):
            return b""
        found = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    for start in range(0, len(found), mmap.PAGESIZE):
        found[start]
    return found


def _need(*modules: str) -> None:
    for name in modules:
        if importlib.util.find_spec(name) is None:
            raise UnableError(f"no {name}")


def main(order: Order) -> int:
    """Take the first loader that can."""
    notes = []
    for prepare in (load_model, load_files):
        try:
            began = time.perf_counter()
            name, load = prepare(order)
            ready = time.perf_counter()
            kept = load()
        except Exception as error:  # noqa: BLE001 - of any library: the next one is tried
            notes.append(f"{prepare.__name__}: {type(error).__name__}: {error}")
            continue
        answer = {
            "loader": name,
            "seconds": time.perf_counter() - ready,
            "import_seconds": ready - began,
            "notes": notes,
        }
        sys.stdout.write(f"\n{MARK}{json.dumps(answer)}\n")
        sys.stdout.flush()
        time.sleep(_UNTIL_SEEN)
        del kept
        return 0
    sys.stderr.write("\n".join(notes) + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
