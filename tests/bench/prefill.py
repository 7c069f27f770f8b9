"""Prefill: `python tests/bench/prefill.py [--quick]`.

`envforge cache prefill` against a plain parallel download of the same bytes, and a second
environment's prefill of the same models against the system calls that no view can do without.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from _measure import ROOT, Report, Row, Run, alternate, clean_environment, ratio, run

sys.path.insert(0, str(ROOT / "tests"))

from fakes.hub_repos import HubRepo
from fakes.local_hub import Fault, LocalHub
from fakes.prefilling import PrefillWorld

FETCH_GOAL = 1.15
LINK_GOAL = 3.0
REPO = "org/big"
WEIGHTS, SMALL = 8, 40
SMALL_SIZE = 20_000
FILES = 2000
"""Of the second environment's model."""
LINE = 0.002
"""Seconds before every 64 KiB of each of 8 connections: some 2 Gbit/s in all. An unlimited loopback
moves bytes faster than a core hashes them, so there the hash, and not the fetching, is compared."""
BARE = Path(__file__).with_name("_bare_fetch.py")
PEER = """
import sys
from huggingface_hub import snapshot_download
snapshot_download(sys.argv[1], cache_dir=sys.argv[2])
"""


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer bytes and rounds")
    parser.add_argument("--serve", nargs=2, metavar=("FOLDER", "SECONDS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(Path(options.serve[0]), float(options.serve[1]))
    size, rounds = (24 << 20, 3) if options.quick else (128 << 20, 5)
    line_goal = (
        None if options.quick else FETCH_GOAL
    )  # so few bytes: starting Python outweighs them
    report = Report(f"Prefill: {WEIGHTS} of {size >> 20} MiB, {SMALL} of {SMALL_SIZE // 1000} kB")
    with tempfile.TemporaryDirectory(dir=os.environ.get("ENVFORGE_BENCH_FOLDER")) as name:
        scratch = Path(name)
        scratch.chmod(0o755)
        make_repo(scratch / "hub" / "models--org--big", size)
        for what, delay, goal in (("2 Gbit/s", LINE, line_goal), ("loopback", 0.0, None)):
            with served(scratch / "hub", delay) as address:
                Fetching(scratch, address, report, what, rounds).measure(goal, references=not delay)
        second_environment(scratch, report, rounds)
    return report.finish()


def make_repo(folder: Path, size: int) -> None:
    """Weights and small files; the same seed gives the same bytes."""
    folder.mkdir(parents=True)
    dice = random.Random(4)
    for number in range(WEIGHTS):
        (folder / f"model-{number}.safetensors").write_bytes(dice.randbytes(size))
    for number in range(SMALL):
        (folder / f"part-{number}.json").write_bytes(dice.randbytes(SMALL_SIZE))


# --- the hub, in a process of its own -------------------------------------------------------


def serve(folder: Path, delay: float) -> int:
    """Serve until standard input ends; the first line told is the lock, the second the address."""
    from fakes.local_hub import folder_of_repos

    with LocalHub() as hub:
        folder_of_repos(folder, hub)
        if delay:
            hub.faults["*/resolve/*"] = Fault(chunk_delay=delay)
        repo = hub.repos["model", REPO]
        told = {"url": hub.url, "commit": repo.head, "paths": list(repo.files)}
        print(json.dumps(told), flush=True)
        for line in sys.stdin:
            if line.strip() == "lock":
                world = PrefillWorld(folder.parent / "world", hub)
                world.env("e", repo)
            print(hub.payload_bytes, flush=True)
    return 0


class Served:
    """A hub that is being served."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin
        assert process.stdout
        self._to, self._from = process.stdin, process.stdout
        told = json.loads(self._from.readline())
        self.url: str = told["url"]
        self.paths = [f"/{REPO}/resolve/{told['commit']}/{path}" for path in told["paths"]]

    def ask(self, what: str) -> int:
        """Have it do something, and answer how many bytes of files it has sent."""
        self._to.write(f"{what}\n")
        self._to.flush()
        return int(self._from.readline())


@contextmanager
def served(folder: Path, delay: float) -> Iterator[Served]:
    """The repositories of a folder, by a process of their own."""
    (folder.parent / "world").mkdir(exist_ok=True)
    command = [sys.executable, __file__, "--serve", str(folder), str(delay)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield Served(process)
        assert process.stdin
        process.stdin.close()


# --- a first prefill ------------------------------------------------------------------------


class Fetching:
    """What fetches the same bytes, each as a process from start to end."""

    def __init__(self, scratch: Path, hub: Served, report: Report, line: str, rounds: int) -> None:
        self.scratch, self.hub, self.report = scratch, hub, report
        self.line, self.rounds = line, rounds
        self.env = clean_environment(scratch / "home")
        world = scratch / "world"
        self.env |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(scratch / "hf")}
        self.env |= {"ENVFORGE_STORE": str(world / "store"), "ENVFORGE_ENVS": str(world / "envs")}
        self.env["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

    def measure(self, goal: float | None, *, references: bool = False) -> None:
        """Compare with the plain download, and say what its flush and its hash are worth."""
        before = self.hub.ask("lock")
        ours, plain = alternate(self.prefill, lambda: self.bare("sync"), self.rounds)
        self.report.rows.append(ratio(f"{self.line}: prefill / plain download", ours, plain, goal))
        sent = (self.hub.ask("count") - before) // (2 * (self.rounds + 1))
        shown = sum(path.stat().st_size for path in (self.scratch / "hub").rglob("*.*"))
        self.report.claim(f"{self.line}: every byte is sent once", sent == shown)
        if references:
            self.references()

    def references(self) -> None:
        """What the same takes with a hash, and with huggingface_hub's own command."""
        for what, other in (
            ("plain download with sha256", lambda: self.bare("sync", "hash")),
            ("plain download, not flushed", self.bare),
            ("snapshot_download", self.peer),
        ):
            ours, theirs = alternate(self.prefill, other, max(3, self.rounds // 2), warm_up=False)
            self.report.rows.append(ratio(f"{self.line}: prefill / {what}", ours, theirs, None))

    def prefill(self) -> Run:
        """Ours, into an empty store."""
        self.forget()
        self.hub.ask("lock")
        program = "from envforge.cli import main; main()"
        command = [sys.executable, "-c", program, "cache", "prefill", "e", "--no-view", "--quiet"]
        return run(command, self.env)

    def bare(self, *options: str) -> Run:
        """The floor."""
        self.forget()
        paths = self.scratch / "paths"
        paths.write_text("\n".join(self.hub.paths), encoding="utf-8")
        call = f"import sys, runpy; sys.stdin = open({str(paths)!r}); "
        call += f"sys.argv = {[str(BARE), self.hub.url, str(self.scratch / 'plain'), *options]!r}; "
        call += f"runpy.run_path({str(BARE)!r}, run_name='__main__')"
        return run([sys.executable, "-c", call], self.env)

    def peer(self) -> Run:
        """What a person would use otherwise."""
        self.forget()
        return run([sys.executable, "-c", PEER, REPO, str(self.scratch / "hf-cache")], self.env)

    def forget(self) -> None:
        """Start from nothing, with nothing left to write."""
        for name in ("plain", "hf-cache", "world/store"):
            shutil.rmtree(self.scratch / name, ignore_errors=True)
        os.sync()


# --- a second environment -------------------------------------------------------------------


def second_environment(scratch: Path, report: Report, rounds: int) -> None:
    """The same models once more: what comes is names only."""
    with LocalHub() as hub:
        repo = hub.add(REPO, {f"{n % 50}/part-{n}.json": b"%d" % n for n in range(FILES)})
        folder = scratch / "second"
        folder.mkdir()
        world = PrefillWorld(folder, hub)
        world.env("first", repo)
        world.cache.prefill(["first"])
        hub.forget()
        listed = [(path, blob.etag, blob.sha256) for path, blob in repo.files.items()]
        pairs = [again(world, repo, f"env-{number}", listed) for number in range(rounds + 1)][1:]
        values = tuple(ours / floor for ours, floor in pairs)
        detail = "{:.3f} and {:.3f} s".format(
            *(statistics.median(side) for side in zip(*pairs, strict=True))
        )
        what = f"second environment, {FILES} files / link floor"
        report.rows.append(Row(what, values, LINK_GOAL, detail=detail))
        report.claim("a second environment asks the hub for nothing", not hub.log)


def again(
    world: PrefillWorld, repo: HubRepo, name: str, listed: list[tuple[str, str, str]]
) -> tuple[float, float]:
    """Seconds of one more environment, and of its links alone."""
    world.env(name, repo)
    cache = world.cache
    ours = timed(lambda: cache.prefill([name]))
    return ours, timed(lambda: links(world.store.root, world.root / f"floor-{name}", listed))


def links(store: Path, view: Path, files: list[tuple[str, str, str]]) -> None:
    """Folders, a hardlink for each blob and a relative symbolic link for each name."""
    blobs, top = view / "blobs", view / "snapshots" / "commit"
    blobs.mkdir(parents=True)
    for folder in {path.rpartition("/")[0] for path, _, _ in files}:
        (top / folder).mkdir(parents=True)
    for path, etag, sha256 in files:
        os.link(f"{store}/{sha256[:2]}/{sha256}", f"{blobs}/{etag}")
        target = f"{'../' * (path.count('/') + 2)}blobs/{etag}"
        os.symlink(target, f"{top}/{path}")  # noqa: PTH211 - the floor makes no Path objects


def timed(action: Callable[[], object]) -> float:
    """Seconds that it takes."""
    os.sync()
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
