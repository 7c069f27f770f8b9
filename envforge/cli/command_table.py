"""Groups whose commands stand in a table, and are imported when they are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import click


class TableGroup(click.Group):
    """Finds commands by the table."""

    table: ClassVar[Mapping[str, tuple[str, str]]]
    """Command name to its section and short help."""
    package: ClassVar[str]
    """Where the modules are; each holds a `command`."""
    modules: ClassVar[Mapping[str, str]] = {}
    """Where a module cannot bear the command's name."""
    meant: ClassVar[Mapping[str, str]] = {}
    """What other tools call a command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in self.table:
            return None
        from importlib import import_module

        module = import_module(f"{self.package}.{self.modules.get(cmd_name, cmd_name)}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click, with the nearest names where there is none."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            called = self.meant.get(args[0])
            nearest = [called] if called else get_close_matches(args[0], self.table, 2, cutoff=0.5)
            if not nearest:
                raise
            meant = " or ".join(repr(name) for name in nearest)
            raise click.UsageError(f"{error.message} Did you mean {meant}?", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections from the table."""
        for section in dict.fromkeys(section for section, _ in self.table.values()):
            rows = [(name, text) for name, (where, text) in self.table.items() if where == section]
            with formatter.section(section):
                formatter.write_dl(rows)
