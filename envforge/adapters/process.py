"""Starting programs. The only module that imports subprocess."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from envforge.errors import ToolFailed, ToolMissing
from envforge.ports import Completed

_LOG = logging.getLogger(__name__)


class RealProcesses:
    """`ports.Processes` on this machine."""

    def run(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        timeout: float | None,
        cwd: Path | None = None,
        stdin: str | None = None,
        check: bool = True,
    ) -> Completed:
        """See `ports.Processes.run`."""
        _LOG.debug("run %s", list(command))
        try:
            done = subprocess.run(  # noqa: S603 - a list of arguments, never a shell
                list(command),
                env=dict(env),
                timeout=timeout,
                cwd=cwd,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
        except FileNotFoundError as error:
            if cwd is not None and not cwd.is_dir():
                raise
            raise ToolMissing(
                tool=command[0], needed_for="this step", remedy="install it, or check `PATH`"
            ) from error
        except subprocess.TimeoutExpired as error:
            output = error.stderr or ""
            if isinstance(output, bytes):
                output = output.decode("utf-8", "replace")
            raise ToolFailed(
                command=tuple(command), status=f"no answer within {timeout:g} s", output=output
            ) from error
        if check and done.returncode != 0:
            raise ToolFailed(
                command=tuple(command), status=done.returncode, output=done.stderr or done.stdout
            )
        return Completed(status=done.returncode, stdout=done.stdout, stderr=done.stderr)
