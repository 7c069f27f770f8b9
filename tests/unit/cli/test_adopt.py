"""`envforge adopt`."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.command_line import Run
from fakes.workplace import workplace_of

from envforge.forge import Forge

TEXT = """\
name: nlp
channels: [conda-forge, defaults]
dependencies:
  - python=3.10
  - pytorch=2.7.1=cuda126*
  - numpy=1.26.0
  - pip:
    - -e ./own
"""


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "environment.yml"
    path.write_text(TEXT)
    return str(path)


def test_it_says_what_was_found_kept_changed_and_lost(run: Run, forge: Forge, source: str) -> None:
    done = run("adopt", source)

    assert done.status == 0
    assert done.out.startswith("adopted ")
    assert "\n  torch 2.7.1, CUDA 12.6, cuDNN" in done.out
    assert "changed:\n  numpy 1.26.0 → 1.26.4: no channel has that version any more" in done.out
    assert "not carried over:\n" in done.out
    assert "channel `defaults`" in done.out
    assert done.out.endswith("next: envforge install nlp-torch27-cu126\n")
    long = [line for line in done.out.splitlines()[2:] if len(line) > 80]
    assert long == []


def test_a_dry_run_shows_the_files(run: Run, forge: Forge, source: str) -> None:
    done = run("adopt", source, "--dry-run", "--json")

    assert done.json["schema"] == "envforge.adopt/1"
    assert done.json["outcome"] == "planned"
    assert done.json["from"]["kind"] == "environment.yml"
    assert done.json["cuda"] == "12.6"
    assert done.json["changed"][0]["name"] == "numpy"
    assert "pytorch=2.7.1" in done.json["files"]["environment.yml"]
    assert not workplace_of(forge).environments.names()


def test_options_count_more_than_the_source(run: Run, forge: Forge, source: str) -> None:
    done = run("adopt", source, "--name", "other", "--cuda", "cpu", "--no-lock", "--json")

    assert done.json["name"] == "other-torch27-cpu"
    assert done.json["unchecked"] == "that was not asked for"
    assert done.json["files"] == ["environment.yml", "virtual-packages.yml"]


def test_what_is_not_locked_says_why(run: Run, forge: Forge, source: str) -> None:
    workplace_of(forge).conda.unreachable = "https://conda.anaconda.org"
    done = run("adopt", source)

    assert "\nkept" not in done.out
    assert "  kept, not checked: numpy" in done.out
    assert "not locked:\n" in done.out
    assert done.out.endswith("next: envforge lock nlp-torch27-cu126\n")


def test_what_does_not_fit_together_keeps_its_lines(run: Run, forge: Forge, source: str) -> None:
    """And the next command is not the one that fails in the same way."""
    place = workplace_of(forge)
    place.conda.packages = [item for item in place.conda.packages if item.name != "pytorch"]
    done = run("adopt", source)

    assert "not locked:\n  no set of packages fits together on linux-64:\n    " in done.out
    assert done.out.endswith(
        "next: loosen a version in its environment.yml, then\n  envforge lock nlp-torch27-cu126\n"
    )
    assert all(len(line) <= 80 for line in done.out.splitlines()[2:])


def test_a_plan_names_no_next_command(run: Run, source: str) -> None:
    assert "next:" not in run("adopt", source, "--dry-run").out


def test_a_malformed_file_gives_line_and_reason(run: Run, forge: Forge, tmp_path: Path) -> None:
    path = tmp_path / "environment.yml"
    path.write_text("name: x\ndependencies:\n  - numpy==\n")
    done = run("adopt", str(path))

    assert done.status == 2
    assert "line 3, column 5: package spec `numpy==` has no version behind `==`" in done.err
