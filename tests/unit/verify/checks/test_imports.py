"""Imports after torch, NumPy and TLS."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.facts import no_driver, probe, subject, torch_run

from envforge.model.finding import Outcome
from envforge.verify.facts import Ending, ImportRun, NumpyRun, Subject
from envforge.verify.verify import judge


def outcome(check: str, facts: Subject) -> Outcome:
    [found] = judge(facts, only=[check])
    return found


def imports(*runs: ImportRun, **changes: Any) -> Subject:
    return subject(probe=probe(imports=runs), **changes)


def failed(message: str, name: str = "flash_attn", ended: str = "error") -> ImportRun:
    return ImportRun(name=name, ending=Ending(ended=ended, stage=f"import {name}", message=message))


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("ImportError: x.so: undefined symbol: _ZN3c105ErrorC2Ev", "for another torch"),
        ("RuntimeError: compiled with different CUDA major versions", "another CUDA"),
        ("AttributeError: _ARRAY_API not found", "NumPy 1"),
        ("ImportError: huggingface-hub>=1 is required for a normal functioning", "requirements"),
        ("ImportError: cannot import name 'clear_device_cache' from 'accelerate'", "version of a"),
        ("ImportError: libfoo.so.3: cannot open shared object file", "libfoo.so.3"),
        ("ValueError: never seen\nmore", "ValueError: never seen"),
    ],
)
def test_an_import_that_fails(message: str, says: str) -> None:
    [found] = outcome("extension-import-fails", imports(failed(message))).findings
    assert found.message.startswith("`import flash_attn` fails: ")
    assert says in found.message
    assert "more" not in found.message


@pytest.mark.parametrize(
    ("ended", "says"), [("signal 11", "ends the process (signal 11)"), ("timeout", "does not end")]
)
def test_an_import_that_ends_badly(ended: str, says: str) -> None:
    [found] = outcome("extension-import-fails", imports(failed("", ended=ended))).findings
    assert says in found.message


def test_imports_that_succeed() -> None:
    """Nothing to import is no proof; that torch failed for them neither."""
    assert outcome("extension-import-fails", imports(ImportRun(name="x"))).verdict == "passed"
    assert outcome("extension-import-fails", imports()).verdict == "inapplicable"
    facts = subject(probe=probe(imports_ending=Ending(ended="timeout", stage="import torch")))
    assert outcome("extension-import-fails", facts).verdict == "unproven"


def test_what_wants_a_gpu_where_there_is_none() -> None:
    """It cannot be tried there, and is no failure; another one still is."""
    wants = failed("RuntimeError: 0 active drivers ([]). There should only be one.", "triton")
    here = imports(wants, host=no_driver())
    assert outcome("extension-import-fails", here).verdict == "unproven"
    assert outcome("extension-import-fails", imports(wants)).verdict == "failed"
    both = imports(wants, failed("ImportError: other", "peft"), host=no_driver())
    [found] = outcome("extension-import-fails", both).findings
    assert "peft" in found.message


def test_an_import_that_prints_what_it_lacks() -> None:
    trace = "x\nWARNING[XFORMERS]: xFormers can't load C++/CUDA extensions. built for 2.1.2\n"
    run = ImportRun(name="xformers.ops", ending=Ending(trace=trace))
    [found] = outcome("extension-import-fails", imports(run)).findings
    assert found.severity == "warning"
    assert "built for 2.1.2" in found.seen


@pytest.mark.parametrize(
    ("numpy", "says"),
    [
        (NumpyRun(version="2.1.0", error="RuntimeError: Numpy is not available"), "NumPy 2.1.0"),
        (NumpyRun(error="ImportError: numpy.core.multiarray failed"), "`import numpy` fails"),
        (NumpyRun(version="2.1.0", bridge=False), "cannot exchange arrays"),
    ],
)
def test_numpy(numpy: NumpyRun, says: str) -> None:
    facts = subject(probe=probe(torch=torch_run(numpy=numpy)))
    [found] = outcome("numpy-bridge-fails", facts).findings
    assert says in found.message


def test_numpy_that_works_or_is_not_there() -> None:
    works = torch_run(numpy=NumpyRun(version="2.1.0", bridge=True))
    assert outcome("numpy-bridge-fails", subject(probe=probe(torch=works))).verdict == "passed"
    assert outcome("numpy-bridge-fails", subject()).verdict == "inapplicable"


def test_tls() -> None:
    """A variable that leads elsewhere is the first thing to take away."""
    good = subject(probe=probe(ssl=ImportRun(name="ssl")))
    assert outcome("ssl-import-fails", good).verdict == "passed"
    assert outcome("ssl-import-fails", subject()).verdict == "unproven"
    broken = probe(ssl=failed("ImportError: libcrypto.so.3: OPENSSL_3.3.0 not found", "ssl"))
    [found] = outcome("ssl-import-fails", subject(probe=broken)).findings
    assert "envforge install" in found.remedy
    host = no_driver(variables={"LD_LIBRARY_PATH": "/opt/x"})
    [found] = outcome("ssl-import-fails", subject(probe=broken, host=host)).findings
    assert found.remedy == "unset LD_LIBRARY_PATH"
