"""What envforge itself needs, as wheels again: a package index for tests of packs that bring it.

links = own_wheels(folder)    # a folder fit for find-links, made once
"""

from __future__ import annotations

import zipfile
from email.parser import HeaderParser
from importlib import metadata
from itertools import groupby
from pathlib import Path, PurePosixPath

from packaging.utils import canonicalize_name

from envforge.adapters.pack import tool

_EPOCH = (2020, 1, 1, 0, 0, 0)


def own_wheels(folder: Path) -> Path:
    """Put every distribution that the running envforge needs into the folder, as a wheel."""
    folder.mkdir(parents=True)
    for pin in tool.installed_versions(tool.own_requirements()):
        _repack(metadata.distribution(pin.partition("==")[0]), folder)
    return folder


def _repack(found: metadata.Distribution, folder: Path) -> None:
    name = canonicalize_name(found.metadata["Name"]).replace("-", "_")
    stem = f"{name}-{found.version}"
    with zipfile.ZipFile(folder / f"{stem}-{_tag(found)}.whl", "w") as archive:
        for file in found.files or ():
            source = Path(str(found.locate_file(file)))
            name = _name_in_wheel(file, source, stem)
            if name is not None:
                item = zipfile.ZipInfo(name, _EPOCH)
                item.external_attr = source.stat().st_mode << 16
                archive.writestr(item, source.read_bytes())
        archive.writestr(zipfile.ZipInfo(f"{stem}.dist-info/RECORD", _EPOCH), "")


def _name_in_wheel(file: PurePosixPath, source: Path, stem: str) -> str | None:
    """None: an installer made it."""
    if file.suffix == ".pyc" or file.name in {"RECORD", "INSTALLER", "REQUESTED"}:
        return None
    if file.parts[0] == "..":
        is_program = file.parent.name == "bin" and not _is_launcher(source)
        return f"{stem}.data/scripts/{file.name}" if is_program else None
    if file.parts[0].endswith(".dist-info"):
        return "/".join((f"{stem}.dist-info", *file.parts[1:]))
    return file.as_posix()


def _is_launcher(script: Path) -> bool:
    """Whether an installer wrote it, for an entry point."""
    return script.read_bytes()[:2] == b"#!"


def _tag(found: metadata.Distribution) -> str:
    """`py3-none-any`, or several platforms as a wheel's name joins them."""
    lines = HeaderParser().parsestr(found.read_text("WHEEL") or "").get_all("Tag") or []
    tags = sorted(line.split("-") for line in lines)
    joined = [
        (python, abi, ".".join(sorted({tag[2] for tag in group})))
        for (python, abi), group in groupby(tags, key=lambda tag: (tag[0], tag[1]))
    ]
    pythons = ".".join(sorted({tag[0] for tag in joined}))
    return f"{pythons}-{joined[0][1]}-{joined[0][2]}"
