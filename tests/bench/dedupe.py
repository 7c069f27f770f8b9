"""Deduping: `python tests/bench/dedupe.py [--quick] [--world FOLDER] [--rounds N]`.

`envforge cache dedupe`, a process from start to finish, against jdupes, rdfind, rmlint and
util-linux hardlink, each where it is installed, on generated caches (`caches.py`); and against
the floor (`_dedupe_floor.py`). Cold: the kernel's caches are dropped before, which needs root;
warm: every file was read before. After every run the tree is compared, byte by byte, with an
untouched one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

sys.path.insert(0, str(Path(__file__).parents[1]))

import caches
from _measure import Report, Row, Run, clean_environment, run

DEFAULT: Final = 2.0
TRUST: Final = 5.0
COMPARE: Final = 1.0
"""How many times as fast as the fastest peer, cold, on the large set."""
RERUN: Final = 1.5
"""Times the floor of looking every file up."""
DROP: Final = Path("/proc/sys/vm/drop_caches")
_PIECE: Final = 1 << 20
Kind = Literal["large", "small"]
State = Literal["cold", "warm"]
PEERS: Final = ("hardlink", "jdupes", "rdfind", "rmlint")
MODES: Final = {
    "default": (),
    "--compare": ("--compare",),
    "--trust-names": ("--trust-names",),
}


@dataclass
class Bench:
    """An untouched tree, one to work in, and envforge's own folders."""

    scratch: Path
    kind: Kind
    untouched: Path
    home: Path = field(init=False)
    work: Path = field(init=False)

    def __post_init__(self) -> None:
        self.home = self.scratch / "home"
        self.work = self.scratch / "work"

    # --- states ---------------------------------------------------------------------------

    def reset(self) -> None:
        """The tree as it was: names that were linked get their bytes back, with their times."""
        if not self.work.exists():
            shutil.copytree(self.untouched, self.work, symlinks=True)
        shared = [path for path in files_of(self.work) if path.stat().st_nlink > 1]
        for path in shared:
            path.unlink()
        for path in shared:
            shutil.copy2(self.untouched / path.relative_to(self.work), path)
        shutil.rmtree(self.home, ignore_errors=True)

    def settle(self, state: State) -> None:
        """Everything written; then nothing, or all of it, in memory."""
        os.sync()
        if state == "cold":
            DROP.write_text("3\n", encoding="ascii")
            subprocess.run([sys.executable, "-c", ""], check=True)
        else:
            for path in files_of(self.work):
                with path.open("rb") as stream:
                    while stream.read(_PIECE):
                        pass

    # --- runs -----------------------------------------------------------------------------

    def ours(self, *options: str) -> Run:
        """`envforge cache dedupe`."""
        program = [sys.executable, "-m", "envforge", "cache", "dedupe", "--quiet", *options]
        return run([*program, self.work], clean_environment(self.home), self.scratch)

    def peer(self, name: str) -> Run:
        """One of the others, told to put hardlinks and to go by content alone."""
        commands: dict[str, list[str | Path]] = {
            "hardlink": ["hardlink", "--content", self.work],
            "jdupes": ["jdupes", "--quiet", "--recurse", "--link-hard", self.work],
            "rdfind": [
                *("rdfind", "-makehardlinks", "true", "-makeresultsfile", "false"), self.work,
            ],
            "rmlint": [
                *("sh", "-c", 'rmlint -o sh:r.sh -c sh:hardlink "$0" >log && ./r.sh -d -q -x'),
                self.work,
            ],
        }  # fmt: skip
        return run(commands[name], clean_environment(self.home), self.scratch)

    def floor(self, task: str, subject: Path) -> Run:
        """The least that can be done."""
        script = Path(__file__).with_name("_dedupe_floor.py")
        command = [sys.executable, "-I", "-S", script, task, subject]
        return run(command, clean_environment(self.home), self.scratch)

    def link_list(self) -> Path:
        """What the floor is to link: blobs of one name."""
        first: dict[str, Path] = {}
        listed = self.scratch / "list"
        with listed.open("w", encoding="utf-8") as out:
            for path in files_of(self.work):
                kept = first.setdefault(path.name, path)
                if path.parent.name == "blobs":
                    out.write(f"{path}\t{'' if kept == path else kept}\n")
        return listed

    # --- checks ---------------------------------------------------------------------------

    def same_bytes(self) -> bool:
        """Whether every name leads to what it led to; each inode is read once."""
        seen: dict[int, list[Path]] = {}
        mine = {path.relative_to(self.work) for path in files_of(self.work)}
        if mine != {path.relative_to(self.untouched) for path in files_of(self.untouched)}:
            return False
        for path in mine:
            seen.setdefault((self.work / path).stat().st_ino, []).append(path)
        return all(
            equal([self.work / paths[0], *(self.untouched / path for path in paths)])
            for paths in seen.values()
        )

    def linked_metadata(self) -> int:
        """Files that are no payload and share an inode: refs, listings, tags."""
        return sum(
            path.stat().st_nlink > 1
            for path in files_of(self.work)
            if path.parent.name in {"refs", "trees", "hub"} or path.suffix in {".json", ".metadata"}
        )

    def left(self) -> int:
        """Bytes on disk."""
        return sum(
            {(p.stat().st_ino): p.stat().st_blocks * 512 for p in files_of(self.work)}.values()
        )


def files_of(folder: Path) -> Iterator[Path]:
    """Regular files below, in a stable order."""
    for where, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(where, name)
            if not path.is_symlink():
                yield path


def equal(paths: Sequence[Path]) -> bool:
    """Byte by byte."""
    for path in paths[1:]:
        with paths[0].open("rb") as one, path.open("rb") as two:
            while True:
                piece = one.read(_PIECE)
                if piece != two.read(_PIECE):
                    return False
                if not piece:
                    break
    return True


# --- comparisons ----------------------------------------------------------------------------


def contest(bench: Bench, report: Report, state: State, rounds: int, *, goals: bool) -> None:
    """All of them on the same tree, in turns."""
    what = f"{bench.kind}, {state}"
    peers = [name for name in PEERS if shutil.which(name)]
    for name in set(PEERS) - set(peers):
        report.skip(f"{what}: {name}", "not installed")
    if bench.kind == "small" and "rmlint" in peers:
        peers.remove("rmlint")
        report.skip(f"{what}: rmlint", "its script forks for each of 40 000 files: minutes")
    runs: dict[str, list[Run]] = {}
    actions: dict[str, Callable[[], Run]] = {
        **{name: (lambda name=name: bench.peer(name)) for name in peers},  # type: ignore[misc]
        **{mode: (lambda given=given: bench.ours(*given)) for mode, given in MODES.items()},  # type: ignore[misc]
        "floor": lambda: bench.floor("link", bench.link_list()),
    }
    for number in range(rounds):
        for name, action in actions.items():
            bench.reset()
            bench.settle(state)
            runs.setdefault(name, []).append(action())
            if number == 0:
                check(bench, report, f"{what}: {name}", ours=name in MODES)
    show(what, runs)
    if peers:
        judge(report, what, runs, peers, goals and bench.kind == "large" and state == "cold")


def check(bench: Bench, report: Report, what: str, *, ours: bool) -> None:
    """That nothing was harmed; for ours it is a claim, of others it is told."""
    same, metadata = bench.same_bytes(), bench.linked_metadata()
    detail = f"{metadata} metadata files linked, {bench.left() / 1e9:.3f} GB left"
    if ours:
        report.claim(f"{what}: same bytes, no metadata linked", same and not metadata, detail)
    else:
        print(f"{what}: {'same bytes' if same else 'OTHER BYTES'}, {detail}", flush=True)


def show(what: str, runs: dict[str, list[Run]]) -> None:
    """Absolute times, for orientation."""
    for name, found in runs.items():
        seconds = [item.seconds for item in found]
        print(f"{what}: {name:14} {statistics.median(seconds):8.2f} s  of {seconds}", flush=True)


def judge(
    report: Report, what: str, runs: dict[str, list[Run]], peers: Sequence[str], goals: bool
) -> None:
    """Each mode against the fastest peer of its round."""
    aims = {"default": DEFAULT, "--compare": COMPARE, "--trust-names": TRUST}
    for mode, aim in aims.items():
        values = tuple(
            min(runs[name][number].seconds for name in peers) / ours.seconds
            for number, ours in enumerate(runs[mode])
        )
        fastest = min(peers, key=lambda name: statistics.median(r.seconds for r in runs[name]))
        row = Row(
            f"{what}: fastest peer / {mode}",
            values,
            aim if goals else None,
            at_least=True,
            detail=f"fastest is {fastest}",
        )
        report.rows.append(row)


def rerun(bench: Bench, report: Report, rounds: int, *, goals: bool) -> None:
    """On the deduped tree: nothing is left to do, and that is to be seen at once."""
    bench.reset()
    bench.ours()
    bench.ours()
    pairs = [(bench.ours(), bench.floor("stat", bench.work)) for _ in range(2 * rounds)]
    values = tuple(ours.seconds / floor.seconds for ours, floor in pairs)
    detail = f"{pairs[-1][0].seconds:.3f} and {pairs[-1][1].seconds:.3f} s"
    goal = RERUN if goals and bench.kind == "small" else None  # of a few files, starting is all
    report.rows.append(Row(f"{bench.kind}: rerun / stat floor", values, goal, detail=detail))


def new_copy(bench: Bench, report: Report, rounds: int) -> None:
    """One user more on a deduped tree: with remembered hashes, and without."""
    values = []
    source, target = bench.untouched / "ada", bench.work / "zoe"
    for _ in range(rounds):
        bench.reset()
        bench.ours()
        for forget in (False, True):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, symlinks=True)
            if forget:
                shutil.rmtree(bench.home)
            values.append(bench.ours().seconds)
        shutil.rmtree(target)
    ratios = tuple(a / b for a, b in zip(values[::2], values[1::2], strict=True))
    what = f"{bench.kind}: another user, hashes remembered / not"
    report.rows.append(Row(what, ratios, None, detail=f"{values[0]:.2f} and {values[1]:.2f} s"))


def measure(bench: Bench, report: Report, given: argparse.Namespace) -> None:
    """Everything about one set."""
    if os.access(DROP, os.W_OK) and not given.no_cold:
        contest(bench, report, "cold", given.rounds, goals=not given.quick)
    else:
        report.skip(f"{bench.kind}, cold", "dropping the kernel's caches needs root")
    contest(bench, report, "warm", given.rounds, goals=not given.quick)
    rerun(bench, report, given.rounds, goals=not given.quick)
    new_copy(bench, report, given.rounds)


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a twentieth of the files, one round")
    parser.add_argument("--world", type=Path, help="keep the generated trees here (23 GB)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["large", "small"])
    parser.add_argument("--no-cold", action="store_true", help="leave the kernel's caches alone")
    given = parser.parse_args()
    if given.quick:
        given.rounds = 1
    report = Report("Deduping: envforge against jdupes, rdfind, rmlint and hardlink")
    scale = 0.05 if given.quick else 1.0
    kinds: tuple[Kind, ...] = (given.only,) if given.only else ("large", "small")
    for kind in kinds:
        with tempfile.TemporaryDirectory() as scratch:
            world = (given.world or Path(scratch)) / f"{kind}-{scale}"
            if not world.exists():
                caches.write(kind, world, scale)
            with tempfile.TemporaryDirectory(dir=world.parent) as place:
                measure(Bench(Path(place), kind, world), report, given)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
