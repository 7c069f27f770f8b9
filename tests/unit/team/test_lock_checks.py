"""The checks of a lock."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fakes.conda_solver import package
from fakes.locks import lock, wheel

from envforge.adapters.version_rules import RealVersionRules
from envforge.formats.conda_lock import content_hash
from envforge.model.checked import LockFinding
from envforge.model.cuda import CudaVersion
from envforge.model.lock import Lock, Target
from envforge.model.spec import Dependency, EnvironmentSpec
from envforge.team import lock_checks
from envforge.team.canonical import Known
from envforge.team.lock_checks import CHECKS, LockSubject, run

GOOD = lock(package("a", "1", depends=("b >=1", "__glibc >=2.17")), package("b", "1"))
TARGET = Target(
    torch="2.0.1", cuda=CudaVersion(11, 8), cudnn="8.7.0", python="3.10.4", source="pytorch"
)
SPEC = EnvironmentSpec(
    name="x",
    channels=("conda-forge",),
    dependencies=(Dependency(name="a"),),
    platforms=("linux-64",),
)


def subject(found: Lock = GOOD, **changes: Any) -> LockSubject:
    """A lock with nothing wrong."""
    fields = {"is_ours": True, "known": Known(channels={"conda-forge"})} | changes
    return LockSubject(name="x-torch20-cu118", lock=found, **fields)


def findings(found: LockSubject) -> list[LockFinding]:
    return list(run(found, RealVersionRules()))


def only(found: LockSubject) -> LockFinding:
    [finding] = findings(found)
    return finding


def test_a_good_lock_has_no_findings() -> None:
    assert findings(subject()) == []


def test_every_check_has_a_claim_and_its_own_id() -> None:
    assert all(check.__doc__ for check in CHECKS.values())
    assert len(set(CHECKS.values())) == len(CHECKS)


@pytest.mark.parametrize(
    ("changes", "check", "command"),
    [
        ({"stale": ("numpy moved",)}, "lock-stale", "envforge lock x-torch20-cu118"),
        ({"stale_models": ("m moved",)}, "models-stale", "envforge cache lock x-torch20-cu118"),
        ({"contradictions": ("the name claims cu118",)}, "name-claim", "rename"),
    ],
)
def test_what_others_found_is_told(changes: Any, check: str, command: str) -> None:
    found = only(subject(**changes))
    assert found.check == check
    assert found.remedy.startswith(command)


def test_another_build_than_the_lock_says() -> None:
    claims = {"linux-64": TARGET, "win-64": replace(TARGET, cuda=None)}
    found = only(subject(replace(GOOD, target=TARGET), claims=claims))
    assert found.check == "gpu-build"
    assert found.message == (
        "torch on win-64 is 2.0.1 for CPU, and the lock says 2.0.1 for CUDA 11.8"
    )


def test_cuda_where_there_is_none() -> None:
    found = only(subject(claims={"osx-arm64": TARGET}))
    assert found.message == "osx-arm64 has no CUDA, and torch there is a CUDA build"


def test_something_for_another_accelerator_beside_torch() -> None:
    found = subject(claims={"linux-64": TARGET}, mixed={"linux-64": "torchvision 0.15 cpu_0"})
    assert "beside it is torchvision 0.15 cpu_0" in only(found).message
    assert only(replace(found, is_ours=False)).severity == "warning"


def test_a_pair_that_is_known_to_fail() -> None:
    bad = lock(*GOOD.packages, package("mkl", "2024.1.0"), package("numpy", "1.26.4"))
    found = only(subject(bad, claims={"linux-64": TARGET}))
    assert found.check == "known-bad-pair"
    assert "mkl 2024.1.0 is locked" in found.message
    assert found.remedy == "envforge add x-torch20-cu118 'mkl<2024.1'"


def test_versions_that_only_the_solver_can_compare() -> None:
    bad = lock(*GOOD.packages, package("mkl", "2024.2a"))
    assert only(subject(bad, claims={"linux-64": TARGET})).check == "known-bad-pair"
    good = lock(*GOOD.packages, package("mkl", "2024.0a"))
    assert findings(subject(good, claims={"linux-64": TARGET})) == []


def test_a_platform_without_torch_has_no_pairs() -> None:
    bad = lock(*GOOD.packages, package("mkl", "2024.1.0"))
    assert findings(subject(bad, claims={"linux-64": None})) == []


def test_hashes_that_are_not_there() -> None:
    bare = [replace(package(f"p{number}", "1"), sha256="") for number in range(5)]
    found = only(subject(lock(*bare)))
    assert found.message.startswith("no sha256 of `p0`, `p1`, `p2` and 2 more: ")
    found = only(subject(lock(replace(package("a", "1"), md5="")), is_ours=False))
    assert found.message.startswith("no md5 of `a`: conda-lock refuses")
    assert found.remedy == "lock it again with the tool that wrote it"
    assert findings(subject(lock(wheel("w", "1")))) == []


def test_secrets_are_told_by_their_place() -> None:
    url = "https://u:hunter2@host.example/x/linux-64/a-1-0.conda"
    found = subject(
        lock(replace(package("a", "1"), url=url)),
        header="a\n  url: https://x:hunter2@h/c",
        texts={"environment.yml": "variables: {A: hf_abcdefghijklmnopqrst}"},
        spec=replace(SPEC, variables={"MY_TOKEN": "hunter2"}),
        stale=("so that the content hash is not judged",),
    )
    secrets = [item for item in findings(found) if item.check == "secret"]
    assert [item.file for item in secrets] == ["conda-lock.yml"] * 2 + ["environment.yml"] * 2
    assert [item.fixable for item in secrets] == [True, False, False, False]
    assert "hunter2" not in repr(secrets)
    assert "hf_abc" not in repr(secrets)


def test_paths_of_one_machine() -> None:
    here = replace(package("a", "1"), url="file:///srv/channel/linux-64/a-1-0.conda")
    found = only(subject(lock(here)))
    assert (found.check, found.severity) == ("local-path", "error")
    marked = replace(lock(here), target=replace(TARGET, machine_local=True))
    found = only(subject(marked))
    assert (found.severity, "as the lock itself says" in found.message) == ("warning", True)
    texts = {"environment.yml": "name: x\nprefix: /home/me/conda/envs/x\n"}
    found = only(subject(texts=texts))
    assert found.message == "line 2: `/home/me/conda/envs/x` is a path of one person's machine"


def test_a_folder_that_mirrors_a_channel_is_a_mirror_and_can_be_mended() -> None:
    here = replace(package("a", "1"), url="file:///srv/conda-forge/linux-64/a-1-0.conda")
    known = Known(mirrors={"file:///srv/conda-forge": "https://conda.anaconda.org/conda-forge"})
    found = only(subject(lock(here), known=known))
    assert (found.check, found.fixable) == ("mirror-address", True)


def test_addresses_of_one_site() -> None:
    site = [
        wheel("a", "1", url="https://m.example/a-1-py3-none-any.whl"),
        wheel("b", "1", url="http://devpi/b-1-py3-none-any.whl"),
    ]
    known, private = sorted(findings(subject(lock(*site))), key=lambda item: item.message)
    assert (known.severity, known.fixable) == ("error", False)
    assert "`devpi`, which only its own network reaches: `b`" in known.message
    assert (private.severity, private.message) == ("warning", "from `m.example`: `a`")


def test_what_a_package_needs_and_nobody_locked() -> None:
    found = only(
        subject(lock(package("a", "1", depends=("b", "c >=2", "__cuda")), package("b", "1")))
    )
    assert found.check == "dependency-missing"
    assert found.message == "not in the lock for linux-64: `c` (`a` needs it)".replace("`a`", "a")


def test_wheels_may_serve_conda_packages_and_name_what_markers_leave_out() -> None:
    both = lock(package("a", "1", depends=("w",)), wheel("w", "1", depends=("colorama",)))
    assert findings(subject(both)) == []


def test_the_content_hash_that_conda_lock_would_compute() -> None:
    right = content_hash.content_hashes(SPEC, {})
    good = replace(GOOD, content_hash=right)
    assert findings(subject(good, spec=SPEC)) == []
    found = only(subject(GOOD, spec=SPEC))
    assert (found.check, found.severity, found.fixable) == ("content-hash", "warning", True)
    assert findings(subject(GOOD, spec=SPEC, is_ours=False)) == []


def test_the_layout_of_a_lock_of_ours() -> None:
    found = only(subject(is_laid_out=False))
    assert (found.check, found.fixable, found.severity) == ("layout", True, "warning")


def test_errors_come_first() -> None:
    found = findings(subject(is_laid_out=False, stale=("x",)))
    assert [item.severity for item in found] == ["error", "warning"]


def test_checks_can_be_left_out() -> None:
    assert lock_checks.run(subject(stale=("x",)), RealVersionRules(), skip=["lock-stale"]) == ()
