from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.installing import RecordingReporter, World, as_installed, conda_package, lock_of, wheel

from envforge.errors import (
    BrokenPrefix,
    FileNotUsable,
    NoSuchEnvironment,
    NotEnoughSpace,
    ToolFailed,
    Unreachable,
)
from envforge.install.install import InstallRequest, install, prepare, remove
from envforge.model.lock import LockedPackage
from envforge.model.prefix import Disk, InstalledPackage, PrefixContents, PrefixState
from envforge.ports import LinkOutcome

PREFIX = Path("/envs/demo")
PYTHON = conda_package("python", "3.11.7")
NUMPY = conda_package("numpy", "1.26.4")
TORCH = wheel("torch", "2.13.0")
ALL = (PYTHON, NUMPY, TORCH)


def request(*packages: LockedPackage, **given: Any) -> InstallRequest:
    return InstallRequest(
        lock=lock_of(*(packages or ALL)),
        platform="linux-64",
        prefix=PREFIX,
        environment="demo",
        **given,
    )


def installed_world(*packages: LockedPackage, **given: Any) -> World:
    """A world after an install of these."""
    world = World()
    install(request(*packages, **given), world.tools())
    world.calls.clear()
    return world


def with_packages(world: World, *packages: InstalledPackage, **facts: Any) -> None:
    world.contents = replace(world.contents, packages=tuple(sorted(packages)), **facts)


def test_a_new_prefix_is_marked_before_and_after() -> None:
    world = World()
    result = install(request(), world.tools())

    assert world.calls == [
        "check 2",
        "hold",
        "begin",
        "link",
        "wheels +['torch'] -[]",
        "describe",
        "register",
        "finish",
        "compile ['numpy', 'python', 'torch']",
    ]
    assert world.contents.state is PrefixState.INSTALLED
    assert result.link_mode == "hardlink"
    assert result.bytecode == "background"
    assert len(result.plan.add) == 3
    assert result.forecast.download_bytes > 0


def test_the_second_time_there_is_nothing_to_do() -> None:
    """Not even the lock is taken, so who may only read a shared environment can ask for it."""
    world = installed_world()
    result = install(request(), world.tools())

    assert world.calls == []
    assert result.plan.is_empty
    assert (result.link_mode, result.downloaded, result.bytecode) == ("none", 0, "skipped")


def test_whoever_waited_finds_it_done() -> None:
    world = World(while_waiting=lambda it: setattr(it, "contents", installed_world().contents))
    result = install(request(), world.tools())

    assert world.calls == ["check 2", "hold"]
    assert result.plan.is_empty


def test_a_dry_run_writes_nothing() -> None:
    world = World()
    prepared = prepare(request(), world.tools())

    assert world.calls == []
    assert len(prepared.plan.add) == 3
    assert prepared.forecast.cache_bytes > 0
    assert not prepared.is_done


@pytest.mark.parametrize("step", ["link", "wheels", "describe", "finish"])
def test_an_interrupted_install_is_incomplete_and_the_same_call_finishes_it(step: str) -> None:
    world = World(fails_at={step: KeyboardInterrupt()})  # type: ignore[dict-item]
    with pytest.raises(KeyboardInterrupt):
        install(request(), world.tools())
    assert world.contents.state is PrefixState.INCOMPLETE

    world.fails_at.clear()
    world.calls.clear()
    install(request(), world.tools())

    assert world.contents.state is PrefixState.INSTALLED
    assert world.link_call["resume"] is True
    assert "compile ['numpy', 'python', 'torch']" in world.calls


def test_damaged_packages_of_an_interrupted_install_are_linked_again() -> None:
    world = installed_world()
    damaged = frozenset({as_installed(NUMPY), as_installed(TORCH)})
    world.contents = replace(world.contents, state=PrefixState.INCOMPLETE, damaged=damaged)

    install(request(), world.tools())

    assert world.link_call["reinstall"] == {"numpy"}
    assert "wheels +['torch'] -[]" in world.calls


def test_a_difference_is_shown_and_then_repaired() -> None:
    world = installed_world()
    stray = InstalledPackage(name="stray", manager="pip", version="1")
    with_packages(world, as_installed(PYTHON), as_installed(TORCH), stray)
    shown = []

    result = install(request(), world.tools(), confirm=lambda plan: bool(shown.append(plan) or 1))

    assert shown == [result.plan]
    assert [item.name for item in result.plan.add] == ["numpy"]
    assert "wheels +[] -['stray']" in world.calls
    assert "compile ['numpy']" in world.calls


def test_a_difference_is_left_where_that_is_not_confirmed() -> None:
    world = installed_world()
    with_packages(world, as_installed(PYTHON), as_installed(TORCH))

    with pytest.raises(BrokenPrefix, match="1 to add"):
        install(request(), world.tools(), confirm=lambda _: False)

    assert "begin" not in world.calls


def test_a_plan_that_changed_while_waiting_is_shown_again() -> None:
    world = installed_world()
    with_packages(world, as_installed(PYTHON), as_installed(TORCH))
    world.while_waiting = lambda it: with_packages(it, as_installed(PYTHON))
    shown = []

    install(request(), world.tools(), confirm=lambda plan: bool(shown.append(plan) or 1))

    assert [len(plan.add) for plan in shown] == [1, 2]


def test_wheels_alone_leave_conda_alone() -> None:
    world = installed_world()
    newer = wheel("torch", "2.13.1")
    result = install(request(PYTHON, NUMPY, newer), world.tools())

    assert "link" not in world.calls
    assert "wheels +['torch'] -[]" in world.calls
    assert result.link_mode == "none"


def test_wheels_leave_the_old_python_before_it_goes() -> None:
    """Afterwards nothing would know where they lay."""
    world = installed_world()
    stray = InstalledPackage(name="stray", manager="pip", version="1")
    with_packages(world, *map(as_installed, ALL), stray)

    install(request(conda_package("python", "3.12.1"), NUMPY, TORCH), world.tools())

    order = [call for call in world.calls if call.startswith(("wheels", "link"))]
    assert order == ["wheels +[] -['stray', 'torch']", "link", "wheels +['torch'] -[]"]


def test_a_wheel_goes_before_the_conda_package_of_its_name_comes() -> None:
    """They have the same files: the other way round the fresh ones would be deleted."""
    world = installed_world(PYTHON, TORCH)
    install(request(PYTHON, conda_package("torch")), world.tools())

    order = [call for call in world.calls if call.startswith(("wheels", "link"))]
    assert order == ["wheels +[] -['torch']", "link"]


def interrupted(*packages: InstalledPackage, **facts: Any) -> World:
    """A world whose last install, of Python and torch, was followed by one that did not end."""
    world = installed_world(PYTHON, TORCH)
    with_packages(world, *packages, state=PrefixState.INCOMPLETE, **facts)
    return world


def test_half_a_conda_package_is_not_taken_out_as_a_wheel() -> None:
    """Cut off before its record was written, only its dist-info is there to be seen."""
    half = InstalledPackage(name="numpy", manager="pip", version="1.26.4")
    ours = as_installed(TORCH)
    world = interrupted(as_installed(PYTHON), half, ours)

    def link_owns_it(it: World) -> None:
        it.contents = replace(
            it.contents, packages=tuple(p for p in it.contents.packages if p != half)
        )

    world.after_link = link_owns_it
    install(request(PYTHON, NUMPY), world.tools())

    order = [call for call in world.calls if call.startswith(("wheels", "link"))]
    assert order == ["wheels +[] -['torch']", "link"]


def test_the_same_where_a_record_was_cut_off_later() -> None:
    half = InstalledPackage(name="numpy", manager="pip", version="1.26.4")
    world = installed_world(PYTHON, NUMPY)
    with_packages(world, as_installed(PYTHON), half, unreadable=True)
    world.after_link = lambda it: with_packages(it, as_installed(PYTHON), as_installed(NUMPY))

    install(request(PYTHON, NUMPY), world.tools())

    assert [call for call in world.calls if call.startswith(("wheels", "link"))] == ["link"]
    assert world.cleared == 3  # by `installed_world`, before linking, and again after it


def test_a_stray_that_is_still_there_after_linking_goes() -> None:
    stray = InstalledPackage(name="stray", manager="pip", version="1")
    world = interrupted(as_installed(PYTHON), as_installed(TORCH), stray)

    install(request(PYTHON, TORCH), world.tools())

    order = [call for call in world.calls if call.startswith(("wheels", "link"))]
    assert order == ["link", "wheels +[] -['stray']"]


def test_without_an_interpreter_wheels_wait_until_there_is_one() -> None:
    python = as_installed(PYTHON)
    world = interrupted(python, as_installed(TORCH), damaged=frozenset({python}))

    install(request(PYTHON), world.tools())

    order = [call for call in world.calls if call.startswith(("wheels", "link"))]
    assert order == ["link", "wheels +[] -['torch']"]


def test_variables_alone_are_a_change() -> None:
    world = installed_world(variables={"A": "1", "B": "2"})
    result = install(request(variables={"A": "9"}), world.tools())

    assert world.calls == ["hold", "begin", "describe", "register", "finish"]
    assert world.described == {"variables": {"A": "9"}, "before": ("A", "B")}
    assert result.plan.is_empty
    assert result.bytecode == "skipped"


def test_variables_of_an_interrupted_change_are_not_forgotten() -> None:
    """Both the old ones and the new ones are ours, until the end."""
    world = installed_world(variables={"OLD": "1"})
    world.fails_at = {"describe": KeyboardInterrupt()}  # type: ignore[dict-item]
    with pytest.raises(KeyboardInterrupt):
        install(request(variables={"NEW": "1"}), world.tools())
    world.fails_at.clear()

    install(request(variables={}), world.tools())

    assert world.described["before"] == ("NEW", "OLD")


def test_too_little_space_is_said_before_anything_is_written() -> None:
    world = World(disks={str(PREFIX): Disk(path="/small", device=1, free_bytes=10)})
    with pytest.raises(NotEnoughSpace):
        install(request(), world.tools())
    assert world.calls == ["check 2"]

    install(request(ignore_space=True), world.tools())
    assert world.contents.state is PrefixState.INSTALLED


def test_what_cannot_be_had_is_said_before_anything_is_written() -> None:
    world = World(fails_at={"check": Unreachable(url="x", reason="offline")})
    with pytest.raises(Unreachable):
        install(request(), world.tools())
    assert world.contents.state is PrefixState.ABSENT


def test_a_foreign_environment_that_is_as_locked_is_taken_as_it_is() -> None:
    world = World(
        contents=PrefixContents(
            state=PrefixState.FOREIGN, packages=tuple(sorted(map(as_installed, ALL)))
        )
    )
    assert install(request(), world.tools()).plan.is_empty
    assert world.calls == []


def test_a_foreign_environment_that_differs_is_refused() -> None:
    world = World(
        contents=PrefixContents(state=PrefixState.FOREIGN, packages=(as_installed(NUMPY),))
    )
    with pytest.raises(BrokenPrefix, match=r"did not make.*2 to add"):
        install(request(), world.tools())
    assert world.calls == []


def test_a_registry_that_cannot_be_written_is_a_warning() -> None:
    reporter = RecordingReporter()
    world = World(fails_at={"register": FileNotUsable(path="x", reason="read-only")})
    install(request(), world.tools(reporter))

    assert world.contents.state is PrefixState.INSTALLED
    assert "list of environments" in reporter.warnings[0]


def test_copies_and_skipped_scripts_are_said() -> None:
    reporter = RecordingReporter()
    linked = LinkOutcome(link_mode="copy", downloaded=0, skipped_scripts=("driver",))
    result = install(request(), World(linked=linked).tools(reporter))

    assert "copied" in reporter.notes[0]
    assert "`driver`" in reporter.warnings[0]
    assert result.skipped_scripts == ("driver",)


def test_a_tool_that_fails_leaves_it_incomplete() -> None:
    world = World(fails_at={"link": ToolFailed(command=("x",), status=1, output="")})
    with pytest.raises(ToolFailed):
        install(request(), world.tools())
    assert world.contents.state is PrefixState.INCOMPLETE


def test_remove_deletes_and_unregisters() -> None:
    world = installed_world()
    remove(PREFIX, world.tools())
    assert world.calls == ["hold", "delete", "unregister"]


def test_remove_takes_an_interrupted_install_too() -> None:
    world = World(contents=PrefixContents(state=PrefixState.INCOMPLETE))
    remove(PREFIX, world.tools())
    assert "delete" in world.calls


def test_remove_refuses_what_is_not_ours() -> None:
    with pytest.raises(NoSuchEnvironment):
        remove(PREFIX, World().tools())
    with pytest.raises(BrokenPrefix, match="did not make"):
        remove(PREFIX, World(contents=PrefixContents(state=PrefixState.FOREIGN)).tools())
