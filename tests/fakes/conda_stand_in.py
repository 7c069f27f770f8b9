"""A stand-in for conda, for the calls that conda-lock makes: `--version` and `create --dry-run`.

It is not conda: py-rattler solves over the channels' repodata.json, and the answer is put in
the JSON that conda prints. Each call is noted in `calls.jsonl` beside the program, with the
variables of its environment that steer it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

PUBLIC = "https://conda.anaconda.org"


def make_conda(folder: Path) -> Path:
    """An executable `conda` in the folder."""
    program = folder / "conda"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$0" "$@"\n')
    program.chmod(0o755)
    return program


def main(program: Path, arguments: list[str]) -> int:
    if arguments == ["--version"]:
        print("conda 0.0.0 (stand-in)")
        return 0
    alias = os.environ.get("CONDA_CHANNEL_ALIAS", PUBLIC)
    subdir = os.environ["CONDA_SUBDIR"]
    channels = [arguments[at + 1] for at, word in enumerate(arguments) if word == "--channel"]
    specs = arguments[arguments.index(channels[-1]) + 1 :]
    with (program.parent / "calls.jsonl").open("a") as log:
        call = {"subdir": subdir, "channels": channels, "specs": specs, "alias": alias}
        log.write(json.dumps(call) + "\n")
    addresses = [name if "://" in name else f"{alias}/{name}" for name in channels]
    try:
        records = solve(specs, addresses, subdir)
    except Exception as error:  # noqa: BLE001 - whatever it is, conda would say it in JSON
        print(json.dumps({"success": False, "message": str(error)}))
        return 1
    print(json.dumps({"success": True, "actions": {"FETCH": records, "LINK": records}}))
    return 0


def solve(specs: list[str], addresses: list[str], subdir: str) -> list[dict[str, Any]]:
    """The last channel is conda-lock's own, of virtual packages."""
    import rattler

    sources = []
    served: dict[str, str] = {}
    for address in addresses[:-1]:
        canonical = f"{PUBLIC}/{address.rpartition('/')[2]}"
        served[canonical] = address
        for folder in (subdir, "noarch"):
            path = Path(unquote(address.removeprefix("file://"))) / folder / "repodata.json"
            if path.is_file():
                sources.append(rattler.SparseRepoData(rattler.Channel(canonical), folder, path))
    virtual = Path(addresses[-1].removeprefix("file://")) / subdir / "repodata.json"
    solved = asyncio.run(
        rattler.solve_with_sparse_repodata(
            [rattler.MatchSpec(spec) for spec in specs],
            sources,
            virtual_packages=[
                rattler.GenericVirtualPackage(
                    rattler.PackageName(item["name"]),
                    rattler.Version(item["version"]),
                    rattler.BuildString(item["build"]),
                )
                for item in json.loads(virtual.read_text())["packages"].values()
            ],
        )
    )
    return [fetch_action(record, served) for record in solved]


def fetch_action(record: Any, served: dict[str, str]) -> dict[str, Any]:
    """A record as conda prints it, under the address it was read from."""
    url = record.url
    for canonical, address in served.items():
        if url.startswith(f"{canonical}/"):
            url = address + url[len(canonical) :]
    return {
        "name": record.name.normalized,
        "version": str(record.version),
        "build": str(record.build),
        "channel": url.rpartition("/")[0],
        "subdir": record.subdir,
        "fn": record.file_name,
        "url": url,
        "md5": record.md5.hex(),
        "sha256": record.sha256.hex(),
        "depends": list(record.depends),
        "constrains": list(record.constrains),
        "timestamp": 0,
    }


if __name__ == "__main__":
    status = main(Path(sys.argv[1]), sys.argv[2:])
    sys.stdout.flush()
    os._exit(status)  # py-rattler's threads may crash an interpreter that ends in the usual way
