"""Files against records: what differs, and what is usual."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes.facts import locked
from fakes.prefix_on_disk import PLACEHOLDER, SITE, add_record, add_wheel

from envforge.adapters.prefix import package_files
from envforge.adapters.prefix.conda_records import read_records
from envforge.adapters.prefix.distributions import read_distributions
from envforge.adapters.prefix.package_files import Compared


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / SITE).mkdir(parents=True)
    return tmp_path


def compare(prefix: Path, *, hashes: bool = False, **replaced: str) -> Compared:
    records = read_records(prefix)
    found = read_distributions(prefix, [prefix / SITE], records.owners)
    return package_files.compare(prefix, records, found, replaced, hashes=hashes)


def told(prefix: Path, **how: bool) -> dict[str, str]:
    return {item.path: item.how for item in compare(prefix, **how).unlike}


def write(path: Path, text: str | bytes) -> None:
    """Written after the package was."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    os.utime(path, (path.stat().st_mtime + 60,) * 2)


def test_a_script_that_holds_the_prefix(prefix: Path) -> None:
    """As installed; as conda-pack writes it anew for another place; and edited."""
    script = f"#!{PLACEHOLDER}/bin/python\nimport sys\n"
    record = add_record(prefix, locked("a", "1"), placed={"bin/tool": script})
    assert told(prefix, hashes=True) == {}
    moved = record.read_text().replace('"sha256_in_prefix": "', '"sha256_in_prefix": "0')
    record.write_text(moved)
    assert told(prefix, hashes=True) == {}
    write(prefix / "bin/tool", "#!/usr/bin/env python\nimport sys\n")
    assert told(prefix) == {}
    write(prefix / "bin/tool", f"#!{prefix}/bin/python\nimport os\n")
    assert told(prefix) == {"bin/tool": "content"}


def test_a_program_that_holds_the_prefix_has_its_size(prefix: Path) -> None:
    record = add_record(prefix, locked("a", "1"), placed={"bin/tool": PLACEHOLDER})
    text = record.read_text().replace('"text"', '"binary"')
    size = (prefix / "bin/tool").stat().st_size
    record.write_text(
        text.replace(f'"size_in_bytes": {len(PLACEHOLDER)}', f'"size_in_bytes": {size}')
    )
    write(prefix / "bin/tool", b"x" * size)
    assert told(prefix, hashes=True) == {}
    write(prefix / "bin/tool", b"x" * (size + 1))
    assert told(prefix) == {"bin/tool": "content"}


@pytest.mark.parametrize(
    ("name", "before", "after", "how"),
    [
        ("a.py", "a = 1\nb = 2\n", "a = 1\n", "content"),
        ("a.py", "a = 1\nb = 2\n", "a = 1\nb", "cut"),
        ("a.py", "a = 1\n", "", "cut"),
        ("a.so", b"\x7fELF" + b"x" * 90, b"\x7fELF" + b"x" * 30, "cut"),
        ("a.bin", b"\0" * 90, b"\0" * 30, "cut"),
        ("a.bin", b"\0" * 90, b"\0" * 91, "content"),
    ],
)
def test_how_a_file_differs(
    prefix: Path, name: str, before: str | bytes, after: str | bytes, how: str
) -> None:
    add_record(prefix, locked("a", "1"), {f"lib/{name}": before})
    write(prefix / "lib" / name, after)
    assert told(prefix) == {f"lib/{name}": how}


def test_links_and_folders(prefix: Path) -> None:
    record = add_record(prefix, locked("a", "1"), {"lib/a": "x", "lib/b": "yy", "lib/c": "z"})
    text = record.read_text()
    record.write_text(text.replace('"path_type": "hardlink"', '"path_type": "softlink"', 1))
    (prefix / "lib/a").unlink()
    (prefix / "lib/a").symlink_to("nowhere")
    (prefix / "lib/b").rename(prefix / "moved")
    (prefix / "lib/b").symlink_to("../moved")  # as `allow_softlinks` does it
    (prefix / "lib/c").unlink()
    (prefix / "lib/c").mkdir()
    assert told(prefix) == {"lib/c": "content"}
    (prefix / "lib/a").unlink()
    assert told(prefix) == {"lib/a": "gone", "lib/c": "content"}


def test_paths_that_lead_out_of_the_prefix_are_not_followed(prefix: Path) -> None:
    folder = add_wheel(prefix, "a", "1", {"a.py": "x"})
    with (folder / "RECORD").open("a") as stream:
        stream.write("../../../../../etc/shadow,sha256=abc,1\n/etc/passwd,,1\n")
    add_record(prefix, locked("b", "1"), {"../outside": 5, "/etc/hosts": 5})
    assert told(prefix) == {}


def test_scripts_of_wheels_are_written_by_installers(prefix: Path) -> None:
    add_wheel(prefix, "a", "1", {"../../../bin/tool": "#!/old/bin/python\n"})
    write(prefix / "bin/tool", "#!/new/place/bin/python\n")
    assert told(prefix) == {}
    (prefix / "bin/tool").unlink()
    assert told(prefix) == {"bin/tool": "gone"}


def test_a_replaced_package_owns_nothing_in_site_packages(prefix: Path) -> None:
    add_record(prefix, locked("numpy", "1"), {f"{SITE}/numpy/a.py": 3, "include/n.conf": 3})
    assert set(told(prefix)) == {f"{SITE}/numpy/a.py", "include/n.conf"}
    unlike = compare(prefix, numpy="numpy").unlike
    assert [item.path for item in unlike] == ["include/n.conf"]


def test_large_files_are_left_for_hashes(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_files, "_BY_THE_WAY", 10)
    add_record(prefix, locked("a", "1"), {"lib/a": "x" * 6, "lib/b": "y" * 9})
    write(prefix / "lib/a", "z" * 6)
    write(prefix / "lib/b", "z" * 9)
    found = compare(prefix)
    assert [item.path for item in found.unlike] == ["lib/a"]
    assert found.unhashed == ("lib/b",)
    assert set(told(prefix, hashes=True)) == {"lib/a", "lib/b"}


def test_a_record_without_sizes(prefix: Path) -> None:
    """Of before conda 4.3, and of some other tools."""
    path = add_record(prefix, locked("a", "1"), {"lib/a": 1, "lib/b": 1})
    import json

    document = json.loads(path.read_text())
    del document["paths_data"]
    path.write_text(json.dumps(document, indent=2) + "\n")
    (prefix / "lib").mkdir(exist_ok=True)
    (prefix / "lib/a").touch()
    assert told(prefix) == {"lib/b": "gone"}


def test_a_list_that_cannot_be_read(prefix: Path) -> None:
    path = add_record(prefix, locked("a", "1"), {"lib/a": "x", "lib/b": "y"})
    path.write_text(path.read_text().replace('"_path"', '"_path', 1))
    assert compare(prefix).broken == ("conda-meta/a-1-h0_0.json: its list of files cannot be read",)


def test_libraries_of_two_owners(prefix: Path) -> None:
    for name in ("a", "b", "c"):
        add_wheel(prefix, name, "1", {"x/lib.so": "same" if name != "c" else "other"})
    add_wheel(prefix, "d", "1", {"y/lib.so": "same"})
    add_wheel(prefix, "e", "1", {"y/lib.so": "same"})
    shared = {item.path: item for item in compare(prefix).shared}
    assert shared[f"{SITE}/x/lib.so"].owners == ("a 1", "b 1", "c 1")
    assert shared[f"{SITE}/x/lib.so"].differs
    assert not shared[f"{SITE}/y/lib.so"].differs
