"""A verification as JSON; `envforge/verify/schema/verify-1.schema.json` describes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from envforge.formats.text.printable import printable_document
from envforge.model.finding import Report

SCHEMA: Final = "envforge.verify/1"


def as_document(report: Report) -> dict[str, Any]:
    """One report as plain data."""
    document = {
        "schema": SCHEMA,
        "subject": report.subject,
        "kind": report.kind,
        "prefix": report.prefix,
        "level": report.level,
        "require_gpu": report.require_gpu,
        "passed": report.passed,
        "findings": [asdict(item) for item in report.findings],
        "unseen": [asdict(item) for item in report.unseen],
        "unproven": [{"check": o.check, "reason": o.detail} for o in report.unproven],
        "proven": dict(report.proven),
        "asked": list(report.asked),
        "outcomes": [
            {"check": o.check, "claim": o.claim, "verdict": o.verdict, "detail": o.detail}
            for o in report.outcomes
        ],
    }
    clean: dict[str, Any] = printable_document(document)
    return clean


def as_json(reports: Sequence[Report]) -> str:
    """All reports of one run, and whether all passed."""
    document = {
        "schema": SCHEMA,
        "passed": all(item.passed for item in reports),
        "reports": [as_document(item) for item in reports],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)
