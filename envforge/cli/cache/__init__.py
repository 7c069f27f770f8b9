"""`envforge cache …`: one module a command, imported when it is called."""

from __future__ import annotations

from typing import Final

import click

from envforge.cli.command_table import TableGroup

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "init": ("Store", "Make a store that one user, or a group, can share safely."),
    "serve": ("Store", "Make views for other users, on a socket."),
    "doctor": ("Store", "Say what about this disk and its settings is in the way."),
    "lock": ("Models", "Pin the models of an environment: models.yml to models-lock.yml."),
    "check": ("Models", "Say whether models.yml and its lock agree; no network."),
    "diff": ("Models", "Show what moved between two locks of models."),
    "prefill": ("Models", "Fetch what is locked into the store, and make the view."),
    "view": ("Models", "Make a cache tree of hardlinks for an environment or a user."),
    "env": ("Models", "Print the variables that make clients use a view."),
    "prove": ("Models", "Load a model offline, and show that it came from the store."),
    "scan": ("Space", "Show who uses what, counted by inode."),
    "dedupe": ("Space", "Link equal files of existing caches to one."),
    "adopt": ("Space", "Move existing caches into the store."),
    "gc": ("Space", "Remove what nothing uses any more."),
    "verify": ("Space", "Compare every file with its lock and its hash; offline."),
    "compile": ("Compiled code", "Show, share, pack and collect what torch.compile keeps."),
}
"""Command name to its section and short help; `cli/cache/<name>.py` holds the command."""
_MEANT: Final = {
    **dict.fromkeys(("prune", "clean", "clear", "purge", "rm", "remove", "delete"), "gc"),
    **dict.fromkeys(("download", "pull", "fetch", "get", "install", "warm"), "prefill"),
    **dict.fromkeys(("list", "ls", "status", "du", "show", "info", "stats"), "scan"),
    **dict.fromkeys(("add", "pin", "freeze"), "lock"),
    **dict.fromkeys(("link", "mount", "create"), "view"),
    **dict.fromkeys(("import", "move"), "adopt"),
}
"""What other tools call it."""


class CacheCommands(TableGroup):
    """Those of the table."""

    table = COMMANDS
    package = "envforge.cli.cache"
    meant = _MEANT


@click.group(cls=CacheCommands, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Model files: pinned like packages, fetched once, shared by hardlinks.

    \b
    envforge cache init
    envforge cache prefill nlp-bert-torch20-cu118
    """  # noqa: D301 - click reads the backspace
