"""The page of `report` as text; `tests/integration/test_report_page.py` opens it in a browser."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fakes import overviews
from hypothesis import example, given, settings
from hypothesis import strategies as st

from envforge.adapters import web_page
from envforge.errors import FileNotUsable, InvalidValue
from envforge.formats.text.printable import clean
from envforge.formats.text.secret_shapes import SECRET, SHAPED, hide

FULL = web_page.render(overviews.full())


class Parsed(HTMLParser):
    """Every tag with the names of its attributes, and all texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.values: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.values += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def without_code(tags: list[tuple[str, tuple[str, ...]]]) -> list[tuple[str, tuple[str, ...]]]:
    """Backquotes in a message become code, and nothing else."""
    return [tag for tag in tags if tag != ("code", ())]


PLAIN = without_code(Parsed(web_page.render(overviews.with_text("plain"))).tags)


def test_the_same_overview_gives_the_same_bytes() -> None:
    assert web_page.render(overviews.full()) == FULL


def test_it_asks_for_nothing_from_elsewhere() -> None:
    assert "http" not in FULL.replace("http-equiv", "")
    assert "//" not in re.sub(r"^ *//.*$|/\* .* \*/", "", FULL, flags=re.MULTILINE).replace(
        "// ", ""
    )
    addresses = re.findall(r"(?:src|href|action|url)\s*[=(]\s*['\"]?([^'\" )]+)", FULL)
    assert {item for item in addresses if not item.startswith("#")} == {"data:,"}


def test_the_policy_allows_our_two_parts_and_nothing_else() -> None:
    policy = re.findall(r'Content-Security-Policy" content="([^"]+)"', FULL)[0]
    policy = policy.replace("&#39;", "'")
    for tag, kind in (("style", "style-src"), ("script", "script-src")):
        [part] = re.findall(rf"<{tag}>(.*?)</{tag}>", FULL, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert ' style="' not in FULL
    assert not re.search(r"\son[a-z]+=", FULL.partition("<script>")[0])


def test_identifiers_are_unique_and_links_lead_somewhere() -> None:
    ids = re.findall(r'\sid="([^"]+)"', FULL)
    assert len(ids) == len(set(ids))
    targets = re.findall(r'(?:href="#|for="|aria-labelledby="|aria-describedby=")([^"]+)"', FULL)
    assert set(targets) <= set(ids)


def test_every_state_of_the_matrix_is_explained() -> None:
    used = set(re.findall(r'<td class="cell ([a-z-]+)', FULL))
    explained = set(re.findall(r'<li><span class="cell ([a-z-]+)', FULL))
    assert used == explained


def test_an_empty_machine_says_what_to_do() -> None:
    page = web_page.render(overviews.empty())
    assert "<code>envforge create PROJECT</code>" in page
    assert "<code>envforge cache init</code>" in page
    assert "is in no git repository" in page


_PIECES = st.sampled_from(
    [
        *("<script>", "</script>", "</style>", "<!--", "]]>", "'", '"', "`", "&", "&lt;", "&#x3c;"),
        *(
            "{{ 7*7 }}",
            "{% raw %}",
            "{#",
            "$(id)",
            "%s",
            ";",
            "\n",
            "\r",
            "\0",
            "\x1b[2J",
            "\u202e",
        ),
        *(
            "\udcff",
            "javascript:alert(1)",
            "onload=",
            "=",
            "/>",
            "<img src=x>",
            " ",
            "é",
            "😀",
            "a",
        ),
    ]
)
_TEXTS = st.lists(_PIECES, max_size=8).map("".join) | st.text(max_size=30)


@given(_TEXTS)
@example("</script><script>alert(1)</script>")
@example("`a` <b> `")
@settings(max_examples=60, deadline=None)
def test_a_name_never_becomes_a_tag(text: str) -> None:
    """Every tag and attribute is there that a plain name leads to, no other, and in this order."""
    page = web_page.render(overviews.with_text(f"x{text}x"))
    page.encode()
    parsed = Parsed(page)

    assert without_code(parsed.tags) == PLAIN
    shown = " ".join(clean(SHAPED.sub(SECRET, hide(f"x{text}x"))).split())
    assert shown in " ".join(" ".join(parsed.texts).split())


def test_control_characters_are_made_visible() -> None:
    page = web_page.render(overviews.with_text("a\x1b[2J\u202eb\x00"))
    assert r"a\x1b[2J\u202eb\x00" in page
    assert "\x1b" not in page


def test_credentials_stay_away() -> None:
    page = web_page.render(
        overviews.with_text("https://anna:geheim@host/t/abc123/ch hf_" + "a" * 30)
    )
    assert "geheim" not in page
    assert "abc123" not in page
    assert "hf_aaaa" not in page


def test_it_is_written_into_a_folder(tmp_path: Path) -> None:
    path = web_page.write(overviews.full(), tmp_path / "a" / "b")
    assert path == tmp_path / "a" / "b" / "index.html"
    assert path.read_text(encoding="utf-8") == FULL
    assert web_page.write(overviews.empty(), path.parent) == path


def test_a_page_of_somebody_else_stays(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(InvalidValue, match="did not write"):
        web_page.write(overviews.empty(), tmp_path)
    assert (tmp_path / "index.html").read_text() == "mine"

    web_page.write(overviews.empty(), tmp_path, force=True)
    assert "mine" not in (tmp_path / "index.html").read_text()


def test_a_place_that_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotUsable):
        web_page.write(overviews.empty(), tmp_path / "file")
    (tmp_path / "index.html").mkdir()
    with pytest.raises(FileNotUsable):
        web_page.write(overviews.empty(), tmp_path)
