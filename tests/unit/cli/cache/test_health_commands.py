"""How `cache init`, `doctor`, `verify` and `serve` look."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from fakes.command_line import Run, run_envforge
from fakes.disk import place, surroundings, trials

from envforge.adapters.store.looking import filesystem
from envforge.cli.rendering.render_health import show_health
from envforge.forge.caching import serving
from envforge.model.health import Flaw, StoreHealth


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def called(*arguments: str, **more: object) -> object:
        return run_envforge("cache", *arguments, "--store", str(tmp_path / "store"), **more)  # type: ignore[arg-type]

    return called  # type: ignore[return-value]


def test_init(run: Run, tmp_path: Path) -> None:
    done = run("init")

    first, second, *rest = done.out.splitlines()
    assert first == f"made the store {tmp_path / 'store'}"
    assert second.endswith("only its owner writes (mode 0755)")
    assert f"next: envforge cache prefill --store {tmp_path / 'store'} ENV" in rest
    assert f"      export ENVFORGE_STORE={tmp_path / 'store'}    for create, run" in done.out
    assert run("init").out.startswith("the store is there")


def test_init_as_a_document(run: Run, tmp_path: Path) -> None:
    document = run("init", "--json").json

    assert document["schema"] == "envforge.cache-init/1"
    assert (document["path"], document["mode"]) == (str(tmp_path / "store"), "0755")


def test_init_tells_what_is_wrong_with_the_disk(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = surroundings(store=place(kind="tmpfs"))
    monkeypatch.setattr(filesystem, "look", lambda *_, **__: seen)

    assert "error: the store is in memory (tmpfs)" in run("init").out


def test_the_doctor_says_problems_first(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = surroundings(
        store=place(kind="tmpfs"), trials=trials(flock="nothing", to_views=None, reflink=None)
    )
    monkeypatch.setattr(filesystem, "look", lambda *_, **__: seen)

    done = run("doctor")

    lines = done.out.splitlines()
    assert done.status == 1
    assert lines[0].startswith("error: the store is in memory")
    assert lines[1].startswith("  mend: ") or lines[2].startswith("  mend: ")
    assert any(line.startswith("warning: flock does nothing") for line in lines)
    assert any(line.startswith("not seen: views lie where") for line in lines)
    assert lines[-1] == "1 problem, 1 warning, 17 checks passed, 1 could not look"
    assert all(len(line) <= 80 for line in lines if "mend:" not in line)


def test_a_healthy_disk(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "look", lambda *_, **__: surroundings())

    done = run("doctor")

    assert done.status == 0
    assert done.out.splitlines()[-1] == "20 checks passed"
    assert "hardlinks work, reflinks do not" in done.out


def test_warnings_alone_are_no_failure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = surroundings(
        store=place(owner=3_999_999_999, free_inodes=None),
        uid=3_999_999_999,
        folders=(),
        trials=trials(read_rate=50e6, to_views="EXDEV"),
        views=place("/other", mount="/other"),
        umask=0o077,
    )
    monkeypatch.setattr(filesystem, "look", lambda *_, **__: seen)

    done = run("doctor")

    assert done.status == 0
    assert "3 warnings" in done.out
    assert "owner      3999999999" in done.out
    assert "hardlinks fail (EXDEV)" in done.out


def test_the_doctor_on_this_disk_as_a_document(run: Run) -> None:
    document = run("doctor", "--no-speed", "--json").json

    assert document["schema"] == "envforge.cache-doctor/1"
    assert len(document["checks"]) == 20
    assert {item["verdict"] for item in document["checks"]} <= {"passed", "failed", "unproven"}


def test_verify_without_a_store(run: Run) -> None:
    done = run("verify")

    assert done.status == 6
    assert "envforge cache init" in done.err


def test_many_flaws_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    flaws = tuple(
        Flaw(
            kind="missing",
            path=f"/s/{number}",
            message="not in the store",
            wanted_by=tuple(f"env-{user}: r f" for user in range(4)),
            remedy="envforge cache prefill env",
        )
        for number in range(30)
    )
    report = StoreHealth(store="/s", files=1, size=1, read=0, views=0, locks=("a",), flaws=flaws)

    show_health(report)

    out = capsys.readouterr().out
    assert "error missing: 30" in out
    assert "and 10 more; --json shows all" in out
    assert "(for env-0: r f; env-1: r f; 2 more)" in out
    assert out.count("mend:") == 1
    assert out.splitlines()[-1].startswith("30 problems: 1 file (1 B; sizes, modes and links)")


def test_a_warning_is_told_in_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    flaw = Flaw(kind="view-copy", path="/v/x", message="is its own", is_warning=True)
    report = StoreHealth(
        store="/s", files=2, size=9, read=9, views=1, locks=(), flaws=(flaw,), deep=True
    )

    show_health(report)

    assert (
        capsys.readouterr().out.splitlines()[-1]
        == "1 warning: 2 files (9 B; 9 B read), 1 view, 0 locks"
    )


def test_serve_ends_at_a_signal(run: Run, tmp_path: Path) -> None:
    run("init")
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=_end_when_served, args=(tmp_path / "store/serve.sock",))
    thread.start()

    done = run("serve")
    thread.join()

    assert done.status == 0
    assert "serving" in done.err
    assert "stopped" in done.err
    assert signal.getsignal(signal.SIGTERM) is before


def _end_when_served(served: Path) -> None:
    """Not before: the signal would end the tests."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if served.exists():
            os.kill(os.getpid(), signal.SIGTERM)
            return
        time.sleep(0.02)


def test_serve_of_anothers_store(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("init")
    monkeypatch.setattr(serving.Store, "is_ours", False)

    done = run("serve")

    assert done.status == 6
    assert "who alone can safely link its files" in done.err
