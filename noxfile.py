"""Developer tasks. `nox -s demo` runs the main job; `nox -s tests` runs the tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "layers", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.needs_version = ">=2024.10.9"

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")


def _group(name: str) -> list[str]:
    return nox.project.dependency_groups(PYPROJECT, name)


@nox.session
def demo(session: nox.Session) -> None:
    """The main job from nothing but a package index: create, run, verify, list."""
    session.install(".")
    folder = Path(session.create_tmp())
    shutil.rmtree(folder / "envs", ignore_errors=True)
    where = ["--envs", str(folder / "envs")]
    prefix = folder / "prefix"
    shutil.rmtree(prefix, ignore_errors=True)
    request = "demo --torch 2.13.0 --cuda cpu --source wheels --python host --with transformers"
    session.run("envforge", "create", *request.split(), *where, "--prefix", str(prefix))
    name = "demo-torch213-cpu"
    program = "import torch, transformers; print(torch.__version__, transformers.__version__)"
    session.run("envforge", "run", *where, name, "--", "python", "-c", program)
    session.run("envforge", "verify", name, *where)
    session.run("envforge", "list", *where)
    for path in sorted((folder / "envs" / name).iterdir()):
        session.log("%s  %d bytes", path, path.stat().st_size)


@nox.session
def tests(session: nox.Session) -> None:
    """Everything that needs neither the internet nor a GPU, with coverage."""
    session.install("-e", ".", *_group("tests"))
    args = session.posargs or ["-n", "2", "-m", "not gpu and not network", "--cov"]
    session.run("pytest", *args)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    session.install(*_group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict."""
    session.install("-e", ".", *_group("types"))
    session.run("mypy")


@nox.session
def layers(session: nox.Session) -> None:
    """Import-linter: each layer knows only those below it."""
    session.install("-e", ".", *_group("layers"))
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """The list of checks in `envforge/verify/README.md`, from the table and the catalogue tests."""
    session.install("-e", ".")
    session.run("python", str(ROOT / "tests" / "catalogue" / "page.py"))


@nox.session
def bench(session: nox.Session) -> None:
    """Ratios against a floor or a peer, measured in one run: `nox -s bench -- lock create`."""
    session.install(".", *_group("tests"))
    for name in session.posargs or ["startup", "lock", "create", "verify", "verify_import"]:
        session.run("python", str(ROOT / "tests" / "bench" / f"{name}.py"))


@nox.session
def minimums(session: nox.Session) -> None:
    """The tests with the oldest dependencies that pyproject.toml allows."""
    session.install("uv")
    compiled = Path(session.create_tmp()) / "minimums.txt"
    session.run(
        "uv",
        "pip",
        "compile",
        "--quiet",
        "--resolution",
        "lowest-direct",
        "pyproject.toml",
        "-o",
        str(compiled),
    )
    session.install("-r", str(compiled))
    session.install("--no-deps", "-e", ".")
    session.install(*_group("tests"), "-c", str(compiled))
    session.run("pytest", "-n", "2", "-m", "not gpu and not network")


@nox.session
def build(session: nox.Session) -> None:
    """The wheel and the source distribution, into dist/."""
    session.install("build")
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    session.run("python", "-m", "build")
