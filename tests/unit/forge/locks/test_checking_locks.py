"""`check`: files of real environments, found sound or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.conda_solver import package
from fakes.locks import lock, wheel
from fakes.workplace import NAME, fake_forge, make_environment

from envforge.errors import InvalidValue, NoSuchEnvironment
from envforge.forge import Forge
from envforge.formats.conda import environment_yml
from envforge.formats.conda_lock import conda_lock_yml, content_hash
from envforge.formats.conda_lock.conda_lock_defaults import DEFAULTS
from envforge.model.checked import LockReport
from envforge.model.lock import UNSOLVED, Lock
from envforge.model.settings import CondaSettings

FOREIGN = """\
name: theirs
channels: [conda-forge]
dependencies:
  - numpy
"""


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return fake_forge(tmp_path)


def only(reports: tuple[LockReport, ...]) -> LockReport:
    [report] = reports
    return report


def ids(report: LockReport) -> list[str]:
    return [item.check for item in report.findings]


def change(folder: Path, **changes: Any) -> Lock:
    """Rewrite a lock of ours."""
    path = folder / "conda-lock.yml"
    found = replace(conda_lock_yml.read(path.read_text(), "x"), **changes)
    path.write_text(conda_lock_yml.write(found))
    return found


def foreign(folder: Path, environment: str | None = FOREIGN, **changes: Any) -> Path:
    """A folder as conda-lock leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = replace(
        environment_yml.read(FOREIGN, "x", need_platforms=False).spec, platforms=("linux-64",)
    )
    fields: dict[str, Any] = {"content_hash": content_hash.content_hashes(spec, DEFAULTS)} | changes
    text = conda_lock_yml.write(lock(package("numpy", "2.0"), **fields))
    (folder / "conda-lock.yml").write_text(text.removeprefix(conda_lock_yml.HEADER))
    if environment is not None:
        (folder / "environment.yml").write_text(environment)
    return folder


def test_an_environment_as_it_was_locked(forge: Forge) -> None:
    make_environment(forge)
    report = only(forge.check([NAME]))
    assert report.findings == ()
    assert report.unproven == ()
    assert report.passed
    assert (report.name, report.packages, report.platforms) == (NAME, 3, ("linux-64",))


def test_all_environments(forge: Forge) -> None:
    make_environment(forge)
    make_environment(forge, "q")
    assert [item.name for item in forge.check()] == [NAME, NAME.replace("p-", "q-")]


def test_nothing_to_check_is_no_pass(forge: Forge) -> None:
    with pytest.raises(InvalidValue, match="holds no environment"):
        forge.check()
    with pytest.raises(NoSuchEnvironment):
        forge.check(["nope"])


def test_files_of_one_environment_are_that_environment(forge: Forge) -> None:
    """As a pre-commit hook passes them."""
    folder = make_environment(forge)
    named = [str(folder / name) for name in ("environment.yml", "conda-lock.yml")]
    assert only(forge.check([*named, NAME])).path == folder


def test_an_edited_environment_is_stale(forge: Forge) -> None:
    folder = make_environment(forge)
    path = folder / "environment.yml"
    path.write_text(path.read_text().replace("  - python", "  - scikit-learn\n  - python"))
    report = only(forge.check([NAME]))
    assert report.is_stale
    assert not report.passed
    assert "`scikit-learn` is not in the lock" in [item.message for item in report.findings]


def test_another_machine_is_stale_too(forge: Forge) -> None:
    folder = make_environment(forge)
    path = folder / "virtual-packages.yml"
    path.write_text(path.read_text().replace("__glibc: ", "__glibc: '2.99' # "))
    assert only(forge.check([NAME])).is_stale


def test_no_lock_at_all(forge: Forge) -> None:
    (make_environment(forge) / "conda-lock.yml").unlink()
    report = only(forge.check([NAME]))
    assert report.is_stale
    assert report.checked == ()
    assert report.findings[0].message == "there is no conda-lock.yml"


def test_a_lock_that_was_merged_and_never_solved(forge: Forge) -> None:
    folder = make_environment(forge)
    change(folder, metadata={UNSOLVED: "it was merged"})
    assert only(forge.check([NAME])).is_stale
    forge.lock(NAME)
    assert only(forge.check([NAME])).passed


def test_another_name(forge: Forge) -> None:
    folder = make_environment(forge)
    other = folder.rename(folder.with_name("p-torch27-cpu"))
    report = only(forge.check([str(other)]))
    assert set(ids(report)) == {"name-claim"}
    assert not report.is_stale


def test_a_cpu_build_where_the_name_says_cuda(forge: Forge) -> None:
    folder = make_environment(forge)
    found = conda_lock_yml.read((folder / "conda-lock.yml").read_text(), "x")
    packages = [
        package("pytorch", "2.7.1", "cpu_generic_py310_0") if item.name == "pytorch" else item
        for item in found.packages
    ]
    change(folder, packages=tuple(packages))
    report = only(forge.check([NAME]))
    assert "gpu-build" in ids(report)
    assert not report.passed


def test_what_cannot_be_read_is_a_finding(forge: Forge) -> None:
    folder = make_environment(forge)
    (folder / "environment.yml").write_text("name: [\n")
    report = only(forge.check([NAME]))
    assert ids(report) == ["readable"]
    assert report.findings[0].file == "environment.yml"
    assert dict(report.unproven).keys() == {"lock-stale"}
    (folder / "conda-lock.yml").write_text("version: 1\npackage: {}\n")
    report = only(forge.check([NAME]))
    assert ids(report) == ["readable"]
    assert "(and " in report.findings[0].message


def test_models(forge: Forge) -> None:
    folder = make_environment(forge)
    (folder / "models.yml").write_text("models:\n  - org/name\n")
    report = only(forge.check([NAME]))
    assert ids(report) == ["models-stale"]
    assert report.is_stale
    (folder / "models.yml").write_text("models: 3\n")
    assert ids(only(forge.check([NAME]))) == ["readable"]


# --- locks of others ------------------------------------------------------------------------


def test_a_lock_alone(forge: Forge, tmp_path: Path) -> None:
    path = tmp_path / "some-lock.yml"
    path.write_text(
        conda_lock_yml.write(lock(package("a", "1"))).removeprefix(conda_lock_yml.HEADER)
    )
    report = only(forge.check([str(path)]))
    assert report.passed
    assert report.path == path
    assert dict(report.unproven)["lock-stale"].endswith("not beside it")
    assert "lock-stale" not in report.checked


def test_a_lock_of_conda_lock_that_is_current(forge: Forge, tmp_path: Path) -> None:
    folder = foreign(tmp_path / "theirs")
    assert only(forge.check([str(folder)])).unproven == ()


def test_a_lock_of_conda_lock_that_is_not(forge: Forge, tmp_path: Path) -> None:
    folder = foreign(tmp_path / "theirs", FOREIGN + "  - scipy\n")
    report = only(forge.check([str(folder)]))
    assert report.is_stale
    assert report.findings[0].message == "`scipy` is not in the lock"


@pytest.mark.parametrize(
    ("environment", "changes", "reason"),
    [
        (FOREIGN, {"content_hash": {"linux-64": "0" * 64}}, "another version of conda-lock"),
        (FOREIGN, {"sources": ("pyproject.toml",)}, "is more than environment.yml"),
        (FOREIGN + "  - a:\n", {}, "environment.yml: "),
        (None, {}, "not beside it"),
    ],
)
def test_what_nobody_can_tell_of_it_is_no_pass_and_no_failure(
    forge: Forge, tmp_path: Path, environment: str | None, changes: Any, reason: str
) -> None:
    folder = foreign(tmp_path / "theirs", environment, **changes)
    report = only(forge.check([str(folder)]))
    assert reason in dict(report.unproven)["lock-stale"]
    assert report.passed


# --- mending --------------------------------------------------------------------------------


def test_a_mirror_and_a_password_are_mended(forge: Forge) -> None:
    folder = make_environment(forge)
    path = folder / "conda-lock.yml"
    before = path.read_text()
    path.write_text(
        before.replace("https://conda.anaconda.org/conda-forge", "https://u:pw@m.corp/conda-forge")
    )
    report = only(forge.check([NAME]))
    assert {"mirror-address", "secret"} <= set(ids(report))
    report = only(forge.check([NAME], fix=True))
    assert report.findings == ()
    assert report.fixed == ("conda-lock.yml",)
    assert path.read_text() == before
    assert only(forge.check([NAME], fix=True)).fixed == ()


def test_a_mirror_that_is_set_here(tmp_path: Path) -> None:
    conda = CondaSettings(mirrored_channels={"conda-forge": ("https://art.example/cf-proxy",)})
    forge = fake_forge(tmp_path, conda=conda)
    folder = make_environment(forge)
    path = folder / "conda-lock.yml"
    before = path.read_text()
    path.write_text(
        before.replace("https://conda.anaconda.org/conda-forge", "https://art.example/cf-proxy")
    )
    assert only(forge.check([NAME], fix=True)).passed
    assert path.read_text() == before


def test_layout_and_content_hash_are_mended(forge: Forge) -> None:
    folder = make_environment(forge)
    path = folder / "conda-lock.yml"
    before = path.read_text()
    path.write_text(before.replace("  category: main\n", "", 1))
    assert ids(only(forge.check([NAME]))) == ["layout"]
    change(folder, content_hash={"linux-64": "0" * 64})
    assert ids(only(forge.check([NAME]))) == ["content-hash"]
    assert only(forge.check([NAME], fix=True)).findings == ()
    assert path.read_text() == before


def test_in_a_lock_of_others_only_addresses_change(forge: Forge, tmp_path: Path) -> None:
    path = tmp_path / "theirs.yml"
    item = wheel("x", "1", url=f"https://pypi.corp/packages/aa/bb/{'c' * 60}/x-1-py3-none-any.whl")
    text = conda_lock_yml.write(lock(item)).removeprefix(conda_lock_yml.HEADER)
    path.write_text(f"# mine\n{text}")
    assert only(forge.check([str(path)], fix=True)).passed
    assert path.read_text() == f"# mine\n{text}".replace("pypi.corp", "files.pythonhosted.org")


def test_what_needs_a_decision_is_left(forge: Forge) -> None:
    folder = make_environment(forge)
    path = folder / "environment.yml"
    path.write_text(path.read_text() + "  - scikit-learn\n")
    texts = {item.name: item.read_text() for item in folder.iterdir()}
    assert only(forge.check([NAME], fix=True)).is_stale
    assert {item.name: item.read_text() for item in folder.iterdir()} == texts


def test_wheels_that_were_asked_for_by_address_were_chosen(forge: Forge, tmp_path: Path) -> None:
    url = "https://wheels.lab.example/x-1-py3-none-any.whl"
    environment = FOREIGN + f"  - pip\n  - pip:\n      - x @ {url}\n"
    folder = foreign(tmp_path / "theirs", environment)
    found = lock(package("numpy", "2.0"), package("pip", "25"), wheel("x", "1", url=url))
    text = conda_lock_yml.write(found).removeprefix(conda_lock_yml.HEADER)
    (folder / "conda-lock.yml").write_text(text)
    assert "mirror-address" not in ids(only(forge.check([str(folder)])))
