"""git, asked for what a revision holds and told how to show and merge locks.

Only plumbing commands and documented options are used: gitrevisions(7), gitattributes(5).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

from envforge.adapters.files import is_folder
from envforge.errors import InvalidValue, ToolFailed
from envforge.ports import Completed, Processes

_TIMEOUT: Final = 60.0
_MOST_CONFLICTS: Final = 127
"""`git merge-file` ends with the number of conflicts, truncated to this; above are errors."""


@dataclass(frozen=True, slots=True)
class Git:
    """The repository that a folder lies in."""

    processes: Processes
    environment: Mapping[str, str]
    folder: Path
    """Relative paths (`HEAD:./x`) start here."""

    def kind(self, name: str) -> Literal["blob", "tree"] | None:
        """What `REV:PATH` is; None: there is no such thing."""
        done = self._ask("cat-file", "-t", _checked(name))
        kind = done.stdout.strip()
        return cast("Literal['blob', 'tree']", kind) if kind in ("blob", "tree") else None

    def commit(self, revision: str) -> str | None:
        """The full name of a commit; None: there is none of that name."""
        done = self._ask("rev-parse", "--verify", "--quiet", f"{_checked(revision)}^{{commit}}")
        return done.stdout.strip() or None if done.status == 0 else None

    def is_shallow(self) -> bool:
        """Whether history is cut off, as in a clone with `--depth`."""
        return self._ask("rev-parse", "--is-shallow-repository").stdout.strip() == "true"

    def names(self, tree: str) -> tuple[str, ...]:
        """The names in a folder of a revision."""
        listed = self._must("ls-tree", "-z", "--full-tree", "--name-only", _checked(tree)).stdout
        return tuple(name for name in listed.split("\0") if name)

    def text(self, blob: str) -> str:
        """A file of a revision, as it was committed."""
        return self._must("cat-file", "blob", _checked(blob)).stdout

    def top(self, *, remedy: str = "`git init` makes one") -> Path:
        """The folder that the repository was cloned into.

        Args:
            remedy: what helps whoever asked where there is none.

        Raises:
            InvalidValue: the folder is none, or in no repository, or in a bare one.
        """
        if not is_folder(self.folder):
            raise InvalidValue(what="folder", value=str(self.folder), reason="is no folder")
        done = self._ask("rev-parse", "--show-toplevel")
        if "safe.directory" in done.stderr:  # the name of the setting is the same in every language
            allow = shlex.join(("git", "config", "--global", "--add", "safe.directory"))
            raise InvalidValue(
                what="folder",
                value=str(self.folder),
                reason="is in a git repository of another user, which git does not read",
                remedy=f"where you trust it: `{allow} {shlex.quote(str(self.folder.resolve()))}`",
            )
        if done.status != 0 or not done.stdout.strip():
            raise InvalidValue(
                what="folder",
                value=str(self.folder),
                reason="is in no git repository",
                remedy=remedy,
            )
        return Path(done.stdout.rstrip("\n"))

    def prefix(self) -> str:
        """Where the folder lies in the repository: `envs/`, or empty at its top."""
        return self._ask("rev-parse", "--show-prefix").stdout.rstrip("\n")

    def merge_file(self, base: Path, ours: Path, theirs: Path) -> bool:
        """Merge texts into `ours`, with marks where both changed; whether there are none."""
        paths = [str(path.absolute()) for path in (ours, base, theirs)]
        done = self._ask("merge-file", "-L", "ours", "-L", "base", "-L", "theirs", *paths)
        if done.status > _MOST_CONFLICTS:
            raise ToolFailed(command=("git", "merge-file"), status=done.status, output=done.stderr)
        return done.status == 0

    def get(self, key: str, *, scope: str) -> str | None:
        """A setting; None: it is not set. `scope` is `--local` or `--global`."""
        done = self._ask("config", scope, "--get", key)
        return done.stdout.rstrip("\n") if done.status == 0 else None

    def set(self, key: str, value: str, *, scope: str) -> None:
        """Write a setting."""
        self._must("config", scope, "--replace-all", key, value)

    def unset_section(self, section: str, *, scope: str) -> None:
        """Remove a section; one that is not there is no error."""
        self._ask("config", scope, "--remove-section", section)

    def _ask(self, *arguments: str) -> Completed:
        return self.processes.run(
            ("git", *arguments),
            env=self.environment,
            timeout=_TIMEOUT,
            cwd=self.folder,
            check=False,
        )

    def _must(self, *arguments: str) -> Completed:
        done = self._ask(*arguments)
        if done.status != 0:
            raise ToolFailed(command=("git", *arguments), status=done.status, output=done.stderr)
        return done


def _checked(name: str) -> str:
    """Keep a revision from being read as an option."""
    if name.startswith("-"):
        raise InvalidValue(what="revision", value=name, reason="begins with `-`")
    return name
