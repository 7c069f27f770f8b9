"""A git repository with environments, driven by the real git."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Repository:
    """A clone that nobody's settings reach."""

    folder: Path

    def git(self, *arguments: str, check: bool = True) -> str:
        """Run git there; what it printed."""
        done = self.ask(*arguments)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run git there, however it ends."""
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder.parent),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@example.org",
        }
        return subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )

    def commit(self, message: str = "x") -> None:
        """Commit everything."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)


def make_repository(folder: Path) -> Repository:
    """An empty one."""
    folder.mkdir(parents=True, exist_ok=True)
    found = Repository(folder)
    found.git("init", "--quiet", "--initial-branch", "main")
    return found
