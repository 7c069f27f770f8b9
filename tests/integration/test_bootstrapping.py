"""The tool of a pack, of a real Python and a real wheel, for locks with a Python and without."""

from __future__ import annotations

import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.installing import RecordingReporter, make_settings
from fakes.local_channel import LocalChannel
from fakes.wheels import build_wheel

from envforge.adapters.pack import tool
from envforge.adapters.pack.download import Downloads
from envforge.adapters.pack.supply import Supply
from envforge.errors import InvalidValue, Unsolvable
from envforge.forge.packs import bootstrapping
from envforge.forge.packs.bootstrapping import Bootstrap
from envforge.forge.workplace import Workplace
from envforge.model.lock import LockedPackage
from envforge.team.pack_plan import EnvironmentToPack


@pytest.fixture
def bootstrap(
    local_channel: LocalChannel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Bootstrap:
    """envforge needs but one wheel, which pip finds in a folder."""
    build_wheel(tmp_path / "links", "shout", "1.4", modules={"shout.py": "LOUD = True\n"})
    monkeypatch.setattr(tool, "own_requirements", lambda: ("shout>=1",))
    pip = {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1"}
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **pip}
    settings = make_settings(
        tmp_path,
        mirror=str(local_channel.root),
        environment={**environment, "PIP_FIND_LINKS": str(tmp_path / "links")},
    )
    workplace = Workplace(settings=settings, reporter=RecordingReporter())
    folder = tmp_path / "work"
    folder.mkdir()
    supply = Supply(
        settings=settings,
        downloads=Downloads(settings, workplace.uv.settings),
        wheelhouse=workplace.wheelhouse,
        folder=folder,
        blob=lambda _: folder,
    )
    return Bootstrap(workplace, supply, folder, local_channel.subdir)  # type: ignore[arg-type]


def environment(*packages: LockedPackage, **files: str) -> EnvironmentToPack:
    texts = {f"{name.replace('_', '-')}.yml": text for name, text in files.items()}
    return EnvironmentToPack(name="p", files=texts, packages=packages)


def laid_out(bootstrap: Bootstrap, *environments: EnvironmentToPack) -> Path:
    """Where `tar` lays the tool out."""
    script, digest, made = bootstrap.members(environments)
    assert (script.name, digest.name, made.name) == ("bootstrap.sh", "tool.sha256", "tool.tar")
    assert digest.data == f"{made.sha256}  tool.tar\n".encode()
    assert made.file is not None
    place = bootstrap.folder / "laid-out"
    with tarfile.open(made.file) as tar:
        tar.extractall(place, filter="tar")
    return place


def asked(place: Path, program: str) -> str:
    done = subprocess.run(
        [place / "bin/python", "-I", "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_python_of_a_lock_runs_where_it_is_laid_out(
    bootstrap: Bootstrap, local_channel: LocalChannel
) -> None:
    place = laid_out(bootstrap, environment(*local_channel.locked("python", "pip")))

    assert asked(place, "import shout; print(shout.LOUD)") == "True"
    assert asked(place, "import sys; print(sys.prefix)") == str(place.resolve())
    assert asked(place, "import envforge; print(envforge.__version__)")
    assert not list(place.glob("lib/python*/site-packages/pip"))


def test_it_is_the_same_each_time(bootstrap: Bootstrap, local_channel: LocalChannel) -> None:
    packages = environment(*local_channel.locked("python"))

    assert bootstrap.members([packages])[2].sha256 == bootstrap.members([packages])[2].sha256
    assert sorted(path.name for path in bootstrap.folder.iterdir()) == ["tool.tar"]


def test_where_no_lock_has_one_that_is_new_enough_one_is_solved_for(
    bootstrap: Bootstrap, local_channel: LocalChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    [old] = local_channel.locked("python")
    monkeypatch.setattr(bootstrapping, "_PYTHON", f"={local_channel.python}")
    virtual = f"subdirs:\n  {local_channel.subdir}:\n    packages:\n      __glibc: '2.30'\n"

    place = laid_out(
        bootstrap, environment(replace(old, version="3.8.19"), virtual_packages=virtual)
    )

    assert asked(place, "import sys; print(sys.version.split()[0])") == local_channel.python_full


def test_no_python_at_all_is_told(bootstrap: Bootstrap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrapping, "_PYTHON", "=2.0")
    with pytest.raises(Unsolvable):
        bootstrap.members([environment()])


def test_versions_that_are_nowhere_else_give_way(
    bootstrap: Bootstrap, local_channel: LocalChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "installed_versions", lambda _: ("shout==9",))

    place = laid_out(bootstrap, environment(*local_channel.locked("python")))

    assert asked(place, "import importlib.metadata as m; print(m.version('shout'))") == "1.4"


def test_windows_has_no_script(bootstrap: Bootstrap) -> None:
    with pytest.raises(InvalidValue, match="has no `sh`"):
        replace(bootstrap, platform="win-64").members([])
