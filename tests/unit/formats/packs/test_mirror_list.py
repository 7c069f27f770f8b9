"""Lists of files to mirror."""

from __future__ import annotations

import hashlib
import os
import subprocess
from operator import attrgetter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envforge.errors import InvalidFile
from envforge.formats.packs import mirror_list
from envforge.formats.packs.mirror_list import MirroredFile

WORDS = st.from_regex(r"[a-z0-9._+%-]{1,12}", fullmatch=True)
FILES = st.builds(
    MirroredFile,
    path=st.lists(WORDS, min_size=1, max_size=3).map("/".join),
    url=WORDS.map("https://host/{}".format),
    sha256=st.just("") | st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    size=st.none() | st.integers(min_value=0),
)


@given(st.lists(FILES, max_size=6, unique_by=attrgetter("path")))
def test_what_is_written_is_read(files: list[MirroredFile]) -> None:
    text = mirror_list.write(files, header=["a comment", ""])

    by_path = sorted(files, key=attrgetter("path"))
    assert mirror_list.read(text, "list") == tuple(by_path)
    assert mirror_list.write(reversed(files), header=["a comment", ""]) == text


def test_every_bad_line_is_named() -> None:
    text = mirror_list.write([]) + "only one field\n-\tten\tpath\thttps://host\n"

    with pytest.raises(InvalidFile) as caught:
        mirror_list.read(text, "list")

    assert [item.partition(":")[0] for item in caught.value.mistakes] == ["line 7", "line 8"]


def recipe(text: str) -> str:
    """The shell lines that the file's own comment gives."""
    lines = text.partition("in the root of the mirror:\n")[2].splitlines()
    return "set -e\n" + "\n".join(line[5:] for line in lines if line.startswith("#     "))


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of two files that `curl` reaches, in the folder that becomes the mirror."""
    root = tmp_path / "mirror"
    root.mkdir()
    files = []
    for name in ("conda-forge/noarch/a-1-0.conda", "wheels/b c.whl"):
        source = tmp_path / name.replace("/", "-")
        source.write_text(name)
        found = hashlib.sha256(source.read_bytes()).hexdigest()
        files.append(MirroredFile(path=name, url=source.as_uri(), sha256=found, size=len(name)))
    (root / "LIST").write_text(mirror_list.write(files))
    return root


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", recipe((folder / "LIST").read_text())],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_recipe_in_the_file_fetches_and_compares(listed: Path) -> None:
    done = run(listed)

    assert (done.returncode, done.stderr) == (0, "")
    assert (listed / "wheels/b c.whl").read_text() == "wheels/b c.whl"
    assert (listed / "conda-forge/noarch/a-1-0.conda").is_file()


def test_the_recipe_finds_other_bytes(listed: Path) -> None:
    (listed / "wheels").mkdir()
    (listed / "wheels/b c.whl").write_text("something else")

    done = run(listed)

    assert done.returncode != 0
    assert "b c.whl: FAILED" in done.stdout
