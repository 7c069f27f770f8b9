"""`envforge cache compile`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from fakes.command_line import Run
from fakes.workplace import make_environment, warnings_of, workplace_of

from envforge.adapters.process import RealProcesses
from envforge.forge import Forge


@pytest.fixture
def place(forge: Forge) -> Path:
    """The folder of compiled code, with some in it."""
    make_environment(forge)
    forge.install("p")
    workplace_of(forge).__dict__["processes"] = RealProcesses()
    place = forge.cache.compiled("p").place
    for at, name in enumerate(("inductor/ab/c.so", "inductor/ab/d.so", "triton/H/k.cubin")):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000))
        os.utime(path, (at, at))
    return place


def test_it_is_shown_with_what_is_shared(run: Run, place: Path) -> None:
    out = run("cache", "compile", "p").out

    assert "3.0 kB" in out
    assert "2 files" in out
    assert "shared: nothing" in out
    shared = run("cache", "compile", "p", "--share")
    assert shared.out.startswith("shared: 3 files, 3.0 kB")
    document = run("cache", "compile", "p", "--json").json
    assert document["schema"] == "envforge.cache-compile/1"
    assert document["seed"]["files"] == 3
    sizes = {item["kind"]: item["size"] for item in document["usage"]}
    assert sizes == {"inductor": 2000, "triton": 1000, "cuda": 0}


def test_without_a_full_path_there_is_no_place(
    run: Run, forge: Forge, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no install would bring one."""
    monkeypatch.setitem(workplace_of(forge).settings.environment, "ENVFORGE_CACHE", "relative")
    done = run("cache", "compile", "p")

    assert done.status == 5
    assert "neither ENVFORGE_CACHE nor HOME is a full path" in done.err
    assert "envforge install" not in done.err


def test_the_least_recently_used_go_first(run: Run, place: Path) -> None:
    dry = run("cache", "compile", "p", "--gc", "--limit", "2kB", "--dry-run")
    assert dry.out.startswith("would be collected: 1 file, 1.0 kB")
    assert (place / "inductor/ab/c.so").exists()

    done = run("cache", "compile", "p", "--gc", "--limit", "2kB", "--json").json
    assert (done["task"], done["files"], done["bytes"]) == ("collected", 1, 1000)
    assert not (place / "inductor/ab/c.so").exists()
    assert (place / "inductor/ab/d.so").exists()


def test_what_was_just_used_stays(run: Run, place: Path) -> None:
    os.utime(place / "inductor/ab/c.so")
    run("cache", "compile", "p", "--gc", "--limit", "0B")

    assert [path.name for path in place.rglob("*.*") if path.is_file()] == ["c.so"]


def test_what_a_link_leads_to_is_left_as_it_is(
    run: Run, forge: Forge, place: Path, tmp_path: Path
) -> None:
    """Of a kind, of one kernel, of a machine: what lies there is not known to be a cache."""
    notes = tmp_path / "notes"
    (notes / "triton" / "mine").mkdir(parents=True)
    (notes / "triton" / "mine" / "thesis.tex").write_text("x")
    os.utime(notes / "triton" / "mine" / "thesis.tex", (1, 1))
    other = place.with_name("other-machine")
    other.mkdir()
    (other / "triton").symlink_to(notes / "triton")
    (place.with_name("third")).symlink_to(notes)
    (place / "triton" / "linked").symlink_to(notes / "triton")

    run("cache", "compile", "p", "--gc", "--limit", "0B")

    assert (notes / "triton" / "mine" / "thesis.tex").exists()
    assert not (place / "triton" / "H").exists()
    [warning] = warnings_of(forge)
    assert warning.startswith(f"`{other / 'triton'}` is a link")


def test_a_pack_goes_to_another_user(
    run: Run, forge: Forge, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = tmp_path / "k.tar"
    packed = run("cache", "compile", "p", "--pack", str(pack), "--json").json
    assert packed["sha256"]
    for path in list(place.rglob("*")):
        if path.is_file():
            path.unlink()

    done = run("cache", "compile", "p", "--unpack", str(pack))
    assert done.out.startswith("unpacked: 3 files")
    data = pack.read_bytes()
    pack.write_bytes(data[:600] + b"x" + data[601:])
    assert run("cache", "compile", "p", "--unpack", str(pack)).status == 5


def test_hit_or_miss(run: Run, forge: Forge, place: Path) -> None:
    """By what the environment's own interpreter says; here a stand-in for it."""
    prefix = forge.show("p").prefix
    assert prefix is not None
    answer = {"hits": 2, "misses": 0, "seconds": 1.5, "place": str(place)}
    python = prefix / "bin" / "python"
    python.unlink(missing_ok=True)
    python.write_text(f"#!/bin/sh\necho noise\necho '{json.dumps(answer)}'\n")
    python.chmod(0o755)

    assert run("cache", "compile", "p", "--try").out.startswith("hit: 2 hits, 0 misses, 1.5 s")
    python.write_text('#!/bin/sh\necho \'{"hits": 0, "misses": 1}\'\n')
    assert run("cache", "compile", "p", "--try", "--json").json["verdict"] == "miss"
    python.write_text("#!/bin/sh\necho nonsense\n")
    done = run("cache", "compile", "p", "--try")
    assert "nothing was compiled: the process said nothing" in done.out
    python.write_text("#!/bin/sh\nexit 3\n")
    assert run("cache", "compile", "p", "--try").status == 7


def test_one_thing_at_a_time(run: Run, place: Path) -> None:
    assert run("cache", "compile", "p", "--share", "--gc").status == 2
    assert run("cache", "compile", "p", "--share", "--dry-run").status == 2
    assert "go with --gc" in run("cache", "compile", "p", "--limit", "5G").err
    assert run("cache", "compile", "p", "--older-than", "1h").status == 2
    assert run("cache", "compile", "p", "--gc", "--limit", "many").status == 2


def test_an_older_environment_says_what_to_do(run: Run, forge: Forge, place: Path) -> None:
    prefix = forge.show("p").prefix
    assert prefix is not None
    (prefix / "etc/envforge/activation.sh").unlink()
    done = run("cache", "compile", "p")
    assert done.status == 5
    assert "envforge install" in done.err
