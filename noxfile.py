"""Developer tasks. `nox -s demo` runs the main job; `nox -s tests` runs the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
    """The main job from nothing but a package index; then a model, shared and proven."""
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
    _demo_of_models(session, folder / "hub", name, where)


def _demo_of_models(session: nox.Session, served: Path, name: str, where: list[str]) -> None:
    """Lock, prefill and prove a tiny model that a hub on this machine serves."""
    repo, fakes = "tiny/bert", ROOT / "tests" / "fakes"
    model = served / "models--tiny--bert"
    session.run("python", str(fakes / "tiny_model.py"), str(model))
    with (
        tempfile.TemporaryDirectory(prefix="envforge-demo-") as folder,
        _hub(session, fakes / "local_hub.py", served) as url,
    ):
        env = {"ENVFORGE_STORE": f"{folder}/store", "HF_ENDPOINT": url}
        load = f"import transformers as t; print(type(t.AutoModel.from_pretrained('{repo}')))"
        for command in (
            ["cache", "init"],
            ["cache", "lock", name, "--model", repo, *where],
            ["cache", "prefill", name, *where],
            ["run", *where, name, "--", "python", "-c", load],
            ["cache", "prove", name, repo, *where],
            ["cache", "verify", "--deep", *where],
            ["cache", "scan", *where],
        ):
            session.run("envforge", *command, env=env)


@contextmanager
def _hub(session: nox.Session, program: Path, served: Path) -> Iterator[str]:
    """Serve a folder of models on loopback; its address."""
    python = Path(session.bin) / ("python.exe" if os.name == "nt" else "python")
    with subprocess.Popen([python, program, served], stdout=subprocess.PIPE, text=True) as hub:  # noqa: S603 - our own
        assert hub.stdout is not None  # noqa: S101 - asked for
        try:
            yield hub.stdout.readline().strip()
        finally:
            hub.terminate()


@nox.session
def tests(session: nox.Session) -> None:
    """Everything that needs neither the internet nor a GPU."""
    session.install("-e", ".", *_group("tests"))
    # Three workers for two cores: many tests wait, for servers, locks and programs to be killed.
    args = session.posargs or ["-n", "3", "-m", "not gpu and not network"]
    session.run("pytest", *args)


@nox.session
def coverage(session: nox.Session) -> None:
    """The same tests, and which branches they take: half as long again."""
    session.install("-e", ".", *_group("tests"))
    session.run("pytest", "-n", "2", "-m", "not gpu and not network", "--cov", *session.posargs)


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
    for name in session.posargs or [
        "startup",
        "lock",
        "locks",
        "create",
        "prefill",
        "verify",
        "verify_import",
        "around",
    ]:
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
