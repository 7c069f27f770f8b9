"""Options that several commands share, and the `Forge` they become."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes.command_line import Run

from envforge.cli import options
from envforge.cli.progress import PlainReporter


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where we stand."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_options_override_the_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVFORGE_MIRROR", "https://variable")
    monkeypatch.setenv("ENVFORGE_OFFLINE", "1")
    given = options.make_forge({"envs": Path("there"), "mirror": "https://given", "offline": None})

    assert given.settings.envs_folder == folder / "there"
    assert given.settings.mirror == "https://given"
    assert given.settings.offline
    assert options.make_forge({}).settings.mirror == "https://variable"


def test_the_command_line_reaches_them(run: Run, folder: Path) -> None:
    """A flag that is not given is no `no`."""
    done = run("list", "--envs", "there")
    assert done.out == f"no environments in {folder / 'there'}\n"
    broken = run("list", ENVFORGE_OFFLINE="perhaps")
    assert broken.status == 2
    assert "setting `offline` `perhaps`" in broken.err
    assert run("list", "--offline", ENVFORGE_OFFLINE="perhaps").status == 0


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("verbosity", "level"), [(-1, logging.ERROR), (1, logging.ERROR), (2, logging.DEBUG)]
)
def test_what_is_logged(verbosity: int, level: int) -> None:
    """Calls are logged with -vv only."""
    with as_a_program_starts() as logger:
        options.make_forge({}, verbosity)
        assert logger.level == level


@contextmanager
def as_a_program_starts() -> Iterator[logging.Logger]:
    """Without the handlers of the test runner."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    logger.handlers.clear()
    try:
        yield logger
    finally:
        logger.handlers[:] = handlers
        logger.setLevel(level)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "verbosity"), [((), 0), (("-v",), 1), (("-vv",), 2), (("-q",), -1), (("-qv",), -1)]
)
def test_how_much_is_said(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], verbosity: int
) -> None:
    seen: list[int] = []
    real = options.make_forge

    def make(overrides: dict[str, object], verbosity: int = 0) -> object:
        seen.append(verbosity)
        return real(overrides, 0)

    monkeypatch.setattr(options, "make_forge", make)
    run("list", *words)

    assert seen == [verbosity]


@pytest.mark.usefixtures("folder")
def test_progress_is_for_stderr() -> None:
    forge = options.make_forge({})

    assert isinstance(forge._workplace.reporter, PlainReporter)
