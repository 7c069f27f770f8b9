"""`envforge cache scan`."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.command_line import Run
from fakes.model_store import COMMIT, StoreWorld

from envforge.cli.rendering import render_usage


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    return StoreWorld(tmp_path)


def filled(world: StoreWorld) -> StoreWorld:
    both, one, _ = (
        world.file(text.encode() * size) for text, size in (("b", 9000), ("o", 5000), ("u", 5000))
    )
    world.view(
        "a-torch27-cu126",
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12",
        {"w": both, "t": one},
    )
    world.view("b", "dataset:o/d", {"w": both}, owner=54321)
    return world


def options(world: StoreWorld) -> tuple[str, ...]:
    return ("--store", str(world.store.root), "--envs", str(world.settings.envs_folder))


def test_tables_fit_a_terminal(run: Run, world: StoreWorld) -> None:
    done = run("cache", "scan", *options(filled(world)))
    assert done.status == 0
    lines = done.out.splitlines()
    assert lines[0].endswith(": 28.7 kB in 3 files")
    assert lines[1] == "  12.3 kB shared, 8.2 kB used by one, 8.2 kB unused"
    assert [line.split() for line in lines if "k" in line][2:] == [
        ["20.5k", "12.3k", "8.2k", "-", "now", "link"],
        ["12.3k", "12.3k", "-", "-", "now", "link", "dataset:o/d"],
        ["8.2k", "-", "-", "8.2k", "now", "-", "(unused)"],
        ["20.5k", "12.3k", "8.2k", "-", "now", "link", "a-torch27-cu126"],
        ["12.3k", "12.3k", "-", "-", "now", "link", "b"],
        ["8.2k", "-", "-", "8.2k", "now", "-", "(unused)"],
    ]
    assert "  sentence-transformers/paraphrase-multilingual-MiniLM-L12" in lines
    where = " ".join(options(world))
    assert lines[-1] == f"what of it can go: `envforge cache gc {where} --dry-run`"
    assert max(map(len, lines[1:-1])) <= 80


@pytest.mark.parametrize(
    ("grouping", "title", "name"),
    [
        ("repo", "REPOSITORY", "dataset:o/d"),
        ("revision", "REVISION", f"dataset:o/d@{COMMIT[:12]}"),
        ("environment", "USED BY", "a-torch27-cu126"),
        ("owner", "OWNER", "54321"),
    ],
)
def test_one_grouping(run: Run, world: StoreWorld, grouping: str, title: str, name: str) -> None:
    out = run("cache", "scan", "--by", grouping, *options(filled(world))).out
    assert title in out
    assert name in out
    assert out.count("BYTES") == 1


def test_the_document(run: Run, world: StoreWorld) -> None:
    found = run("cache", "scan", "--json", *options(filled(world))).json
    assert found["schema"] == "envforge.cache-scan/1"
    assert set(found["by"]) == {"repo", "revision", "environment", "owner"}
    [row] = [row for row in found["by"]["environment"] if row["name"] == "b"]
    assert row["link_modes"] == ["hardlink"]
    assert row["bytes"] == row["shared"] + row["own"] + row["reclaimable"]
    assert row["last_read"].endswith("+00:00")
    assert found["total"]["files"] == 3
    assert found["trees"][0]["revisions"][0]["refs"] == ["main"]
    assert found["reads_recorded"] is True


def test_an_empty_store(run: Run, world: StoreWorld) -> None:
    done = run("cache", "scan", *options(world))
    assert done.out.splitlines()[1:] == ["  0 B shared, 0 B used by one, 0 B unused"]


def test_problems_come_first(run: Run, world: StoreWorld) -> None:
    filled(world)
    world.lock("e", "o/m", {}).write_text("}")
    (world.store.root / "quarantine" / "q").write_bytes(b"1" * 5000)
    done = run("cache", "scan", *options(world))
    assert done.out.startswith("warning: ")
    assert "8.2 kB in quarantine/ (1 file): files of wrong bytes" in done.out
    found = run("cache", "scan", "--json", *options(world)).json
    assert len(found["problems"]) == 1
    assert found["aside"] == {"quarantine": {"files": 1, "bytes": 8192}}


def test_reads_that_are_not_recorded(
    run: Run, world: StoreWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "envforge.adapters.store.looking.scan.mount_flags", lambda _: (False, False)
    )
    world.file(b"x")
    done = run("cache", "scan", *options(world))
    assert "READ is not known" in done.out
    assert done.out.splitlines()[5].split()[4] == "?"


def test_names_of_hostile_caches_do_not_steer_the_terminal(
    run: Run, world: StoreWorld, tmp_path: Path
) -> None:
    blob = tmp_path / "hub" / "models--\x1b[31mred" / "blobs" / "x"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"1")
    done = run("cache", "scan", *options(world), str(tmp_path / "hub"))
    assert "\x1b" not in done.out
    assert "\\x1b[31mred" in done.out


def test_another_suffix_is_refused_before_any_work(run: Run, world: StoreWorld) -> None:
    done = run("cache", "scan", "--plot", "x.pdf", *options(world))
    assert done.status == 2
    assert "suffix" in done.err
    assert done.out == ""


def test_no_store(run: Run, tmp_path: Path) -> None:
    done = run("cache", "scan", "--store", str(tmp_path / "none"))
    assert done.status == 6
    assert "envforge cache init" in done.err


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "now"), (3599, "now"), (3600, "1 h"), (86_399, "23 h"), (86_400, "1 d"), (1e7, "115 d")],
)
def test_ages(seconds: float, shown: str) -> None:
    assert render_usage._age(seconds) == shown
