"""How much does `envforge verify` add to what it has to read anyway?

Static level: a forged prefix of 300 packages is read and judged in this process, and in turns each
file that was looked at is plainly read. What was looked at is recorded in a run of its own: every
file that was opened, every folder that was listed; files of more than a MB, of which only headers
are read, are left out on the plain side.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

sys.path[:0] = [str(Path(__file__).parents[1])]  # fakes
# ruff: noqa: E402, PTH112, PTH113, PTH208 - imports after it; text paths, as what is measured

from _measure import Report, Row
from fakes.facts import locked
from fakes.prefix_on_disk import add_record, add_torch, add_wheel, forge_prefix

from envforge.adapters.prefix.prefix_facts import read_prefix
from envforge.model.machine import Machine
from envforge.model.prefix import PrefixState
from envforge.verify.facts import HostFacts, Subject
from envforge.verify.verify import report as judged

STATIC_GOAL: Final = 1.5
PACKAGES: Final = 300
WHEELS: Final = 60
_LARGE_FILE: Final = 1 << 20
"""Of larger files only headers are read, so that the plain reading of them is no measure."""
_CUDA: Final = ("libcublas", "libcudnn", "libcufft", "libcusparse", "libcusolver", "nccl")


def main() -> int:
    """Run what was asked for; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    rounds = 9 if parser.parse_args().quick else 31
    report = Report("envforge verify")
    with tempfile.TemporaryDirectory(prefix="envforge-bench-") as scratch:
        prefix = forge(Path(scratch) / "prefix")
        _static(report, prefix, rounds)
    return report.finish()


# --- static level ---------------------------------------------------------------------------


def _static(report: Report, prefix: Path, rounds: int) -> None:
    files, folders = looked_at(lambda: verify(prefix))
    size = sum(path.stat().st_size for path in files)
    report.claim(
        f"it looks at {len(files)} files of {size / 1e6:.0f} MB, and lists {len(folders)} folders",
        len(files) > PACKAGES,
    )
    found = verify(prefix)
    report.claim("and finds nothing wrong", not found.findings, str(found.findings[:1] or ""))
    what = f"verify --level static, {PACKAGES} packages / reading the same files"
    for how, goal in (("bytes", STATIC_GOAL), ("text", None)):
        plain = _read_bytes if how == "bytes" else _read_text
        ours, other = _in_turns(
            lambda: verify(prefix), lambda plain=plain: plain(files, folders), rounds
        )
        medians = f"{sorted(ours)[rounds // 2]:.3f} and {sorted(other)[rounds // 2]:.3f} s"
        values = tuple(one / two for one, two in zip(ours, other, strict=True))
        report.rows.append(Row(f"{what} as {how}", values, goal, detail=medians))


def verify(prefix: Path) -> Any:
    """Read and judge it; no driver is asked, since nothing else is to be read for that."""
    environment = {"HOME": str(prefix.parent), "PATH": os.defpath}
    facts = read_prefix(prefix, state=PrefixState.FOREIGN, environment=environment)
    return judged(
        Subject(
            name="bench",
            kind="prefix",
            level="static",
            host=HostFacts(machine=Machine()),
            prefix=facts,
            missing={"probe": "level static"},
        )
    )


def looked_at(action: Callable[[], object]) -> tuple[list[Path], list[Path]]:
    """The files that an action opens and the folders that it lists, by the interpreter's own word.

    Modules and bytecode that are imported for the first time are none of them.
    """
    action()
    files: dict[str, None] = {}
    folders: dict[str, None] = {}
    watching = [True]

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if not watching:
            return
        if event == "open" and isinstance(args[0], (str, os.PathLike)):
            files[os.fspath(args[0])] = None
        elif event in {"os.listdir", "os.scandir"} and isinstance(args[0], (str, os.PathLike)):
            folders[os.fspath(args[0])] = None

    sys.addaudithook(hook)
    action()
    watching.clear()
    small = (Path(name) for name in files if os.path.isfile(name))
    there = (Path(name) for name in folders if os.path.isdir(name))
    return [path for path in small if path.stat().st_size <= _LARGE_FILE], list(there)


def _read_bytes(files: list[Path], folders: list[Path]) -> int:
    """As anybody would write it."""
    read = sum(len(path.read_bytes()) for path in files)
    return read + sum(len(os.listdir(folder)) for folder in folders)


def _read_text(files: list[Path], folders: list[Path]) -> int:
    read = sum(len(path.read_text(encoding="utf-8", errors="replace")) for path in files)
    return read + sum(len(os.listdir(folder)) for folder in folders)


def _in_turns(
    first: Callable[[], object], second: Callable[[], object], rounds: int
) -> tuple[list[float], list[float]]:
    """Seconds of processor time, the kernel's included, since all is read from memory; in turns."""
    seconds: tuple[list[float], list[float]] = ([], [])
    pair = ((first, seconds[0]), (second, seconds[1]))
    for number in range(rounds):
        for action, kept in pair if number % 2 == 0 else reversed(pair):
            gc.collect()
            begun = time.process_time()
            action()
            kept.append(time.process_time() - begun)
    return seconds


# --- the prefix -----------------------------------------------------------------------------


def forge(root: Path) -> Path:
    """300 packages as an environment for training has them; the same bytes every time.

    Records are as long as real ones: some hundreds of files each, torch with ten thousand.
    """
    seed = random.Random(3)
    forge_prefix(root, (), python="3.11")
    names = [f"package{number}" for number in range(PACKAGES - WHEELS - len(_CUDA) - 2)]
    add_record(root, locked("python", "3.11.9"), _files("lib/python3.11", 2000, seed))
    for name in names:
        add_record(root, locked(name, "1.2.3", "py311h5eee18b_0"), _modules(name, seed))
    for name in _CUDA:
        library = root / "lib" / f"{name}.so.12"
        library.parent.mkdir(exist_ok=True)
        _sparse(library)
        add_record(root, locked(name, "12.4.5"), {f"lib/{library.name}": library.stat().st_size})
    add_torch(root, {"__version__": "2.5.1+cu124", "cuda": "12.4"}, python="3.11")
    for library in (root / "lib/python3.11/site-packages/torch/lib").glob("*.so"):
        _sparse(library)
    _wheels(root, seed)
    for record in (root / "conda-meta").glob("*.json"):
        _with_hashes(record)
    return root


def _modules(name: str, seed: random.Random) -> dict[str, Any]:
    """A package of Python: its modules by name and size, its dist-info for real."""
    count = min(4000, int(seed.lognormvariate(5.2, 1.0)) + 4)
    site = "lib/python3.11/site-packages"
    folder = f"{site}/{name}-1.2.3.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.3\n"
    metadata += "".join(f"Requires-Dist: package{n} (>=1)\n" for n in range(seed.randrange(8)))
    return {
        **_files(f"{site}/{name}", count, seed),
        f"{folder}/METADATA": metadata + "\n" + "# Read me\n" * seed.randrange(2000),
        f"{folder}/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
        f"{folder}/INSTALLER": "conda",
        f"{folder}/RECORD": _record(f"{name}", count),
        f"{folder}/top_level.txt": f"{name}\n",
    }


def _files(folder: str, count: int, seed: random.Random) -> dict[str, Any]:
    return {
        f"{folder}/part{number // 40}/module_of_it_{number}.py": seed.randrange(1, 60_000)
        for number in range(count)
    }


def _with_hashes(record: Path) -> None:
    """Entries as long as conda's: a hash twice over, and the mode."""
    document = json.loads(record.read_text(encoding="utf-8"))
    for entry in document["paths_data"]["paths"]:
        digest = hashlib.sha256(entry["_path"].encode()).hexdigest()
        entry |= {"sha256": digest, "sha256_in_prefix": digest, "file_mode": "text"}
    record.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _record(folder: str, count: int) -> str:
    digest = hashlib.sha256(folder.encode()).hexdigest()[:43]
    lines = (f"{folder}/module_of_it_{n}.py,sha256={digest},{n}" for n in range(count))
    return "\n".join(lines) + "\n"


def _wheels(root: Path, seed: random.Random) -> None:
    libraries = {f"torch/lib/{name}": 4096 for name in ("libtorch_cpu.so", "libtorch_cuda.so")}
    for number in range(WHEELS - 1):
        name = f"wheel{number}"
        files = _files(name, int(seed.lognormvariate(4.2, 1.0)) + 2, seed)
        add_wheel(root, name, "2.0.1", files, requires=["packaging", "numpy"], python="3.11")
    files = {**_files("torch", 11_000, seed), **libraries}
    add_wheel(root, "torch", "2.5.1+cu124", files, requires=["filelock"], python="3.11")


def _sparse(path: Path) -> None:
    """As large as it says, and nothing on the disk."""
    with path.open("wb") as stream:
        stream.truncate(4096)


if __name__ == "__main__":
    sys.exit(main())
