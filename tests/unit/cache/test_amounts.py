"""Ages and amounts as people type them."""

from __future__ import annotations

import pytest

from envforge.cache.amounts import parse_age, parse_bytes
from envforge.errors import InvalidValue


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30d", 2_592_000),
        ("12h", 43_200),
        ("2w", 1_209_600),
        ("90 min", 5400),
        ("30 days", 2_592_000),
        ("1 Week", 604_800),
        ("2hours", 7200),
        ("1y", 31_536_000),
        ("0", 0),
        ("1.5D", 129_600),
        ("7s", 7),
    ],
)
def test_an_age(text: str, seconds: float) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "d", "-1d", "30 dayz", "1e3d", "1ys", "٣d", "99999999d", "0m", "s"]
)
def test_no_age(text: str) -> None:
    with pytest.raises(InvalidValue, match="--older-than"):
        parse_age(text, "--older-than")


@pytest.mark.parametrize(
    ("text", "reason", "hint"),
    [
        ("30", "is no number with a unit", "`30d` for days, `30h` for hours"),
        ("6m", "may be minutes or months", "`6min`, or `180d`"),
        ("6 months", "is in months, which differ in length", "`180d`"),
        ("soon", "is no number with a unit", "for example `30d`, `2w`, `12h` or `0`"),
    ],
)
def test_what_was_meant(text: str, reason: str, hint: str) -> None:
    with pytest.raises(InvalidValue, match=reason) as caught:
        parse_age(text)
    assert caught.value.hint == hint


def test_gigabytes_are_not_bytes() -> None:
    """`--keep-free 200` would keep 200 bytes free, and look as if all were well."""
    with pytest.raises(InvalidValue, match="`200` has no unit") as caught:
        parse_bytes("200", "--keep-free")
    assert caught.value.hint == "`200G` for gigabytes, `200B` for bytes"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("200G", 200 * 10**9),
        ("1.5 TB", 15 * 10**11),
        ("500mb", 5 * 10**8),
        ("10GiB", 10 * 2**30),
        ("1Ki", 1024),
        ("0", 0),
        ("17B", 17),
        ("1P", 10**15),
    ],
)
def test_an_amount(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "5 GBs", "5iB", "nan", "1e9", "200%"])
def test_no_amount(text: str) -> None:
    with pytest.raises(InvalidValue, match="no number of bytes"):
        parse_bytes(text, "--keep-free")
