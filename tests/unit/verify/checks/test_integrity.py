"""Leftovers, edited files, moved environments, owners and channels: the words and the remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fakes.facts import PREFIX, prefix, subject

from envforge.model.finding import Finding
from envforge.model.prefix import Disk, PrefixState
from envforge.verify.facts import (
    CacheDamage,
    Distribution,
    PackageFacts,
    Script,
    SharedPath,
    Subject,
    UnlikeRecorded,
)
from envforge.verify.verify import judge

INSTALL = "envforge install nlp-bert-torch20-cu118"
REINSTALL = (
    f"uv pip install --python {PREFIX}/bin/python --reinstall --no-deps --no-cache einops==0.8.0"
)


def of(facts: PackageFacts, *, locked: bool = True, **changes: Any) -> Subject:
    """The healthy subject with other facts about its packages."""
    made = subject(prefix=prefix(packages=facts, **changes))
    if locked:
        return made
    return replace(made, locked=None, target=None, folder=None, name="env", kind="prefix")


def found(check: str, facts: Subject) -> tuple[Finding, ...]:
    [outcome] = judge(facts, only=[check])
    return outcome.findings


def unlike(path: str = "lib/a.py", **changes: Any) -> UnlikeRecorded:
    fields = {"package": "numpy 1.26.4", "manager": "conda", "how": "content", "recorded": 5}
    return UnlikeRecorded(path=path, **{**fields, "found": 6, **changes})


# --- interrupted ----------------------------------------------------------------------------


def disk(**changes: Any) -> Disk:
    return Disk(**{"path": PREFIX, "device": 1, "free_bytes": 1 << 40, **changes})


@pytest.mark.parametrize(
    ("room", "says"),
    [
        (None, "as a whole"),
        (disk(), "as a whole"),
        (disk(free_bytes=9 << 20), "9 MiB are left on the disk"),
        (disk(quota_bytes=3 << 20), "3 MiB are left of your quota"),
        (disk(free_inodes=2), "no more files can be made"),
        (disk(quota_files=0), "no more files can be made"),
    ],
)
def test_what_broke_off_tells_how_full_the_disk_is(room: Disk | None, says: str) -> None:
    facts = PackageFacts(leftovers=("lib/a.c~",), disk=room)
    [finding] = found("quota-exceeded-partial-install", of(facts))
    assert finding.message.endswith(says)
    assert finding.remedy == f"rm -r '{PREFIX}/lib/a.c~' && {INSTALL}"


def test_a_history_without_its_records_counts_where_no_lock_tells() -> None:
    facts = PackageFacts(unfinished=("scipy",))
    assert found("quota-exceeded-partial-install", of(facts)) == ()
    [finding] = found("quota-exceeded-partial-install", of(facts, locked=False))
    assert finding.remedy == f"conda install --prefix {PREFIX} scipy"


# --- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "locked", "remedy"),
    [
        (unlike(), True, INSTALL),
        (unlike(found=5), True, f"rm {PREFIX}/lib/a.py && {INSTALL}"),
        (unlike(links=3), True, f"rm -r /pkgs/numpy && {INSTALL}"),
        (
            unlike(links=3, found=5, manager="pip", package="einops 0.8.0"),
            True,
            f"uv cache clean einops && rm {PREFIX}/lib/a.py && {INSTALL}",
        ),
        (unlike(), False, f"conda install --prefix {PREFIX} --force-reinstall numpy=1.26.4"),
        (
            unlike(manager="pip", package="einops 0.8.0"),
            False,
            REINSTALL,
        ),
    ],
)
def test_a_package_is_put_back_by_the_tool_that_brought_it(
    item: UnlikeRecorded, locked: bool, remedy: str
) -> None:
    facts = PackageFacts(unlike=(item,), unpacked={"numpy": "/pkgs/numpy"})
    [finding] = found("edited-file-in-prefix", of(facts, locked=locked))
    assert finding.remedy == remedy
    assert finding.severity == "warning"
    assert ("share" in finding.message) is (item.links > 1)


def test_pip_puts_back_what_pip_brought() -> None:
    facts = PackageFacts(
        unlike=(unlike(manager="pip", package="einops 0.8.0"),),
        distributions=(
            Distribution(name="einops", version="0.8.0", installer="pip"),
            Distribution(name="pip", version="25.1"),
        ),
    )
    [finding] = found("edited-file-in-prefix", of(facts, locked=False))
    assert finding.remedy.startswith(f"{PREFIX}/bin/python -m pip install --force-reinstall")


def test_large_files_that_were_not_read_are_unproven() -> None:
    facts = PackageFacts(unlike=(), unhashed=("lib/libtorch_cuda.so",))
    [outcome] = judge(of(facts), only=["edited-file-in-prefix"])
    assert outcome.verdict == "unproven"
    assert "`--hashes`" in outcome.detail


def test_the_interpreter_that_does_not_start_is_told_once() -> None:
    facts = PackageFacts(unlike=(unlike("bin/python3.10"), unlike("bin/python", how="gone")))
    broken = of(facts, interpreter_problem="`bin/python` is empty")
    assert found("edited-file-in-prefix", broken) == ()
    assert found("files-unlike-recorded", broken) == ()
    [finding] = found("python-missing", broken)
    assert "is empty" in finding.message


@pytest.mark.parametrize("check", ["edited-file-in-prefix", "package-cache-corrupt"])
def test_what_was_not_looked_at_is_unproven(check: str) -> None:
    [outcome] = judge(of(PackageFacts()), only=[check])
    assert outcome.verdict == "unproven"


@pytest.mark.parametrize(
    "check", ["edited-file-in-prefix", "quota-exceeded-partial-install", "files-unlike-recorded"]
)
def test_where_nothing_is_installed_nothing_is_claimed(check: str) -> None:
    [outcome] = judge(of(PackageFacts(), state=PrefixState.ABSENT), only=[check])
    assert outcome.verdict == "inapplicable"


def test_damage_of_the_cache_is_told_with_the_folders_to_remove() -> None:
    damage = CacheDamage(folder="/pkgs/a-1-0", problems=("lib/a: gone", "lib/b: gone"), count=7)
    facts = PackageFacts(cache=(damage,), unlike=())
    [finding] = found("package-cache-corrupt", of(facts))
    assert "lib/a: gone and 6 more" in finding.seen
    assert finding.remedy == f"rm -r /pkgs/a-1-0 && {INSTALL}"
    [finding] = found("package-cache-corrupt", of(facts, locked=False))
    assert finding.remedy == "rm -r /pkgs/a-1-0"


def test_an_edit_that_is_told_is_no_damage_of_the_cache_too() -> None:
    damage = CacheDamage(folder="/pkgs/a-1-0", problems=("site-packages/a.py: 6 of 5 bytes",))
    shared = unlike("lib/python3.10/site-packages/a.py", links=2)
    facts = PackageFacts(cache=(damage,), unlike=(shared,))
    assert found("package-cache-corrupt", of(facts)) == ()


# --- moved ----------------------------------------------------------------------------------


def script(how: Any = "absent", interpreter: str = "/old/bin/python", **more: Any) -> Script:
    return Script(path="bin/pip", interpreter=interpreter, how=how, **more)


@pytest.mark.parametrize(
    ("facts", "locked", "says", "remedy"),
    [
        (
            PackageFacts(scripts=(script(),)),
            True,
            "1 script of this environment needs a Python that is gone",
            f"mv -T {PREFIX} /old, or make it anew: rm -r {PREFIX} && {INSTALL} --prefix {PREFIX}",
        ),
        (
            PackageFacts(scripts=(script("foreign"), script("foreign"))),
            True,
            "2 scripts of this environment start the Python of another one",
            f"rm -r {PREFIX} && {INSTALL} --prefix {PREFIX}",
        ),
        (PackageFacts(scripts=(script(),)), False, "needs", f"mv -T {PREFIX} /old"),
        (
            PackageFacts(scripts=(script("foreign"),)),
            False,
            "starts",
            f"rm -r {PREFIX} && conda create --clone /old --prefix {PREFIX}",
        ),
        (
            PackageFacts(scripts=(script("foreign"),), layout="venv"),
            False,
            "starts",
            f"uv pip freeze --python {PREFIX}/bin/python > requirements.txt",
        ),
        (
            PackageFacts(scripts=(script(interpreter=f"{PREFIX}/bin/python3.9"),), layout="venv"),
            False,
            "is gone",
            "uv pip freeze",
        ),
        (
            PackageFacts(recorded_prefix="/old"),
            False,
            "was made at /old",
            f"mv -T {PREFIX} /old",
        ),
    ],
)
def test_a_moved_environment(facts: PackageFacts, locked: bool, says: str, remedy: str) -> None:
    [finding] = found("moved-env-broken-shebang", of(facts, locked=locked))
    assert says in finding.message
    assert finding.remedy.startswith(remedy)


def test_a_systems_scripts_are_its_own_affair() -> None:
    [outcome] = judge(of(PackageFacts(layout="system")), only=["moved-env-broken-shebang"])
    assert outcome.verdict == "inapplicable"


@pytest.mark.parametrize(("length", "severity"), [(200, "warning"), (300, "error")])
def test_first_lines_that_are_too_long(length: int, severity: str) -> None:
    facts = PackageFacts(scripts=(script("long", length=length),))
    [finding] = found("moved-env-broken-shebang", of(facts))
    assert finding.severity == severity
    [finding] = found("moved-env-broken-shebang", of(facts, locked=False))
    assert "shorter path" in finding.remedy


# --- owners ---------------------------------------------------------------------------------


def nvidia(*names: str, asked: str = "") -> PackageFacts:
    wheels = [Distribution(name=name, version="9.1") for name in names]
    torch = Distribution(name="torch", version="2.7", requires=(f"{asked} (==9.1) ; x",))
    return PackageFacts(distributions=(*wheels, torch))


def test_the_wheel_that_torch_asks_for_is_kept() -> None:
    facts = nvidia("nvidia-cudnn-cu12", "nvidia-cudnn-cu13", asked="nvidia_cudnn.cu13")
    [finding] = found("nvidia-wheels-two-majors", of(facts, locked=False))
    out = f"uv pip uninstall --python {PREFIX}/bin/python nvidia-cudnn-cu12 nvidia-cudnn-cu13"
    assert finding.remedy.startswith(out)
    assert finding.remedy.endswith("nvidia-cudnn-cu13==9.1")
    [finding] = found("nvidia-wheels-two-majors", of(facts))
    assert finding.remedy == f"{out} && {INSTALL}"


@pytest.mark.parametrize(
    "names",
    [
        ("nvidia-cudnn-cu12",),
        ("nvidia-cublas-cu12", "nvidia-cublas"),
        ("nvidia-cuda-runtime-cu11", "nvidia-cuda-runtime-cu12"),
        ("nvidia-nccl-cu12", "nvidia-cudnn-cu13"),
    ],
)
def test_wheels_that_keep_apart(names: tuple[str, ...]) -> None:
    assert found("nvidia-wheels-two-majors", of(nvidia(*names))) == ()


def test_one_library_of_two_packages() -> None:
    shared = SharedPath(path="cv2/cv2.so", owners=("opencv 1", "opencv-headless 1"))
    [finding] = found("library-of-two-packages", of(PackageFacts(shared=(shared, shared))))
    assert "both bring cv2.so, and 1 more file" in finding.message
    same = PackageFacts(shared=(replace(shared, differs=False),))
    assert found("library-of-two-packages", of(same)) == ()


# --- channels -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "subdirs", "mixed"),
    [
        ({"openssl": "conda-forge", "mkl": "pkgs/main"}, {}, True),
        ({"openssl": "conda-forge", "mkl": "defaults"}, {}, True),
        ({"openssl": "conda-forge", "tqdm": "pkgs/main"}, {}, False),
        ({"openssl": "conda-forge", "mkl": "pkgs/main"}, {"mkl": "noarch"}, False),
        ({"openssl": "pytorch", "mkl": "pkgs/main"}, {}, False),
        ({"openssl": "conda-forge", "mkl": "conda-forge"}, {}, False),
        ({"openssl": "main", "mkl": "pkgs/main", "pytorch": "pytorch"}, {}, False),
    ],
)
def test_families_of_channels(
    channels: dict[str, str], subdirs: dict[str, str], mixed: bool
) -> None:
    facts = PackageFacts(channels=channels, subdirs=subdirs)
    for locked in (True, False):
        assert bool(found("channel-mix", of(facts, locked=locked))) is mixed
