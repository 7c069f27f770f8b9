"""Equal files of existing caches become links of one; and that taken back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from envforge.cache.dedupe_plan import Copy, DedupePlan, Proof, Rules, Twins, plan, worth_reading
from envforge.errors import FileNotUsable
from envforge.forge.workplace import Workplace
from envforge.model.deduping import DedupeResult, UndoResult
from envforge.model.wording import counted

if TYPE_CHECKING:
    from envforge.adapters.store.dedupe.found import Found
    from envforge.adapters.store.dedupe.outcome import Outcome
    from envforge.adapters.store.known_hashes import KnownHashes

_JOURNALS: Final = "dedupe"
_HASHES: Final = "hashes"
"""Folders under envforge's cache."""


def dedupe(
    workplace: Workplace,
    paths: Sequence[Path],
    *,
    proof: Proof,
    rules: Rules,
    dry_run: bool,
) -> DedupeResult:
    """See `ModelCache.dedupe`."""
    from envforge.adapters.store.dedupe.outcome import Outcome

    began = time.monotonic()
    known = known_hashes(workplace)
    found = look(workplace, paths)
    read = name_the_unnamed(workplace, found, known)
    planned = plan(found.claims, rules, is_known(known, proof))
    outcome, journal = Outcome(), None
    if planned.twins and not dry_run:
        outcome, journal = carry_out(
            workplace, planned.twins, proof=proof, rules=rules, is_known=is_known(known, proof)
        )
    remember(workplace, known, outcome)
    return DedupeResult(
        paths=tuple(paths),
        dry_run=dry_run,
        names=found.names,
        inodes=len(found.copies),
        sets=len(planned.twins),
        copies=planned.copies if dry_run else outcome.copies,
        linked=outcome.names,
        freed=planned.gain if dry_run else outcome.freed,
        read=read + outcome.read,
        to_read=_to_read(planned, proof, known) if dry_run else 0,
        left=dict(planned.left),
        left_bytes=planned.left_bytes,
        damaged=tuple(outcome.damaged),
        different=tuple(outcome.different),
        problems=(*found.problems, *outcome.problems),
        stores=tuple(found.stores),
        journal=journal,
        seconds=time.monotonic() - began,
    )


def known_hashes(workplace: Workplace) -> KnownHashes:
    """What was hashed before, for whoever runs us."""
    from envforge.adapters.store.known_hashes import KnownHashes

    return KnownHashes(workplace.settings.cache / _HASHES)


def look(workplace: Workplace, paths: Sequence[Path]) -> Found:
    """Find the copies, and clear what killed runs left.

    Raises:
        FileNotUsable: one of the paths cannot be read.
    """
    from envforge.adapters.store.dedupe.folders import Folders
    from envforge.adapters.store.dedupe.replacing import clear_leftovers
    from envforge.adapters.store.dedupe.tree import Tree

    reporter = workplace.reporter
    with reporter.step("looking for copies"):
        tree = Tree(lambda names: reporter.progress(names, None, "files"))
        for path in paths:
            tree.add(path)
    found = tree.found
    if found.leftovers:
        folders = Folders()
        clear_leftovers(folders, found.leftovers)
        folders.close()
    return found


def name_the_unnamed(workplace: Workplace, found: Found, known: KnownHashes) -> int:
    """Give copies without a claim the one that their bytes make; how much was read for it."""
    if not found.unnamed:
        return 0
    from envforge.adapters.store.dedupe.naming import name_by_bytes

    named = ((claim, copy) for claim, copies in found.claims.items() for copy in copies)
    pile = worth_reading(named, found.unnamed)
    if not pile:
        return 0
    with workplace.reporter.step(f"reading {counted(len(pile), 'file')} that no cache names"):
        claims, read = name_by_bytes(pile, known, found.problems)
    for claim, copy in claims:
        found.claims[claim].append(copy)
    return read


def carry_out(
    workplace: Workplace,
    twins: Sequence[Twins],
    *,
    proof: Proof,
    rules: Rules,
    is_known: Callable[[str, Copy], bool],
    first_only: bool = False,
) -> tuple[Outcome, Path]:
    """Link, with progress and a journal, whose path comes back, too.

    `first_only`: keep the first of each set, or none.
    """
    from envforge.adapters.store.dedupe.engine import Engine
    from envforge.adapters.store.dedupe.journal import Journal

    reporter = workplace.reporter
    journal = Journal(workplace.settings.cache / _JOURNALS)
    total = sum(item.size * len(item.copies) for item in twins)
    engine = Engine(
        proof=proof,
        rules=rules,
        journal=journal,
        is_known=is_known,
        first_only=first_only,
        progress=lambda done: reporter.progress(done, total, "bytes"),
    )
    copies = sum(len(item.copies) - 1 for item in twins)
    verb = {"default": "proving and linking", "compare": "comparing and linking"}
    with reporter.step(f"{verb.get(proof, 'linking')} {copies} copies"):
        try:
            outcome = engine.run(twins)
        finally:
            journal.close()
    return outcome, journal.path


class _Remembered:
    """Whether a copy is known to be what it is called."""

    def __init__(self, known: KnownHashes) -> None:
        from envforge.adapters.store.known_hashes import kind_of

        self._known, self._kind_of = known, kind_of

    def __call__(self, claim: str, copy: Copy) -> bool:
        return self._known.get(copy.found, self._kind_of(claim)) == claim


def _never(_claim: str, _copy: Copy) -> bool:
    return False


def is_known(known: KnownHashes, proof: Proof) -> Callable[[str, Copy], bool]:
    """Only the default proof goes by what is remembered: the others read nothing, or all."""
    return _Remembered(known) if proof == "default" else _never


def _to_read(planned: DedupePlan, proof: Proof, known: KnownHashes) -> int:
    if proof == "trust-names":
        return 0
    if proof == "compare":
        return sum(item.size * len(item.copies) for item in planned.twins)
    remembered = is_known(known, proof)
    return sum(item.size for item in planned.twins if not remembered(item.claim, item.copies[0]))


def remember(workplace: Workplace, known: KnownHashes, outcome: Outcome) -> None:
    """Keep the hashes of what was proven, as the links have left it."""
    if outcome.proven:
        from envforge.adapters.store.dedupe.remembering import add_proven

        add_proven(known, outcome.proven)
    try:
        known.save()
    except FileNotUsable as error:
        workplace.reporter.warn(f"{error}; hashes are not remembered")


def undo(workplace: Workplace, paths: Sequence[Path], journal: Path | None) -> UndoResult:
    """See `ModelCache.undo_dedupe`."""
    from envforge.adapters.store.dedupe import journal as journals
    from envforge.adapters.store.dedupe.folders import Folders
    from envforge.adapters.store.dedupe.replacing import clear_leftovers
    from envforge.adapters.store.dedupe.undoing import (
        is_below,
        leftovers,
        restore,
        see_that_there_is_room,
        still_links,
    )

    folder = workplace.settings.cache / _JOURNALS
    chosen = journal or journals.latest(folder)
    everything = list(journals.read(chosen))
    wanted = [item for item in everything if is_below(item, paths)]
    folders = Folders()
    clear_leftovers(folders, leftovers(folders, wanted))
    links = still_links(folders, wanted)
    total = sum(item.kept.size for item in links)
    see_that_there_is_room(links)
    reporter = workplace.reporter
    with reporter.step(f"giving {counted(len(links), 'name')} a file of its own"):
        done = restore(folders, links, lambda copied: reporter.progress(copied, total, "bytes"))
    folders.close()
    complete = len(wanted) == len(everything) and not done.problems
    if complete:
        journals.retire(chosen)
    return UndoResult(
        journal=chosen,
        restored=done.restored,
        bytes=done.bytes,
        skipped=len(wanted) - len(links) + done.skipped,
        problems=tuple(done.problems),
        complete=complete,
    )
