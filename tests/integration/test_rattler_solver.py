"""The real solver on small channels: folders, `file:` addresses and loopback HTTP."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from fakes.channel_metadata import write_channels
from fakes.channel_server import serve
from fakes.conda_solver import FakeCondaSolver, package
from fakes.local_channel import LocalChannel

from envforge.adapters import rattler_solver
from envforge.adapters.channels import resolve_channels
from envforge.adapters.rattler_solver import RattlerSolver
from envforge.errors import Unreachable
from envforge.model.machine import Platform
from envforge.model.settings import CondaSettings, Settings
from envforge.model.solving import Channel, CondaConflict, CondaProblem, CondaSolution
from envforge.model.spec import Constraint, Dependency, VirtualPackage
from envforge.ports import ChannelIndex, CondaSolver
from envforge.solve.explain import shortened

PUBLIC = "https://conda.anaconda.org"
RECORDS = (
    package("alpha", "1.0", "h0_0", depends=("beta >=1",)),
    package("alpha", "2.0", "h0_0", depends=("beta >=2", "__cuda >=12")),
    package("beta", "1.0", "h0_0"),
    package("beta", "1.5", "cuda126_h1_0"),
    package("beta", "2.0", "h0_0"),
    package("gamma", "1.0", platform="win-64"),
    package("gamma", "1.1", platform="linux-aarch64"),
    package("gamma", "1.2"),
    package("beta", "9.0", channel="other"),
    package("delta", "1.0", channel="other"),
)


def settings(tmp_path: Path, **changes: Any) -> Settings:
    fields: dict[str, Any] = {"cache": tmp_path / "cache", "timeout": 10.0}
    here = dict.fromkeys(
        ("home", "envs_folder", "prefixes", "package_cache", "store", "views"), tmp_path
    )
    return Settings(**(here | fields | changes))


@pytest.fixture
def channels(tmp_path: Path) -> Path:
    return write_channels(tmp_path / "channels", RECORDS)


def problem(
    *dependencies: Dependency,
    given: tuple[Channel, ...],
    cuda: str | None = None,
    platform: Platform = "linux-64",
    **changes: Any,
) -> CondaProblem:
    virtual = (VirtualPackage(name="__cuda", version=cuda),) if cuda else ()
    return CondaProblem(
        platform=platform,
        channels=given,
        dependencies=dependencies,
        virtual_packages=virtual,
        **changes,
    )


ALPHA = Dependency(name="alpha")
BETA = Dependency(name="beta")


def both(mirror: str, tmp_path: Path, **changes: Any) -> tuple[CondaSolver, tuple[Channel, ...]]:
    """A solver, and the two channels found below a mirror."""
    found = settings(tmp_path, mirror=mirror, **changes)
    return RattlerSolver(found), resolve_channels(["conda-forge", "other"], found)


def answer(solver: CondaSolver, asked: CondaProblem) -> dict[str, str]:
    [found] = solver.solve([asked])
    assert isinstance(found, CondaSolution), found
    return {item.name: f"{item.version} {item.build}" for item in found.packages}


def refused(solver: CondaSolver, asked: CondaProblem) -> CondaConflict:
    [found] = solver.solve([asked])
    assert isinstance(found, CondaConflict), found
    return found


@pytest.fixture(params=["rattler", "fake"])
def any_solver(
    request: pytest.FixtureRequest, channels: Path, tmp_path: Path
) -> tuple[CondaSolver, tuple[Channel, ...]]:
    """One suite for the port: the fake has to behave as the real one does."""
    solver, given = both(str(channels), tmp_path)
    if request.param == "fake":
        solver = FakeCondaSolver([item for item in RECORDS if "conda-forge" in item.url])
    return solver, given


Solving = tuple[CondaSolver, tuple[Channel, ...]]


def test_the_newest_that_fits(any_solver: Solving) -> None:
    solver, given = any_solver
    newest = answer(solver, problem(ALPHA, given=given, cuda="12.6"))
    assert newest == {"alpha": "2.0 h0_0", "beta": "2.0 h0_0"}


def test_constraints_hold_and_bring_nothing(any_solver: Solving) -> None:
    solver, given = any_solver
    below = Constraint(package="beta", range="<2", reason="", source="")
    absent = Constraint(package="gamma", range="<1", reason="", source="")
    only = Dependency(name="alpha", version="=1.0")
    found = answer(solver, problem(only, given=given, constraints=(below, absent)))
    assert found == {"alpha": "1.0 h0_0", "beta": "1.5 cuda126_h1_0"}


def test_builds(any_solver: Solving) -> None:
    solver, given = any_solver
    item = Dependency(name="beta", version="=1.5", build="*cuda126*")
    assert answer(solver, problem(item, given=given)) == {"beta": "1.5 cuda126_h1_0"}
    refused(solver, problem(replace(item, build="*cuda118*"), given=given))


def test_platforms_are_answered_in_order(any_solver: Solving) -> None:
    solver, given = any_solver
    platforms: tuple[Platform, ...] = ("win-64", "linux-64", "linux-aarch64")
    gamma = Dependency(name="gamma")
    found = solver.solve([problem(gamma, given=given, platform=item) for item in platforms])
    assert [item.platform for item in found] == list(platforms)
    versions = [item.packages[0].version for item in found if isinstance(item, CondaSolution)]
    assert versions == ["1.0", "1.2", "1.1"]


def test_old_packages_are_kept_where_they_fit(any_solver: Solving) -> None:
    solver, given = any_solver
    old = (RECORDS[2],)
    only = Dependency(name="alpha", version="=1.0")
    assert answer(solver, problem(only, given=given, preferred=old))["beta"] == "1.0 h0_0"
    newer = replace(only, version="=2.0")
    kept = answer(solver, problem(newer, given=given, cuda="12", preferred=old))
    assert kept["beta"] == "2.0 h0_0"


def test_what_is_held_stays_or_there_is_no_solution(any_solver: Solving) -> None:
    """Holding brings nothing: a package that nobody needs does not come."""
    solver, given = any_solver
    held = (RECORDS[2], RECORDS[7])  # beta 1.0, gamma 1.2
    older = answer(solver, problem(replace(ALPHA, version="=1.0"), given=given, held=held))
    assert older == {"alpha": "1.0 h0_0", "beta": "1.0 h0_0"}
    refused(solver, problem(replace(ALPHA, version="=2.0"), given=given, cuda="12", held=held))


def test_what_the_channels_hold_can_be_asked(any_solver: Solving) -> None:
    solver, given = any_solver
    index = cast("ChannelIndex", solver)
    found = index.versions(problem(given=given), ("alpha", "nowhere"))
    assert found == {"alpha": frozenset({"1.0", "2.0"}), "nowhere": frozenset()}
    gone = replace(RECORDS[0], url=RECORDS[0].url.replace("alpha", "gone"), name="gone")
    bare = replace(RECORDS[0], depends=())
    [known] = index.known(problem(given=given), (bare, gone))
    assert (known.url, known.depends) == (RECORDS[0].url, RECORDS[0].depends)


def test_a_missing_package_is_a_conflict(any_solver: Solving) -> None:
    solver, given = any_solver
    found = refused(solver, problem(Dependency(name="alhpa"), given=given))
    assert "alhpa" in found.explanation
    assert list(found.unknown) == ["alhpa"]


def test_records_carry_everything_a_lock_needs(channels: Path, tmp_path: Path) -> None:
    """With the canonical address, wherever they were read."""
    solver, given = both(str(channels), tmp_path)
    [found] = solver.solve([problem(Dependency(name="alpha", version="=1.0"), given=given)])
    assert isinstance(found, CondaSolution)
    assert found.packages[0] == RECORDS[0]


def test_strict_priority(channels: Path, tmp_path: Path) -> None:
    """The first channel with a name hides the others, but for a `channel::` prefix."""
    solver, given = both(str(channels), tmp_path)
    assert answer(solver, problem(BETA, given=given)) == {"beta": "2.0 h0_0"}
    prefixed = replace(BETA, channel="other")
    assert answer(solver, problem(prefixed, given=given)) == {"beta": "9.0 h0_0"}
    by_address = replace(BETA, channel=f"{PUBLIC}/other")
    assert answer(solver, problem(by_address, given=given)) == {"beta": "9.0 h0_0"}
    high = replace(BETA, version=">=5")
    found = refused(solver, problem(high, given=given))
    assert "strict channel priority" in shortened(found, problem(high, given=given))


def test_a_prefix_means_a_channel_listed_by_its_address(channels: Path, tmp_path: Path) -> None:
    found = settings(tmp_path, mirror=str(channels))
    given = resolve_channels(["conda-forge", f"{PUBLIC}/other"], found)
    asked = problem(replace(BETA, channel="other"), given=given)
    assert answer(RattlerSolver(found), asked) == {"beta": "9.0 h0_0"}


@pytest.mark.parametrize("sharing", ["http", "file", "alias"])
def test_the_same_answer_wherever_the_channels_are_read(
    channels: Path, tmp_path: Path, sharing: str
) -> None:
    """A folder, an address, a site's own server: canonical addresses in every case."""
    solver, given = both(str(channels), tmp_path)
    asked = (replace(ALPHA, version="=1.0"), Dependency(name="delta"), replace(BETA, version="<2"))
    from_folder = solver.solve([problem(*asked, given=given)])
    with serve(channels) as server:
        if sharing == "alias":
            site = CondaSettings(custom_channels={"conda-forge": server.url, "other": PUBLIC})
            found = settings(tmp_path, conda=site)
            given = (
                *resolve_channels(["conda-forge"], found),
                Channel(name="other", url=f"{PUBLIC}/other", mirror=f"{server.url}/other"),
            )
            solver = RattlerSolver(found)
        else:
            root = server.url if sharing == "http" else channels.as_uri()
            solver, given = both(root, tmp_path)
        assert solver.solve([problem(*asked, given=given)]) == from_folder


def test_folders_and_addresses_together(channels: Path, tmp_path: Path) -> None:
    with serve(channels) as server:
        given = (
            Channel(
                name="conda-forge", url=f"{PUBLIC}/conda-forge", mirror=f"{channels}/conda-forge"
            ),
            Channel(name="other", url=f"{server.url}/other"),
        )
        solver = RattlerSolver(settings(tmp_path))
        [found] = solver.solve([problem(Dependency(name="delta"), ALPHA, given=given, cuda="12")])
        assert isinstance(found, CondaSolution)
        assert [item.channel_url for item in found.packages] == [
            f"{PUBLIC}/conda-forge",
            f"{PUBLIC}/conda-forge",
            f"{server.url}/other",
        ]
        old = (RECORDS[0], package("delta", "1.0", channel="other"))
        again = solver.solve([problem(Dependency(name="delta"), given=given, preferred=old)])
        assert isinstance(again[0], CondaSolution)
        conflict = refused(solver, problem(Dependency(name="detla"), given=given))
        assert conflict.unknown == {"detla": ("delta",)}


def test_real_packages_in_shards(local_channel: LocalChannel, tmp_path: Path) -> None:
    """What rattler-index wrote, from a folder and over HTTP with shards."""
    python = Dependency(name="python", version=f"={local_channel.python}")
    asked = (python, Dependency(name="greeter"))
    found = settings(tmp_path, mirror=str(local_channel.root))
    given = resolve_channels(["conda-forge"], found)
    platform: Any = local_channel.subdir
    [folder] = RattlerSolver(found).solve([problem(*asked, given=given, platform=platform)])
    with serve(local_channel.root) as server:
        found = settings(tmp_path, mirror=server.url)
        given = resolve_channels(["conda-forge"], found)
        [remote] = RattlerSolver(found).solve([problem(*asked, given=given, platform=platform)])
        assert server.count("repodata_shards.msgpack.zst") > 0
    assert remote == folder
    assert isinstance(folder, CondaSolution)
    bare = tuple(replace(item, constrains=()) for item in folder.packages)
    assert bare == local_channel.locked(("greeter", "1.3"), "python")


def test_a_folder_with_compressed_metadata_alone(channels: Path, tmp_path: Path) -> None:
    """Unpacked once, into the cache; a changed file is unpacked again."""
    zstandard = pytest.importorskip("zstandard")
    for plain in channels.rglob("repodata.json"):
        packed = plain.with_suffix(".json.zst")
        packed.write_bytes(zstandard.ZstdCompressor().compress(plain.read_bytes()))
        plain.unlink()
    solver, given = both(str(channels), tmp_path)
    assert answer(solver, problem(BETA, given=given)) == {"beta": "2.0 h0_0"}
    unpacked = set((tmp_path / "cache").rglob("*.json"))
    solver, given = both(str(channels), tmp_path)
    answer(solver, problem(BETA, given=given))
    assert set((tmp_path / "cache").rglob("*.json")) == unpacked


def test_compressed_metadata_that_is_damaged(channels: Path, tmp_path: Path) -> None:
    pytest.importorskip("zstandard")
    plain = channels / "conda-forge" / "linux-64" / "repodata.json"
    plain.with_suffix(".json.zst").write_bytes(b"no zstandard")
    plain.unlink()
    solver, given = both(str(channels), tmp_path)
    with pytest.raises(Unreachable, match="damaged"):
        solver.solve([problem(BETA, given=given)])


def test_no_zstandard_in_this_python(
    channels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.version_info >= (3, 14):
        pytest.skip("this Python carries it")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    plain = channels / "conda-forge" / "linux-64" / "repodata.json"
    plain.rename(plain.with_suffix(".json.zst"))
    solver, given = both(str(channels), tmp_path)
    with pytest.raises(Unreachable, match="cannot unpack") as error:
        solver.solve([problem(BETA, given=given)])
    assert "pip install zstandard" in (error.value.hint or "")


@pytest.mark.parametrize("text", ["", "<html>", '{"packages": {"a', "[1]"])
def test_a_folder_with_half_a_file(channels: Path, tmp_path: Path, text: str) -> None:
    (channels / "conda-forge" / "linux-64" / "repodata.json").write_text(text)
    solver, given = both(str(channels), tmp_path)
    with pytest.raises(Unreachable, match="no channel metadata, or half of it") as error:
        solver.solve([problem(BETA, given=given)])
    assert error.value.url.endswith("conda-forge/linux-64/repodata.json")


def test_a_folder_without_a_platform(channels: Path, tmp_path: Path) -> None:
    """A channel need not have every platform; but one without any is none."""
    shutil.rmtree(channels / "other" / "linux-64")
    solver, given = both(str(channels), tmp_path)
    assert answer(solver, problem(BETA, given=given)) == {"beta": "2.0 h0_0"}
    shutil.rmtree(channels / "other")
    (channels / "other").mkdir()
    solver, given = both(str(channels), tmp_path)
    with pytest.raises(Unreachable, match=r"no `repodata\.json` in it"):
        solver.solve([problem(BETA, given=given)])


def test_a_channel_with_nothing_in_it_is_named(channels: Path, tmp_path: Path) -> None:
    for path in (channels / "other").rglob("repodata.json"):
        path.write_text('{"hello": 1}')
    solver, given = both(str(channels), tmp_path)
    found = refused(solver, problem(Dependency(name="delta"), given=given))
    assert found.empty_channels == (f"{PUBLIC}/other",)


def test_hashes_that_a_local_channel_lacks_are_computed(tmp_path: Path) -> None:
    """Only where the archive lies at hand."""
    bare = (replace(RECORDS[2], md5="", sha256=""), replace(RECORDS[4], md5=""))
    root = write_channels(tmp_path / "channels", bare)
    archive = root / "conda-forge" / "linux-64" / RECORDS[2].filename
    archive.write_bytes(b"package")
    given = (Channel(name="local", url=(root / "conda-forge").as_uri()),)
    solver = RattlerSolver(settings(tmp_path))
    [found] = solver.solve([problem(replace(BETA, version="=1.0"), given=given)])
    assert isinstance(found, CondaSolution)
    assert found.packages[0].sha256 == hashlib.sha256(b"package").hexdigest()
    assert found.packages[0].md5 == hashlib.md5(b"package", usedforsecurity=False).hexdigest()
    [found] = solver.solve([problem(replace(BETA, version="=2.0"), given=given)])
    assert isinstance(found, CondaSolution)
    assert found.packages[0].md5 == ""


def test_what_there_is_instead(channels: Path, tmp_path: Path) -> None:
    """Other builds of the version asked for, else the versions around it, of that channel."""
    solver, given = both(str(channels), tmp_path)
    build = Dependency(name="beta", version="=1.5", build="*cuda118*")
    assert refused(solver, problem(build, given=given)).available == {"beta": ("1.5 cuda126_h1_0",)}
    version = Dependency(name="beta", version="=1.7")
    assert refused(solver, problem(version, given=given)).available == {
        "beta": ("9.0", "2.0", "1.5", "1.0")
    }
    other = replace(version, channel="other")
    assert refused(solver, problem(other, given=given)).available == {"beta": ("9.0",)}
    anything = Dependency(name="beta", build="*rocm*")
    assert "beta" in refused(solver, problem(anything, given=given)).available


def test_versions_in_all_the_spellings_of_environment_yml(channels: Path, tmp_path: Path) -> None:
    solver, given = both(str(channels), tmp_path)
    for text in ("=1.5", "==1.5", "1.5", "1.5.*", ">=1.2,<2", "~=1.2", "=1.2|=1.5", "!=2.0"):
        item = Dependency(name="beta", version=text)
        assert answer(solver, problem(item, given=given)) == {"beta": "1.5 cuda126_h1_0"}, text


def test_a_solve_that_takes_too_long(
    channels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rattler_solver, "_SOLVE_SECONDS", 0.000001)
    solver, given = both(str(channels), tmp_path)
    found = refused(solver, problem(ALPHA, given=given, cuda="12"))
    assert "neither a solution nor a contradiction" in found.explanation


def test_offline_means_what_was_read_before(channels: Path, tmp_path: Path) -> None:
    with serve(channels) as server:
        solver, given = both(server.url, tmp_path, offline=True)
        with pytest.raises(Unreachable, match="we are offline") as error:
            solver.solve([problem(BETA, given=given)])
        assert "--mirror" in (error.value.hint or "")
        solver, _ = both(server.url, tmp_path)
        online = answer(solver, problem(BETA, given=given))
        before = server.requests.total()
        solver, _ = both(server.url, tmp_path, offline=True)
        assert answer(solver, problem(BETA, given=given)) == online
        assert server.requests.total() == before


def test_importing_the_adapter_does_not_import_rattler() -> None:
    code = (
        "import sys, envforge.adapters.rattler_solver, envforge.adapters.channels\n"
        "print([name for name in ('rattler', 'asyncio.events') if name in sys.modules][:1])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "rattler" not in done.stdout


# --- what was published when ----------------------------------------------------------------

MARCH, JUNE = 1_709_290_000_000, 1_717_240_000_000
"""In milliseconds, as repodata has them: in 2024."""
AGES = {"delta-1.0-h0_0.conda": MARCH, "delta-2.0-h0_0.conda": JUNE}
DATED = (
    *(package("delta", version) for version in ("1.0", "2.0")),
    package("epsilon", "1.0"),
)


def alone(root: Path, tmp_path: Path) -> tuple[CondaSolver, tuple[Channel, ...]]:
    """A solver, and the one channel below a mirror."""
    found = settings(tmp_path, mirror=str(root))
    return RattlerSolver(found), resolve_channels(["conda-forge"], found)


@pytest.mark.parametrize(
    ("until", "version"),
    [("2024-03-31T23:59:59Z", "1.0"), ("2024-06-30T23:59:59Z", "2.0"), (None, "2.0")],
)
def test_nothing_newer_than_a_moment(tmp_path: Path, until: str | None, version: str) -> None:
    """Not even where an old lock would like it."""
    root = write_channels(tmp_path / "channels", DATED, dates=AGES)
    solver, given = alone(root, tmp_path)
    asked = problem(
        Dependency(name="delta"), given=given, exclude_newer=until, preferred=DATED[1:2]
    )
    [found] = solver.solve([asked])
    assert isinstance(found, CondaSolution)
    assert [item.version for item in found.packages] == [version]
    assert found.undated == ()


def test_what_has_no_date_is_taken_where_nothing_else_fits_and_named(tmp_path: Path) -> None:
    root = write_channels(tmp_path / "channels", DATED, dates=AGES)
    solver, given = alone(root, tmp_path)
    asked = (Dependency(name="delta"), Dependency(name="epsilon"))
    [found] = solver.solve([problem(*asked, given=given, exclude_newer="2024-03-31T23:59:59Z")])
    assert isinstance(found, CondaSolution)
    assert {item.name: item.version for item in found.packages} == {
        "delta": "1.0",
        "epsilon": "1.0",
    }
    assert found.undated == ("epsilon",)


def test_before_the_first_there_is_nothing(tmp_path: Path) -> None:
    root = write_channels(tmp_path / "channels", DATED, dates=AGES)
    solver, given = alone(root, tmp_path)
    asked = problem(Dependency(name="delta"), given=given, exclude_newer="2020-01-01T23:59:59Z")
    assert "2020-01-01" in refused(solver, asked).explanation


def test_an_old_package_is_known_in_both_forms(tmp_path: Path) -> None:
    """A lock may name the `.tar.bz2` of a build that the channel lists as `.conda`."""
    root = write_channels(tmp_path / "channels", DATED)
    solver, given = alone(root, tmp_path)
    old = replace(DATED[0], url=DATED[0].url.replace(".conda", ".tar.bz2"))
    asked = problem(Dependency(name="delta"), given=given)
    for hold in ({"preferred": (old,)}, {"held": (old,)}):
        assert answer(solver, replace(asked, **hold)) == {"delta": "1.0 h0_0"}
