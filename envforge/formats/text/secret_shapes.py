"""What secrets look like in a text: tokens by their own shape, and what a word announces."""

from __future__ import annotations

import re
from typing import Final

SECRET: Final = "<secret>"  # noqa: S105 - what is written in its place
_REVEALING: Final = (
    r"(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIALS?"
    r"|AUTHORIZATION|COOKIE|LICEN[CS]E_?(?:KEY|ID|NUMBER|SERVER)|SIGNATURE)"
)
SECRET_NAME: Final = re.compile(rf"{_REVEALING}S?(?:_|$)", re.IGNORECASE)
"""Names of variables whose value is secret."""
_VALUE: Final = r"(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;&\"']+)"
_NAMED: Final = _REVEALING.replace("_?", "[_ -]?")
_BLIND: Final = (
    r"(?<=/t/)[^/\s'\"`]+",  # conda's tokens: https://host/t/TOKEN/channel
    r"(?s:-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z))",
    r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?",
    r"\b(?:hf|api_org)_[A-Za-z0-9]{16,}",
    r"\b(?:gh[opusr]_|github_pat_)\w{8,}",
    r"\bglpat-[\w-]{8,}",
    r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}",
    r"\bxox[abeoprs]-[\w-]{8,}",
    r"\bsk-(?!learn)[\w-]{12,}",
    r"\bpypi-Ag[\w-]{12,}",
    r"\b(?:nvapi|dckr_pat)-[\w-]{12,}",
    r"\bAIza[\w-]{20,}",
    r"(?i:(?<=bearer )\S+)",
    r"(?i:(?<=basic )[\w+/-]{8,}={1,2})",
)
_ANNOUNCED: Final = (
    # NAME_TOKEN=value, "password": "value", license key: value
    rf"(\b[\w-]*{_NAMED}s?(?:[_-][\w-]*)?[\"']?\s*[=:](?!=)\s*){_VALUE}",
    rf"(--[\w-]*(?:token|password|secret|api-key)[\w-]*\s+){_VALUE}",
    r"([?&](?:sig|key|auth|code|X-[\w-]+)=)[^&\s'\"]+",
)
USER_PART: Final = re.compile(r"(?<=://)[^/\s@'\"]+@")
"""`user:password@` of an address."""
SHAPED: Final = re.compile("|".join(_BLIND))
"""Tokens by their own shape, wherever they stand."""
ANNOUNCED: Final = tuple(re.compile(item, re.IGNORECASE) for item in _ANNOUNCED)
"""What stands behind a word that says what it is; the word is the first group."""
REPLACEMENTS: Final = (
    (USER_PART, f"{SECRET}@"),
    (SHAPED, SECRET),
    *((pattern, rf"\1{SECRET}") for pattern in ANNOUNCED),
)
"""Each pattern, and what a redacted text holds instead."""
_CONDA_TOKEN: Final = re.compile(r"(?<!/packages)(/t/)(?![$<])[^/\s'\"`]+")
"""Mirrors of the Python registry have folders `packages/t/torch`."""
_LITERAL_USER: Final = re.compile(r"(?<=://)(?![$<])[^/\s@'\"`]+@")


def hide(text: str) -> str:
    """A text for people or logs without the users, passwords and tokens of its addresses.

    `$NAME` in the place of one stays: it is no secret, and says what to set.
    """
    if "://" not in text and "/t/" not in text:
        return text
    return _CONDA_TOKEN.sub(rf"\1{SECRET}", _LITERAL_USER.sub(f"{SECRET}@", text))
