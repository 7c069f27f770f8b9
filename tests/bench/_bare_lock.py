"""The floor of `lock.py`: what py-rattler alone takes for the same solves.

    python _bare_lock.py PROBLEMS.json CACHE

Prints the file names of what was chosen. It reads no settings, checks nothing, writes no lock.
It leaves without finalising the interpreter, as envforge does: py-rattler 0.28 aborts now and then
when its runtime outlives the interpreter, after all work is done.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from rattler import (
    Channel,
    Gateway,
    GenericVirtualPackage,
    MatchSpec,
    PackageName,
    SparseRepoData,
    Version,
    solve,
)
from rattler.package import BuildString


def sources(problem: dict) -> list:
    read = []
    for canonical, address in problem["channels"]:
        if urlsplit(address).scheme:
            read.append(Channel(address))
            continue
        for subdir in (problem["platform"], "noarch"):
            path = Path(address) / subdir / "repodata.json"
            if path.is_file():
                read.append(SparseRepoData(Channel(canonical), subdir, path))
    return read


async def main(problems: list[dict], cache: str) -> None:
    gateway = Gateway(cache_dir=cache)
    answers = await asyncio.gather(
        *(
            solve(
                sources=sources(problem),
                specs=[MatchSpec(spec) for spec in problem["specs"]],
                constraints=[MatchSpec(spec) for spec in problem["constraints"]],
                virtual_packages=[
                    GenericVirtualPackage(PackageName(name), Version(version), BuildString(build))
                    for name, version, build in problem["virtual_packages"]
                ],
                gateway=gateway,
                platforms=[problem["platform"], "noarch"],
            )
            for problem in problems
        )
    )
    for records in answers:
        print(*sorted(record.file_name for record in records))


asyncio.run(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), sys.argv[2]))
sys.stdout.flush()
os._exit(0)
