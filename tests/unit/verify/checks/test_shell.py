"""What the shell's variables do to an environment, judged over facts built by hand."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.facts import (
    PREFIX,
    host,
    installed,
    locked,
    prefix,
    probe,
    subject,
    torch_files,
    torch_run,
)

from envforge.model.finding import Finding
from envforge.model.machine import Machine
from envforge.verify.check import CannotLook, Check, NotApplicable
from envforge.verify.checks import shell as checks
from envforge.verify.facts import Ending, ShellFacts, Subject
from envforge.verify.facts.shell import ForeignValue, Program

V3 = frozenset(
    [
        "cx16",
        "lahf_lm",
        "popcnt",
        "sse4_1",
        "sse4_2",
        "ssse3",
        "avx",
        "avx2",
        "bmi1",
        "bmi2",
        "f16c",
        "fma",
        "abm",
        "movbe",
        "xsave",
    ]
)


def around(variables: dict[str, str] | None = None, **facts: Any) -> Subject:
    """A healthy subject, with these facts of the shell."""
    shell = ShellFacts(**{"uid": 1000, "user": "ada", "cpu_flags": V3, **facts})
    return subject(host=host(shell=shell, variables=variables or {}))


def found(check: Check, given: Subject) -> list[Finding]:
    return list(check(given))


def python(path: str, **more: Any) -> Program:
    return Program(**{"name": "python", "path": path, "real": path, **more})


HERE = (("CONDA_PREFIX", PREFIX),)


def test_python_of_an_activated_environment() -> None:
    own = {"activated": HERE, "own_programs": ("python",)}
    other = around(programs=(python("/usr/bin/python"),), **own)
    [finding] = found(checks.wrong_python_on_path, other)
    assert finding.severity == "error"
    assert finding.remedy == "envforge run nlp-bert-torch20-cu118 -- python"
    [finding] = found(checks.wrong_python_on_path, around(**own))
    assert "starts nothing" in finding.message


@pytest.mark.parametrize(
    "program",
    [
        python(f"{PREFIX}/bin/python"),
        python("/shims/python", real=f"{PREFIX}/bin/python3.10"),
        python("/shims/python", interpreter=f"{PREFIX}/bin/python3.10"),
    ],
)
def test_python_that_is_the_environments(program: Program) -> None:
    given = around(activated=HERE, own_programs=("python",), programs=(program,))
    assert not found(checks.wrong_python_on_path, given)


def test_python_of_a_second_environment() -> None:
    given = around(
        activated=(*HERE, ("VIRTUAL_ENV", "/venv")),
        own_programs=("python",),
        programs=(python("/venv/bin/python"),),
    )
    [finding] = found(checks.wrong_python_on_path, given)
    assert finding.severity == "warning"


def test_an_environment_that_is_not_activated() -> None:
    given = around(own_programs=("python",), programs=(python("/usr/bin/python"),))
    with pytest.raises(NotApplicable):
        found(checks.wrong_python_on_path, given)


def test_a_machine_that_is_described() -> None:
    given = subject(host=host(machine=Machine(origin="described")))
    with pytest.raises(NotApplicable, match="described"):
        found(checks.wrong_python_on_path, given)
    with pytest.raises(CannotLook):
        found(checks.activate_var_leak, subject(host=host()))


def leak(**changes: Any) -> ForeignValue:
    fields = {"variable": "CFLAGS", "path": "/o/include", "prefix": "/o", "exists": True}
    return ForeignValue(**{**fields, "active": False, **changes})


def test_leaks() -> None:
    [finding] = found(checks.activate_var_leak, around(foreign=(leak(), leak(variable="CC"))))
    assert finding.remedy == "unset CFLAGS CC"
    [finding] = found(checks.activate_var_leak, around(foreign=(leak(exists=False),)))
    assert "removed" in finding.message
    assert not found(checks.activate_var_leak, around(foreign=(leak(active=True),)))


def on_path(folder: str, *names: str) -> Subject:
    return subject(host=host(pythonpath={folder: frozenset(names)}))


@pytest.mark.parametrize(
    ("folder", "names", "severities"),
    [
        ("/opt/ros", ["numpy"], ["error"]),
        ("/opt/ros/lib/python2.7/dist-packages", ["rospkg"], ["warning"]),
        ("/opt/lib/python3.10/site-packages", ["rospkg"], []),
        ("/opt/lib/python3/dist-packages", ["rospkg"], []),
        ("/opt/lib/python3.9/site-packages", [], []),
        ("/home/ada/project", ["dataclasses"], ["warning"]),
        ("/home/ada/project", ["sitecustomize", "train", "test"], []),
        (f"{PREFIX}/lib/python3.10/site-packages", ["numpy"], []),
    ],
)
def test_pythonpath(folder: str, names: list[str], severities: list[str]) -> None:
    told = found(checks.pythonpath_shadow, on_path(folder, *names))
    assert [item.severity for item in told] == severities


def test_pythonpath_where_python_is_no_conda_package() -> None:
    """Then torch's folder tells which Python it is."""
    given = subject(
        prefix=prefix(conda=(), torch=torch_files(package="lib/python3.12/site-packages/torch")),
        host=host(pythonpath={"/x/python3.9/site": frozenset({"a"})}),
    )
    [finding] = found(checks.pythonpath_shadow, given)
    assert "3.12" in finding.message
    unknown = subject(
        prefix=prefix(conda=(), torch=None),
        host=host(pythonpath={"/x/python3.9/site": frozenset({"a"})}),
    )
    assert not found(checks.pythonpath_shadow, unknown)


def test_allocator_of_a_torch_that_is_too_new_to_know() -> None:
    given = around({"PYTORCH_CUDA_ALLOC_CONF": "brand_new:1"})
    newer = subject(host=given.host, prefix=prefix(torch=torch_files(version="2.99.0")))
    with pytest.raises(CannotLook, match="brand_new"):
        found(checks.alloc_conf_invalid, newer)


def test_allocator_of_a_torch_that_is_too_old_to_read() -> None:
    given = around({"PYTORCH_CUDA_ALLOC_CONF": "x:1"})
    older = subject(host=given.host, prefix=prefix(torch=torch_files(version="1.8.1")))
    with pytest.raises(NotApplicable):
        found(checks.alloc_conf_invalid, older)


def test_allocator_options_under_both_names() -> None:
    """The old name counts for an old torch; that the new one is not read does no harm."""
    right = {"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:64", "PYTORCH_ALLOC_CONF": "x:1"}
    assert not found(checks.alloc_conf_invalid, around(right))
    new = subject(host=around(right).host, prefix=prefix(torch=torch_files(version="2.12.0")))
    [finding] = found(checks.alloc_conf_invalid, new)
    assert finding.message.startswith("torch 2.12 stops at PYTORCH_ALLOC_CONF")


def test_an_option_is_taken_out_and_the_others_stay() -> None:
    text = "expandable_segments:True,max_split_size_mb:64"
    [finding] = found(checks.alloc_conf_invalid, around({"PYTORCH_CUDA_ALLOC_CONF": text}))
    assert finding.remedy == "export PYTORCH_CUDA_ALLOC_CONF=max_split_size_mb:64"


@pytest.mark.parametrize(("version", "error"), [(None, NotApplicable), ("nightly", CannotLook)])
def test_a_torch_without_a_version(version: str | None, error: type[Exception]) -> None:
    files = torch_files(version=version) if version else None
    with pytest.raises(error):
        checks.torch_release(subject(target=None, prefix=prefix(torch=files)))


def test_mkl() -> None:
    packages = prefix(conda=(installed(locked("mkl-service", "2.4.0")),))
    for variables, count in (
        ({"MKL_THREADING_LAYER": "INTEL"}, 1),
        ({"MKL_THREADING_LAYER": "INTEL", "MKL_SERVICE_FORCE_INTEL": "1"}, 0),
        ({"MKL_THREADING_LAYER": "GNU"}, 0),
        ({}, 0),
    ):
        given = subject(host=host(variables=variables), prefix=packages)
        assert len(found(checks.mkl_threading_layer, given)) == count


def test_pythonhome_of_two_folders() -> None:
    for value, count in ((f"{PREFIX}:{PREFIX}", 0), (f"{PREFIX}:/usr", 1)):
        given = subject(host=host(variables={"PYTHONHOME": value}))
        assert len(found(checks.pythonhome_set, given)) == count


# --- the processor --------------------------------------------------------------------------


def processor(flags: frozenset[str] = V3, **changes: Any) -> Subject:
    facts = {"host": host(shell=ShellFacts(cpu_flags=flags)), "probe": None, **changes}
    return subject(**facts)


@pytest.mark.parametrize(
    ("package", "level"),
    [
        (locked("arrow", "1", depends=("_x86_64-microarch-level >=4",)), 4),
        (locked("arrow", "1", depends=("__archspec 1 zen4",)), 4),
        (locked("arrow", "1", depends=("__archspec =1=x86_64_v4",)), 4),
        (locked("arrow", "1", "h0_x86_64_v4_0"), 4),
        (locked("x86_64-microarch-level", "4", "2_x86_64_v4"), 4),
        (locked("arrow", "1", depends=("__archspec 1 haswell",)), None),
        (locked("x86_64-microarch-level", "3", "2_x86_64_v3"), None),
    ],
)
def test_what_locked_packages_ask_for(package: Any, level: int | None) -> None:
    given = processor(locked=(package,), prefix=None)
    told = found(checks.illegal_instruction, given)
    assert [f"v{level}" in item.message for item in told] == ([True] if level else [])


def test_a_locked_package_that_is_not_installed_asks_for_nothing() -> None:
    package = locked("arrow", "1", depends=("_x86_64-microarch-level >=4",))
    assert not found(checks.illegal_instruction, processor(locked=(package,)))


def test_sigill_is_named_where_it_happened() -> None:
    ended = Ending(ended="signal 4", stage="import torch")
    given = processor(probe=probe(torch=torch_run(version=None, ending=ended), devices=()))
    [finding] = found(checks.illegal_instruction, given)
    assert "at `import torch`" in finding.message
    assert finding.severity == "error"
    silent = processor(frozenset(), probe=probe(failure="it was ended by signal 4", torch=None))
    assert len(found(checks.illegal_instruction, silent)) == 1


def test_an_import_that_succeeded_proves_the_processor() -> None:
    few = V3 - {"avx2"}
    assert not found(checks.illegal_instruction, processor(few, probe=probe()))
    [finding] = found(checks.illegal_instruction, processor(few))
    assert finding.severity == "warning"


def test_processors_that_tell_nothing() -> None:
    with pytest.raises(CannotLook):
        found(checks.illegal_instruction, processor(frozenset()))
    with pytest.raises(NotApplicable):
        found(checks.illegal_instruction, processor(platform="linux-aarch64"))
