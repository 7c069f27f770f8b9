"""What a program does with huggingface_hub and transformers; run by a client's Python.

`python hub_client.py '[["file", {"repo": …, "name": …}], …]'` prints one JSON answer a step:
`{"result": …}` or `{"error": "Class: message"}`. Python 3.8 or newer, and no other part of ours.
"""

import hashlib
import json
import os
import sys
import warnings
from importlib.metadata import distributions
from pathlib import Path

warnings.simplefilter("ignore")


def file(repo, name, **about):
    """`hf_hub_download`."""
    from huggingface_hub import hf_hub_download

    return seen(hf_hub_download(repo, name, **about))


def snapshot(repo, **about):
    """`snapshot_download`: every file below, by its path."""
    from huggingface_hub import snapshot_download

    top = Path(snapshot_download(repo, **about))
    return {str(p.relative_to(top)): seen(p) for p in top.rglob("*") if not p.is_dir()}


def seen(path):
    """What a file is."""
    data = Path(path).read_bytes()
    inode = Path(path).stat().st_ino
    return {"path": str(path), "inode": inode, "sha256": hashlib.sha256(data).hexdigest()}


def scan():
    """`scan_cache_dir`: repositories with their revisions, and what it warns of."""
    from huggingface_hub import scan_cache_dir

    info = scan_cache_dir()
    return {
        "repos": {
            repo.repo_id: {r.commit_hash: sorted(r.refs) for r in repo.revisions}
            for repo in info.repos
        },
        "warnings": [str(warning) for warning in info.warnings],
    }


def delete(*revisions):
    """As `hf cache rm` does it; bytes that it says it frees."""
    from huggingface_hub import scan_cache_dir

    plan = scan_cache_dir().delete_revisions(*revisions)
    plan.execute()
    return plan.expected_freed_size


def write(path):
    """Try to change a file through its name in a snapshot."""
    with Path(path).open("r+b") as stream:
        stream.write(b"\0")


def chmod(path):
    """Try to make it writable first."""
    Path(path).chmod(0o644)


def tokens(repo, text, tokenizer="AutoTokenizer", **about):
    """A tokenizer's numbers."""
    import transformers

    return getattr(transformers, tokenizer).from_pretrained(repo, **about)(text)["input_ids"]


def hidden_size(repo, config="AutoConfig", **about):
    """A configuration's."""
    import transformers

    return getattr(transformers, config).from_pretrained(repo, **about).hidden_size


def weights(repo, name="model.safetensors", **about):
    """Tensors, read by the safetensors library from where transformers' own lookup finds them."""
    from safetensors.numpy import load_file
    from transformers.utils import cached_file

    tensors = load_file(cached_file(repo, name, **about))
    return {key: [float(v) for v in value.reshape(-1)[:4]] for key, value in tensors.items()}


def flat_file(repo, name):
    """`cached_path` of transformers before 4.22, with the address that its loaders make."""
    from transformers.file_utils import cached_path, hf_bucket_url

    return seen(cached_path(hf_bucket_url(repo, filename=name), local_files_only=True))


def embedding(repo, text, **about):
    """What a real model makes of a text: the mean of its last hidden state."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(repo, **about)
    model = transformers.AutoModel.from_pretrained(repo, **about).eval()
    with torch.no_grad():
        state = model(**tokenizer(text, return_tensors="pt")).last_hidden_state
    return state.mean(dim=1)[0].tolist()


def dataset(repo, **about):
    """`load_dataset`: the rows of its first split."""
    from datasets import load_dataset

    found = load_dataset(repo, **about)
    return found[next(iter(found))].to_list()


def become(uid, repo, cache):
    """Go on as another user, who may not even see our Python: so all of it is imported first."""
    warm = {"repo": repo, "cache_dir": cache}
    snapshot(**warm)
    file(name="config.json", local_files_only=True, **warm)
    scan()
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


def versions():
    """Of what is installed."""
    names = ("huggingface_hub", "transformers", "torch", "datasets")
    return {d.metadata["Name"]: d.version for d in distributions() if d.metadata["Name"] in names}


def answer(name, arguments):
    """One step, with whatever goes wrong in it."""
    step = globals()[name]
    try:
        done = step(**arguments) if isinstance(arguments, dict) else step(*arguments)
    except Exception as error:  # noqa: BLE001 - it is the answer
        return {"error": f"{type(error).__name__}: {error}"}
    return {"result": done}


if __name__ == "__main__":
    for name, arguments in json.loads(sys.argv[1]):
        sys.stdout.write("\n@ " + json.dumps(answer(name, arguments)) + "\n")
        sys.stdout.flush()
