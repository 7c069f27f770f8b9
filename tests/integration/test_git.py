"""git, the real one: what revisions hold, and how it shows and merges locks."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.command_line import run_envforge
from fakes.conda_solver import package
from fakes.locks import lock
from fakes.repository import Repository, make_repository
from fakes.workplace import NAME, fake_forge, make_environment

from envforge.adapters.git import Git
from envforge.adapters.process import RealProcesses
from envforge.errors import InvalidFile, InvalidValue, ToolFailed
from envforge.forge import Forge
from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.lock import UNSOLVED, Lock

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

LOCK = lock(package("numpy", "1.26.4"), package("python", "3.10.14"), inputs_digest="a" * 64)


def moved(name: str, version: str, base: Lock = LOCK) -> Lock:
    packages = tuple(
        replace(package(name, version)) if item.name == name else item for item in base.packages
    )
    return replace(base, packages=packages)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    found = make_repository(tmp_path / "clone")
    monkeypatch.chdir(found.folder)
    return found


def forge_of(repository: Repository) -> Forge:
    """Environments lie in `envs` of the repository; git is the real one."""
    forge = fake_forge(repository.folder, environment=dict(os.environ))
    forge._workplace.processes = RealProcesses()
    return forge


@pytest.fixture
def env(repository: Repository) -> Path:
    """A committed environment, whose folder was changed since."""
    forge = forge_of(repository)
    folder = make_environment(forge)
    repository.commit()
    _rewrite(folder / "conda-lock.yml", "cuda-version", "12.7")
    return folder


def _rewrite(path: Path, name: str, version: str) -> None:
    old = conda_lock_yml.read(path.read_text(), "x")
    path.write_text(conda_lock_yml.write(moved(name, version, old)))


# --- revisions ------------------------------------------------------------------------------


def test_an_environment_against_what_is_committed(repository: Repository, env: Path) -> None:
    found = forge_of(repository).diff(NAME)

    assert [(item.name, item.before, item.after) for item in found.moves] == [
        ("cuda-version", "12.6", "12.7")
    ]
    assert found.old.startswith("HEAD:")
    assert not found.is_same


@pytest.mark.parametrize(
    "old",
    [
        "HEAD:envs/{name}",
        "HEAD:envs/{name}/",
        "HEAD:envs/{name}/conda-lock.yml",
        "HEAD:./envs/{name}",
        "HEAD:{name}",
        "main:envs/{name}",
    ],
)
def test_ways_to_name_what_is_committed(repository: Repository, env: Path, old: str) -> None:
    folder = str(env.relative_to(repository.folder))
    name = old.format(name=NAME).replace("envs/" + NAME, folder)
    for new in (NAME, None):
        if new is None and name == f"HEAD:{NAME}":
            continue
        assert [item.name for item in forge_of(repository).diff(name, new).moves] == [
            "cuda-version"
        ]


def test_from_a_folder_below(
    repository: Repository, env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(env)
    forge = forge_of(repository)
    for old in ("HEAD:./conda-lock.yml", "HEAD:conda-lock.yml", "HEAD:."):
        assert len(forge.diff(old, "conda-lock.yml").moves) == 1, old


def test_the_direct_dependencies_of_a_revision_are_known(repository: Repository, env: Path) -> None:
    [move] = forge_of(repository).diff(NAME).moves
    assert move.cause.why == "asked"


def test_two_revisions(repository: Repository, env: Path) -> None:
    repository.commit()
    folder = str(env.relative_to(repository.folder))
    found = forge_of(repository).diff(f"HEAD~1:{folder}", f"HEAD:{folder}")
    assert len(found.moves) == 1


@pytest.mark.parametrize("name", ["HEAD:nowhere/x", "NOREV:envs", "--all:envs"])
def test_what_git_does_not_know(repository: Repository, env: Path, name: str) -> None:
    with pytest.raises(InvalidValue, match="revision"):
        forge_of(repository).diff(name, NAME)


def test_a_folder_without_a_lock(repository: Repository, env: Path) -> None:
    folder = repository.folder / "docs"
    folder.mkdir()
    (folder / "a.txt").write_text("x")
    repository.commit()
    with pytest.raises(InvalidFile, match="holds none of"):
        forge_of(repository).diff("HEAD:docs", NAME)


def test_outside_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    forge = forge_of(Repository(tmp_path))
    make_environment(forge)
    with pytest.raises(InvalidValue, match="is in no git repository") as caught:
        forge.diff(NAME)
    assert caught.value.hint == "name both sides: `envforge diff OLD NEW`"
    with pytest.raises(InvalidValue, match="is in no git repository") as caught:
        forge.diff("HEAD~1:envs/x", NAME)
    assert "clone" in str(caught.value.hint)


def test_a_repository_of_another_user(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git does not read it (CVE-2022-24765): that is said, and not that there is none."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    forge = forge_of(repository)
    make_environment(forge)
    with pytest.raises(InvalidValue, match="of another user") as caught:
        forge.diff(NAME)
    assert "git config --global --add safe.directory /" in str(caught.value.hint)


def test_a_folder_that_is_none(repository: Repository) -> None:
    with pytest.raises(InvalidValue, match="folder `nowhere` is no folder"):
        forge_of(repository).git_install(Path("nowhere"))


def test_what_was_never_committed(repository: Repository) -> None:
    """Nobody wrote `HEAD:`, so nobody is told how a revision is written."""
    forge = forge_of(repository)
    make_environment(forge)
    with pytest.raises(InvalidValue, match=f"{NAME}` was never committed") as caught:
        forge.diff(NAME)
    assert caught.value.hint == "commit it, or name both sides: `envforge diff OLD NEW`"


def test_a_path_in_another_repository(repository: Repository, env: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "elsewhere.yml"
    stranger.write_text(conda_lock_yml.write(LOCK))
    with pytest.raises(InvalidValue, match="is not in the repository"):
        forge_of(repository).diff(str(stranger))


# --- drivers --------------------------------------------------------------------------------


def test_setting_up_is_done_once_and_taken_out_again(repository: Repository) -> None:
    (repository.folder / ".gitattributes").write_text("*.png binary\n")
    forge = forge_of(repository)

    first, second = forge.git_install(), forge.git_install()
    attributes = (repository.folder / ".gitattributes").read_text().splitlines()

    assert len(first.settings) == 4
    assert (first.wrote_attributes, second.settings, second.wrote_attributes) == (True, (), False)
    assert attributes[0] == "*.png binary"
    assert attributes[1].startswith("conda-lock.yml diff=envforge-lock merge=envforge-lock")

    gone = forge.git_install(remove=True)
    assert len(gone.settings) == 4
    assert (repository.folder / ".gitattributes").read_text() == "*.png binary\n"
    assert "envforge" not in repository.git("config", "--local", "--list")
    assert forge.git_install(remove=True).settings == ()


def test_a_diff_is_of_packages(repository: Repository) -> None:
    path = _committed(repository)
    path.write_text(conda_lock_yml.write(moved("numpy", "2.0.1")))
    lines = repository.git("diff").splitlines()
    changed = [line for line in lines if line[:1] in "+-" and not line.startswith(("+++", "---"))]
    assert [line.split()[:2] for line in changed] == [["-numpy", "1.26.4"], ["+numpy", "2.0.1"]]


def test_without_envforge_git_shows_the_file(repository: Repository) -> None:
    path = _committed(repository)
    show = repository.git("config", "diff.envforge-lock.textconv").strip()
    gone = show.replace("from envforge.cli", "from envforge_that_is_gone.cli")
    repository.git("config", "diff.envforge-lock.textconv", gone)
    path.write_text(conda_lock_yml.write(moved("numpy", "2.0.1")))
    assert "+  version: 2.0.1" in repository.git("diff")


def test_nothing_that_lies_in_a_repository_is_run(repository: Repository) -> None:
    """git runs the programs at its top, where a clone may hold modules of any name."""
    path = _committed(repository)
    ran = repository.folder.parent / "ran"
    for name in ("envforge", "click", "json", "shlex", "sitecustomize"):
        (repository.folder / f"{name}.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    path.write_text(conda_lock_yml.write(moved("numpy", "2.0.1")))

    assert "+numpy 2.0.1 " in repository.git("diff")
    repository.git("checkout", "--", ".")
    _branches(repository, path, moved("numpy", "2.0.1"), moved("python", "3.10.15"))
    assert "no solver has seen them together" in repository.ask("merge", "other").stderr
    assert not ran.exists()


@pytest.mark.parametrize("folder", ["-h", "--output=x", "--remove", "a b'c$(d)"])
def test_names_in_a_repository_are_no_options(repository: Repository, folder: str) -> None:
    path = _committed(repository, folder)
    path.write_text(conda_lock_yml.write(moved("numpy", "2.0.1")))
    assert "+numpy 2.0.1 " in repository.git("diff")

    repository.git("checkout", "--", ".")
    _branches(repository, path, moved("numpy", "2.0.1"), moved("python", "3.10.15"))
    assert "no solver has seen them together" in repository.ask("merge", "other").stderr


def test_branches_that_moved_different_packages(repository: Repository) -> None:
    """The result is a lock, says of itself that it was never solved, and stops the merge."""
    path = _committed(repository)
    _branches(repository, path, moved("numpy", "2.0.1"), moved("python", "3.10.15"))
    done = repository.ask("merge", "other")

    found = conda_lock_yml.read(path.read_text(), "x")
    assert done.returncode == 1
    assert {item.name: item.version for item in found.packages} == {
        "numpy": "2.0.1",
        "python": "3.10.15",
    }
    assert UNSOLVED in found.metadata
    assert "no solver has seen them together" in done.stderr
    assert "envforge lock x && git add envs/x/conda-lock.yml" in done.stderr


def test_branches_that_moved_one_package_elsewhere(repository: Repository) -> None:
    path = _committed(repository)
    _branches(repository, path, moved("numpy", "2.0.1"), moved("numpy", "2.1.0"))
    done = repository.ask("merge", "other")
    assert done.returncode == 1
    assert "both sides moved numpy (linux-64); ours was kept" in done.stderr
    assert conda_lock_yml.read(path.read_text(), "x").packages[0].version == "2.0.1"


def test_branches_that_made_the_same_change_merge(repository: Repository) -> None:
    path = _committed(repository)
    same = moved("numpy", "2.0.1")
    _branches(repository, path, same, replace(same, metadata={"note": "theirs"}))
    repository.git("merge", "--quiet", "--no-edit", "other")
    found = conda_lock_yml.read(path.read_text(), "x")
    assert found.metadata == {"note": "theirs"}
    assert repository.git("status", "--short") == ""


def test_locks_of_others_merge_as_text(repository: Repository) -> None:
    path = _committed(repository)
    foreign = [
        conda_lock_yml.write(item).removeprefix(conda_lock_yml.HEADER)
        for item in (moved("numpy", "2.0.1"), moved("numpy", "2.1.0"))
    ]
    _branches_of_text(repository, path, *foreign)
    done = repository.ask("merge", "other")
    assert done.returncode == 1
    assert "<<<<<<< ours" in path.read_text()
    assert "merged as text, with conflict marks" in done.stderr


def test_a_lock_that_both_branches_added(repository: Repository) -> None:
    forge_of(repository).git_install()
    repository.commit()
    path = repository.folder / "envs/x/conda-lock.yml"
    path.parent.mkdir(parents=True)
    _branches(repository, path, moved("numpy", "2.0.1"), moved("numpy", "2.1.0"))
    done = repository.ask("merge", "other")
    assert done.returncode == 1
    assert "git checkout --theirs" in done.stderr
    assert path.read_text() == conda_lock_yml.write(moved("numpy", "2.0.1"))


def _committed(repository: Repository, folder: str = "envs/x") -> Path:
    forge_of(repository).git_install()
    path = repository.folder / folder / "conda-lock.yml"
    path.parent.mkdir(parents=True)
    path.write_text(conda_lock_yml.write(LOCK))
    repository.commit()
    return path


def _branches(repository: Repository, path: Path, ours: Lock, theirs: Lock) -> None:
    _branches_of_text(repository, path, conda_lock_yml.write(ours), conda_lock_yml.write(theirs))


def _branches_of_text(repository: Repository, path: Path, ours: str, theirs: str) -> None:
    repository.git("checkout", "--quiet", "-b", "other")
    path.write_text(theirs)
    repository.commit("theirs")
    repository.git("checkout", "--quiet", "main")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ours)
    repository.commit("ours")


# --- the command ----------------------------------------------------------------------------


def test_the_command_sets_up_and_says_what_is_to_be_committed(repository: Repository) -> None:
    first, again = run_envforge("git", "install"), run_envforge("git", "install")
    assert first.status == again.status == 0
    assert "set up" in first.out
    assert ".gitattributes: commit it" in first.out
    assert again.out.startswith("nothing to do in ")
    document = run_envforge("git", "install", "--remove", "--json").json
    assert document["schema"] == "envforge.git-install/1"
    assert len(document["settings"]) == 4


def test_textconv_prints_what_is_no_lock_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.yml"
    path.write_text("a: 1\n")
    assert run_envforge("git", "textconv", str(path)).out == "a: 1\n"
    path.write_text(conda_lock_yml.write(LOCK))
    assert "\nnumpy 1.26.4 h0_0 conda-forge " in run_envforge("git", "textconv", str(path)).out


def test_the_merge_driver_as_git_calls_it(tmp_path: Path) -> None:
    """Base, ours, theirs; the answer is written into ours, and the status says what is left."""

    def merge(ours: Lock, theirs: Lock, *, foreign: bool = False) -> tuple[int, str, Path]:
        paths = [tmp_path / name for name in ("base", "ours", "theirs")]
        for path, found in zip(paths, (LOCK, ours, theirs), strict=True):
            text = conda_lock_yml.write(found)
            path.write_text(text.removeprefix(conda_lock_yml.HEADER) if foreign else text)
        done = run_envforge("git", "merge", *map(str, paths), "envs/x/conda-lock.yml")
        return done.status, done.err, paths[1]

    numpy, python = moved("numpy", "2.0.1"), moved("python", "3.10.15")
    status, said, path = merge(numpy, LOCK)
    assert (status, said) == (0, "")
    assert path.read_text() == conda_lock_yml.write(numpy)
    status, said, _ = merge(numpy, python)
    assert status == 1
    assert "envforge lock x && git add envs/x/conda-lock.yml" in said
    status, said, _ = merge(numpy, moved("numpy", "2.1.0"))
    assert "git checkout --theirs envs/x/conda-lock.yml" in said
    status, said, path = merge(numpy, moved("numpy", "2.1.0"), foreign=True)
    assert (status, "merged as text" in said, "<<<<<<<" in path.read_text()) == (1, True, True)


def test_the_models_of_a_revision_are_compared(repository: Repository, env: Path) -> None:
    text = f"""version: 1
models:
  - repo: org/name
    commit: {"9a" * 20}
    files:
      - path: config.json
        size: 5
        sha256: {"ab" * 32}
"""
    (env / "models-lock.yml").write_text(text)
    repository.commit()
    (env / "models-lock.yml").write_text(text.replace("9a", "9b"))
    [change] = forge_of(repository).diff(NAME).models
    assert (change.before, change.after) == ("9a" * 20, "9b" * 20)


# --- the adapter ----------------------------------------------------------------------------


def test_failures_of_git_are_told(repository: Repository, tmp_path: Path) -> None:
    git = Git(RealProcesses(), dict(os.environ), repository.folder)
    with pytest.raises(ToolFailed):
        git.text("HEAD:x")
    with pytest.raises(ToolFailed):
        git.merge_file(*(tmp_path / name for name in "abc"))
    with pytest.raises(InvalidValue, match="begins with"):
        git.kind("--all")
    assert git.kind("HEAD:x") is None
