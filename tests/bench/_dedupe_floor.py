"""The least that can be done: `_dedupe_floor.py stat FOLDER` and `_dedupe_floor.py link LIST`.

`stat` looks up every file under a folder once. `link` looks up all names of a list, and puts links
in the place of those that have one to put: no decisions, no proof, no journal.
"""

import os
import sys


def stat_all(folder: str) -> int:
    """How many files there are."""
    found, waiting = 0, [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    continue
                if entry.is_dir():
                    waiting.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    found += 1
    return found


def link_all(listed: str) -> int:
    """Lines of a name, a tab, and the name to link to; empty: it stays."""
    with open(listed, encoding="utf-8") as lines:  # noqa: PTH123 - pathlib is not small
        pairs = [line.rstrip("\n").split("\t") for line in lines]
    for name, _ in pairs:
        os.lstat(name)
    for name, kept in pairs:
        if kept:
            aside = f"{name}.aside"
            os.link(kept, aside)
            os.rename(aside, name)  # noqa: PTH104 - pathlib is not small
    return len(pairs)


if __name__ == "__main__":
    print({"stat": stat_all, "link": link_all}[sys.argv[1]](sys.argv[2]))
