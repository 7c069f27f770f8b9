"""A verification as a text to paste into a bug report: versions and findings, nobody's name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from envforge import __version__
from envforge.cli.redaction import Private, redact
from envforge.cli.rendering.report_text import as_text
from envforge.formats.text.printable import one_line
from envforge.model.finding import Report

_WIDTH: Final = 100


def as_paste(reports: Sequence[Report], private: Private, system: Mapping[str, str]) -> str:
    """Markdown: what is needed to understand a problem, without what gives a person away.

    Args:
        reports: of one run.
        private: what is taken out.
        system: label to value, as `adapters.machine.system_facts` gives it.
    """
    rows = {"envforge": __version__, **system}
    bodies = "\n".join(as_text(item, width=_WIDTH, verbose=True) for item in reports)
    head = "".join(f"{label}: {one_line(value)}\n" for label, value in rows.items())
    longest = max((len(run) for run in re.findall("`+", bodies)), default=0)
    fence = "`" * max(3, longest + 1)
    return redact(f"{fence}text\n{head}\n{bodies.rstrip()}\n{fence}\n", private)
