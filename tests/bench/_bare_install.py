"""The floor of `create.py`: what py-rattler alone takes to install the same records.

    python _bare_install.py PACKAGES.json PREFIX CACHE

It reads no lock, checks neither space nor what is there, registers nothing, and leaves without
finalising the interpreter (see `_bare_lock.py`).
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from rattler import PackageRecord, RepoDataRecord, install
from rattler.package import BuildString


def record(package: dict) -> RepoDataRecord:
    url = package["url"]
    described = PackageRecord(
        name=package["name"],
        version=package["version"],
        build=BuildString(package["build"]),
        build_number=0,
        subdir=url.rsplit("/", 2)[1],
        depends=package["depends"],
        sha256=bytes.fromhex(package["sha256"]),
        md5=bytes.fromhex(package["md5"]),
        size=package["size"],
    )
    return RepoDataRecord(described, url.rpartition("/")[2], url, url.rsplit("/", 2)[0])


async def main(packages: list[dict], prefix: str, cache: str) -> None:
    await install(
        [record(item) for item in packages],
        target_prefix=prefix,
        cache_dir=cache,
        execute_link_scripts=False,
        show_progress=False,
    )


asyncio.run(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), *sys.argv[2:4]))
os._exit(0)
