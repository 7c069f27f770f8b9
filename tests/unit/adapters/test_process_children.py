from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import pytest

from envforge.adapters.process import converse, start_detached

ECHO = "import sys\nfor line in sys.stdin: print(line.strip()[::-1], flush=True)"


def test_a_child_is_talked_with() -> None:
    with converse([sys.executable, "-c", ECHO], env={}) as child:
        lines = child.lines()
        child.send(b"abc\n")
        assert next(lines) == "cba\n"
        child.send(b"def\n")
        assert next(lines) == "fed\n"


def test_its_end_is_told() -> None:
    program = "import sys; sys.stderr.write('why'); sys.exit(3)"
    with converse([sys.executable, "-c", program], env={}) as child:
        assert list(child.lines()) == []
        ended = child.end()
    assert (ended.status, ended.stderr) == (3, "why")


def test_a_child_that_is_gone_takes_nothing() -> None:
    with converse([sys.executable, "-c", ""], env={}) as child:
        child.end()
        child.send(b"x" * 100_000)


def test_an_interrupted_talk_kills_the_child() -> None:
    program = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    seen: list[int] = []

    def talk() -> None:
        with converse([sys.executable, "-c", program], env={}) as child:
            seen.append(int(next(child.lines())))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        talk()
    [process] = seen
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_detached_program_reads_a_file_and_goes_on_alone(tmp_path: Path) -> None:
    program = "import os, sys; open('out', 'w').write(sys.stdin.read() + str(os.getsid(0)))"
    with tempfile.TemporaryFile() as stdin:
        stdin.write(b"in ")
        stdin.seek(0)
        start_detached([sys.executable, "-c", program], env={}, cwd=tmp_path, stdin=stdin)
    deadline = time.monotonic() + 20
    while not (tmp_path / "out").exists() or not (tmp_path / "out").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert (tmp_path / "out").read_text() != f"in {os.getsid(0)}"
