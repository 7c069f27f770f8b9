"""Running checks: choosing them, a check that crashes, what is told besides findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from fakes.facts import (
    LOCKED,
    V100,
    device,
    host,
    no_driver,
    prefix,
    probe,
    subject,
    torch_run,
)

from envforge.adapters import check_plugins
from envforge.errors import InvalidValue
from envforge.model.cuda import CudaVersion
from envforge.model.finding import Finding, Level
from envforge.model.machine import Driver, Machine
from envforge.verify import remedies, verify
from envforge.verify.check import Check, check
from envforge.verify.facts import HostFacts, Kind, Layer, LibraryAnswer, Subject
from envforge.verify.registry import CHECKS, chosen, extended


@check(level="static", needs=(), symptom="s", why="w", source="here")
def crashing(facts: Subject) -> Iterator[Finding]:
    """Nothing crashes."""
    yield Finding(message="first", seen="a", expected="b", remedy="c")
    raise KeyError(facts.name)


@check(level="static", needs=(), symptom="s", why="w", source="here", severity="warning")
def careful(facts: Subject) -> Iterator[Finding]:
    """All is well."""
    yield Finding(message="hm", seen="a", expected="b", remedy="c", why="own", source="own")


def test_a_check_that_crashes_is_never_a_pass() -> None:
    """What it had found is kept, and the report does not pass."""
    report = verify.report(subject(), checks={"crashing": crashing})

    [outcome] = report.outcomes
    assert outcome.verdict == "crashed"
    assert "KeyError" in outcome.detail
    assert [item.message for item in outcome.findings] == ["first"]
    assert not report.passed


def test_a_finding_is_completed_from_the_table() -> None:
    """Id, reason and source are written once; what the check says itself stays."""
    [outcome] = verify.judge(subject(), checks={"careful": careful})

    [finding] = outcome.findings
    assert (finding.check, finding.why, finding.source) == ("careful", "own", "own")
    assert finding.severity == "warning"
    assert outcome.claim == "All is well"
    assert verify.report(subject(), checks={"careful": careful}).passed


def _of(*needs: Layer, level: Level = "static") -> Check:
    return replace(careful, needs=needs, level=level)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("environment", "none lock host prefix probe drift"),
        ("prefix", "none host prefix probe"),
        ("interpreter", "none host prefix probe"),
        ("lock", "none lock host"),
        ("host", "none host"),
    ],
)
def test_only_what_concerns_the_subject_is_told(kind: Kind, told: str) -> None:
    """Nobody who asks about the machine expects to read about packages; unless by name."""
    checks = {
        "none": _of(),
        "lock": _of("lock"),
        "host": _of("host"),
        "prefix": _of("prefix"),
        "probe": _of("probe", level="import"),
        "drift": _of("lock", "prefix"),
    }
    bare = subject(kind=kind, locked=None if kind != "lock" else LOCKED)
    if kind == "environment":
        bare = subject()
    assert [item.check for item in verify.judge(bare, checks=checks)] == told.split()
    asked = verify.report(bare, checks=checks, only=["drift"])
    assert [item.check for item in asked.outcomes] == ["drift"]


def test_a_prefix_may_come_with_a_claim() -> None:
    """A lock that was given, or one that is to be expected and is gone."""
    checks = {"drift": _of("lock", "prefix")}
    assert verify.judge(subject(kind="prefix", locked=LOCKED), checks=checks)
    gone = subject(kind="prefix", locked=None, missing={"lock": "its folder is gone"})
    [outcome] = verify.judge(gone, checks=checks)
    assert (outcome.verdict, outcome.detail) == ("unproven", "its folder is gone")
    assert not verify.judge(replace(gone, kind="host"), checks=checks)


def test_what_was_asked_for_and_could_not_look_is_a_problem() -> None:
    """A check that was named must answer."""
    machine = subject(kind="host", locked=None, prefix=None, probe=None)
    found = verify.report(machine, checks={"drift": _of("lock", "prefix")}, only=["drift"])
    assert not found.passed
    assert [item.detail for item in found.unanswered] == ["there is no lock to compare with"]
    assert found.asked == ("drift",)


def test_an_interpreter_that_had_to_answer_and_did_not() -> None:
    """Never a pass, whichever checks were left out."""
    silent = probe(failure="no answer within 5 s", torch=None, devices=())
    for facts in (
        subject(probe=silent),
        subject(probe=None, missing={"probe": "there is no interpreter in /p"}),
    ):
        found = verify.report(facts, checks={"careful": replace(careful, needs=())})
        [unseen] = found.unseen
        assert not found.passed
        assert "no answer within 5 s" in unseen.reason or "no interpreter" in unseen.reason
        assert "--level static" in unseen.remedy
    assert verify.report(subject(level="static", probe=None)).unseen == ()
    assert verify.report(subject(kind="lock", level="import", probe=None)).unseen == ()


def test_checks_are_chosen_by_id() -> None:
    """`--check` and `--skip`, in the order of the table."""
    assert list(chosen(CHECKS, only=["torch-missing", "prefix-incomplete"])) == [
        "prefix-incomplete",
        "torch-missing",
    ]
    assert "torch-missing" not in chosen(CHECKS, skip=["torch-missing"])


@pytest.mark.parametrize(
    ("name", "hint"),
    [("driver-to-old", "did you mean `driver-too-old`"), ("qqqq", "envforge verify --list")],
)
def test_an_unknown_id_is_an_error_with_the_nearest(name: str, hint: str) -> None:
    """A typing error must not look like a pass."""
    with pytest.raises(InvalidValue) as caught:
        verify.judge(subject(), skip=[name])

    assert caught.value.hint is not None
    assert hint in caught.value.hint


def test_every_check_explains_itself() -> None:
    """A claim in one line, and what `explain` shows."""
    for name, item in CHECKS.items():
        assert name == name.lower()
        assert 10 < len(item.claim) < 100, name
        assert item.symptom, name
        assert item.why, name
        assert item.source, name


def test_other_packages_may_add_checks() -> None:
    """Theirs come last; an id that is taken, or no check at all, is refused."""
    assert list(extended({"theirs": careful}))[-1] == "theirs"
    with pytest.raises(InvalidValue, match="second time"):
        extended({"torch-missing": careful})
    with pytest.raises(InvalidValue, match="is a function"):
        extended({"theirs": careful.test})


class _Entry:
    name, value = "theirs", "package:check"

    def __init__(self, loaded: Check | Exception) -> None:
        self._loaded = loaded

    def load(self) -> Check:
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


def test_checks_are_found_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that cannot be loaded is named."""
    monkeypatch.setattr(
        check_plugins.importlib.metadata, "entry_points", lambda group: [_Entry(careful)]
    )
    assert check_plugins.all_checks()["theirs"] is careful

    broken = _Entry(ImportError("no such module"))
    monkeypatch.setattr(check_plugins.importlib.metadata, "entry_points", lambda group: [broken])
    with pytest.raises(InvalidValue, match=r"package:check.*no such module"):
        check_plugins.all_checks()


def test_the_level_is_the_deepest_that_says_something() -> None:
    """A CPU build can be tried anywhere, a CUDA build where a GPU is."""
    assert verify.possible_level(host(), is_cpu_build=False) == "live"
    assert verify.possible_level(no_driver(), is_cpu_build=False) == "import"
    assert verify.possible_level(no_driver(), is_cpu_build=True) == "live"
    described = HostFacts(machine=Machine(gpus=(V100,), origin="described"))
    assert verify.possible_level(described, is_cpu_build=True) == "import"


def test_only_what_was_seen_is_listed_as_proven() -> None:
    """In display order: packages, torch, machine, devices."""
    rows = verify.report(subject()).proven

    assert list(rows) == [
        "packages",
        "python",
        "torch",
        "CUDA compiled",
        "cuDNN compiled",
        "cuDNN loaded",
        "NCCL",
        "built for GPUs",
        "driver",
        "GPU 0",
        "CPU",
        "GPU 0 copies",
    ]
    assert rows["GPU 0"].startswith("NVIDIA H100 (9.0), 80 GiB: kernel, matmul ")
    assert rows["GPU 0"].endswith(" right")


def test_a_device_that_failed_is_not_proven() -> None:
    """The row tells what was right, not what was tried."""
    failed = probe(devices=(device(kernel_right=None, matmul_right=None),))
    assert "kernel" not in verify.report(subject(probe=failed)).proven["GPU 0"]
    half = probe(devices=(device(matmul_right=False),))
    assert ": kernel, matmul tf32/fp16" in verify.report(subject(probe=half)).proven["GPU 0"]


def test_without_an_import_the_files_speak() -> None:
    """And the table says that it was the files."""
    rows = verify.report(subject(level="static", probe=None)).proven

    assert rows["torch"] == "2.0.1 (by its files)"
    assert rows["cuDNN"].startswith("8.7.0 (by build py3.10")


def test_a_lock_alone_proves_nothing() -> None:
    """No prefix, no machine: no rows."""
    bare = subject(prefix=None, probe=None, host=None)
    report = verify.report(bare)
    assert report.proven == {}
    assert report.prefix == ""
    assert verify.report(replace(bare, prefix=prefix(conda=(), wheels=(), torch=None))).proven


def test_a_described_machine_is_marked() -> None:
    """It was not seen."""
    machine = Machine(driver=Driver(version="535.1"), gpus=(V100,), origin="described")
    rows = verify.report(subject(probe=None, host=HostFacts(machine=machine))).proven
    assert rows["driver"] == "535.1 (described)"
    assert rows["GPU 0"].endswith("(described)")


def test_usable_gpus_are_those_of_a_cuda_that_started() -> None:
    """NVML's list does not count."""
    assert host(cuda=LibraryAnswer(init=999)).usable_gpus == ()
    assert len(host().usable_gpus) == 1


def test_commands_name_the_project_of_the_folder() -> None:
    """Where the name is no project's, a placeholder stands."""
    assert remedies.project(subject()) == "nlp-bert"
    assert remedies.project(subject(folder=None, name="/some/prefix")) == "PROJECT"
    lock = "envs/asr-torch21-cu121/conda-lock.yml"
    assert remedies.project(subject(folder=None, name=lock)) == "asr"
    assert remedies.install(subject(folder=None)).startswith("make the environment anew: envforge")
    line = remedies.create(subject(), "2.0.1+cu118", None)
    assert line == "envforge create nlp-bert --torch 2.0.1 --cuda cpu"
    assert remedies.create(subject(), "2.0.1", CudaVersion(11, 7)).endswith("--cuda 11.7")


def test_where_nothing_published_runs_no_command_is_made_up() -> None:
    """A driver from before CUDA 9."""
    from envforge.matrix.reading import load

    old = Machine(driver=Driver(version="340.29"))
    assert remedies.create_for_machine(subject(), old, load()) is None


def test_the_import_is_the_better_witness_of_the_architectures() -> None:
    """torch's own list counts, the lock's only where there is none."""
    run = torch_run(architectures=("sm_80", "compute_90", "what", "sm_x"))
    rows = verify.report(subject(probe=probe(torch=run))).proven
    assert rows["built for GPUs"] == "8.0 9.0(PTX)"
