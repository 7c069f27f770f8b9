"""The page of `report` in a real browser: what it shows, and that everybody can use it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from fakes import overviews
from fakes.browser import DESKTOP, PHONE, chromium, difference, opened, same_fonts, thumbnail

from envforge.adapters import web_page
from envforge.around.page.overview import Badge

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_PICTURES: Final = Path(__file__).parents[1] / "data" / "report"
_SIZES: Final = {"desktop": DESKTOP, "phone": PHONE}
_SAME: Final = 0.8
"""Percent: what another version of the browser may draw otherwise."""
_NAMES: Final = "#environments tbody .name"
_PAST: Final = """() => {
  const edge = document.querySelector(".figures").getBoundingClientRect().right + 1;
  const scrolls = matchMedia("screen").matches ? ".wide *" : "nothing";
  return [...document.querySelectorAll("main *")]
    .filter((it) => !it.matches(scrolls) && it.getBoundingClientRect().right > edge)
    .map((it) => `${it.tagName}.${it.className}`);
}"""
HOSTILE: Final = (
    "</script><img src=x onerror=alert(1)>\"'><svg onload=alert(2)>{{ 7*7 }}`$(x)`%s;\n&amp;"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("browser-home")) as found:
        yield found


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return web_page.write(overviews.full(), tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return web_page.write(overviews.empty(), tmp_path_factory.mktemp("empty"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", _SIZES)
@pytest.mark.parametrize("which", ["full", "empty"])
def test_everybody_can_use_it(
    browser: Browser, request: pytest.FixtureRequest, which: str, size: str, scheme: str
) -> None:
    """No rule of axe is broken, nothing is complained of or fetched, nothing scrolls sideways."""
    path = request.getfixturevalue(which)
    with opened(browser, path, size=_SIZES[size], color_scheme=scheme) as it:
        assert it.axe() == []
        assert it.complaints == []
        assert [url for url in it.requests if not url.startswith("data:")] == [path.as_uri()]
        assert it.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(
    ("width", "media"),
    [(1280, "screen"), (1100, "screen"), (1024, "screen"), (800, "screen"), (718, "print")],
)
def test_nothing_reaches_past_its_column(
    browser: Browser, full: Path, width: int, media: str
) -> None:
    """Wide tables keep within windows of every width, and on A4, where nothing scrolls."""
    with opened(browser, full, size=(width, 900), bypass_csp=True) as it:
        same_fonts(it.page)
        it.page.emulate_media(media=media)  # type: ignore[arg-type]
        assert it.page.evaluate(_PAST) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", _SIZES)
def test_it_looks_as_it_did(browser: Browser, full: Path, size: str, scheme: str) -> None:
    """In thumbnails; with ENVFORGE_TEST_GOLDEN=write they are taken anew, to be looked at."""
    from PIL import Image

    golden = _PICTURES / f"{scheme}-{size}.png"
    how = {"color_scheme": scheme, "bypass_csp": True}  # the fonts are brought in from outside
    with opened(browser, full, size=_SIZES[size], **how) as it:
        same_fonts(it.page)
        taken = thumbnail(it.page.screenshot())
    if os.environ.get("ENVFORGE_TEST_GOLDEN") == "write":
        taken.save(golden)
    with Image.open(golden) as expected:
        assert difference(taken, expected.convert("RGB")) < _SAME


def test_another_picture_is_told_apart(browser: Browser, full: Path) -> None:
    """What the comparison above would let pass, were its bound too wide."""
    with opened(browser, full) as it:
        before = thumbnail(it.page.screenshot())
        it.page.evaluate("document.querySelector('#environments').remove()")
        moved = thumbnail(it.page.screenshot())
    with opened(browser, full, color_scheme="dark") as it:
        dark = thumbnail(it.page.screenshot())

    assert difference(before, moved) > 2 * _SAME
    assert difference(before, dark) > 50


def test_a_column_sorts_both_ways_and_says_so(browser: Browser, full: Path) -> None:
    with opened(browser, full) as it:
        table = it.page.locator("#environments table")
        head = table.get_by_role("columnheader", name="packages")
        numbers = table.locator("td[data-label=packages]")

        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        assert numbers.all_text_contents() == ["98", "164", "187", "214", "243"]

        head.get_by_role("button").press("Enter")
        assert head.get_attribute("aria-sort") == "descending"
        assert numbers.all_text_contents() == ["243", "214", "187", "164", "98"]


def test_versions_sort_as_versions_and_trouble_first(browser: Browser, full: Path) -> None:
    with opened(browser, full) as it:
        table = it.page.locator("#environments table")
        table.get_by_role("button", name="for", exact=True).click()
        labels = table.locator("td[data-label=for]").all_text_contents()
        assert labels == ["CPU", "CUDA 11.7", "CUDA 11.8", "CUDA 12.6", "CUDA 12.8"]

        table.get_by_role("button", name="state").click()
        assert it.page.locator(_NAMES).first.text_content() == "diffusion-xl-torch27-cu126"


def test_empty_cells_sort_last(browser: Browser, full: Path) -> None:
    with opened(browser, full) as it:
        table = it.page.locator("#environments table")
        for _ in range(2):
            table.get_by_role("button", name="driver from").click()
            assert table.locator("td[data-label='driver from']").last.text_content() == ""


def test_on_a_phone_a_list_sorts(browser: Browser, full: Path) -> None:
    with opened(browser, full, size=PHONE) as it:
        it.page.locator("#environments select").select_option(label="packages ↓")
        assert it.page.locator(_NAMES).first.text_content() == "llm-serve-torch29-cu128"


def test_search_finds_and_lets_go(browser: Browser, full: Path) -> None:
    """`/` goes there, words narrow it, Escape empties it."""
    with opened(browser, full) as it:
        it.page.keyboard.press("/")
        it.page.keyboard.type("cu126 STALE")
        shown = it.page.locator("#environments tbody tr:visible .name")
        assert shown.all_text_contents() == ["diffusion-xl-torch27-cu126"]
        assert it.page.locator("#found").text_content() == "1 environment"

        it.page.keyboard.press("Escape")
        assert shown.count() == 5
        assert it.page.locator("#found").text_content() == ""

        it.page.keyboard.type("zzz")
        assert shown.count() == 0
        assert it.page.locator("#found").text_content() == "no environments"


def test_search_looks_in_changes_and_findings_too(browser: Browser, full: Path) -> None:
    with opened(browser, full) as it:
        it.page.locator("#search").fill("tokenizers")
        assert it.page.locator("#changes .searched-one:visible").count() == 1
        it.page.locator("#search").fill("libcudnn.so.9")
        assert it.page.locator("#verified .searched-one:visible").count() == 1


def test_keys_walk_through_the_matrix(browser: Browser, full: Path) -> None:
    """One tab stop; arrow keys skip what does not exist, and what is there is told."""
    with opened(browser, full) as it:
        stop = it.page.locator(".heat td[tabindex='0']")
        assert stop.count() == 1
        stop.focus()
        told = it.page.locator("#cell")
        before = told.text_content()
        assert before is not None
        assert before.startswith("torch ")
        assert "Locked to it: " in before
        for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
            it.page.keyboard.press(key)
        assert stop.count() == 1
        assert it.page.evaluate("document.activeElement.matches('.heat td[data-told]')")
        for _ in range(40):
            it.page.keyboard.press("ArrowUp")
        assert it.page.evaluate("document.activeElement.matches('.heat td[data-told]')")


def test_tab_reaches_everything(browser: Browser, full: Path) -> None:
    """The first stop leads past the header; no stop holds a reader."""
    with opened(browser, full) as it:
        it.page.keyboard.press("Tab")
        assert it.page.evaluate("document.activeElement.className") == "skip"
        it.page.keyboard.press("Enter")
        assert it.page.evaluate("document.activeElement.id") == "main"
        seen = set()
        for _ in range(90):
            it.page.keyboard.press("Tab")
            seen.add(it.page.evaluate("document.activeElement.closest('section')?.id"))
        assert {"environments", "matrix", "changes", "disk", "verified", "speed"} <= seen


def test_what_does_not_fit_a_tile_is_shortened(browser: Browser, full: Path) -> None:
    with opened(browser, full, size=PHONE) as it:
        wide = it.page.evaluate(
            """[...document.querySelectorAll('.tile')].flatMap((tile) => {
              const room = tile.querySelector('.ground').getBoundingClientRect().width;
              return [...tile.querySelectorAll('text')]
                .filter((text) => text.style.display === '')
                .filter((text) => text.getComputedTextLength() > room)
                .map((text) => text.textContent);
            })"""
        )
        assert wide == []


def test_areas_of_tiles_are_bytes(browser: Browser, full: Path) -> None:
    with opened(browser, full) as it:
        areas = it.page.evaluate(
            """[...document.querySelectorAll('.tile .ground')].map((it) => {
              const { width, height } = it.getBoundingClientRect();
              return width * height;
            })"""
        )
    sizes = [tile.bytes for tile in overviews.full().disk.tiles]
    share = sum(areas) / sum(sizes)
    assert areas == pytest.approx([item * share for item in sizes], rel=0.02)


def test_ages_are_told_from_today(browser: Browser, full: Path) -> None:
    with opened(browser, full) as it:
        assert it.page.locator("time").first.text_content() == "2 days ago"


def test_a_command_is_copied(browser: Browser, full: Path) -> None:
    with opened(browser, full, permissions=["clipboard-read", "clipboard-write"]) as it:
        button = it.page.get_by_role("button", name="copy envforge install teaching-torch27-cpu")
        button.first.click()
        it.page.wait_for_function("document.querySelector('.copy:focus').textContent === 'copied'")
        copied = it.page.evaluate("navigator.clipboard.readText()")
        assert copied == "envforge install teaching-torch27-cpu"


def test_it_reads_without_scripts(browser: Browser, full: Path) -> None:
    with opened(browser, full, java_script_enabled=False) as it:
        assert it.page.locator(_NAMES).count() == 5
        assert it.page.locator("time").first.text_content() == "2026-01-30"
        assert not it.page.locator(".search").is_visible()


def test_names_stay_text(browser: Browser, tmp_path: Path) -> None:
    """Nothing of a name becomes a tag, a script or a request, and all of it can be read."""
    path = web_page.write(overviews.with_text(HOSTILE), tmp_path)
    with opened(browser, path) as it:
        assert it.complaints == []
        assert [url for url in it.requests if not url.startswith("data:")] == [path.as_uri()]
        assert it.page.locator(_NAMES).text_content() == HOSTILE
        assert it.page.locator("img, iframe, object, a[href^='javascript']").count() == 0
        assert it.axe() == []


def test_a_word_without_end_does_not_push_the_page_sideways(
    browser: Browser, tmp_path: Path
) -> None:
    """What a verification told may be anything; its verdict is a word of ours."""
    [row] = overviews.with_text("x" * 500).verified
    verified = (replace(row, result=Badge(text="1 problem", tone="bad")),)
    path = web_page.write(replace(overviews.empty(), verified=verified), tmp_path)
    with opened(browser, path, size=PHONE) as it:
        it.page.evaluate("for (const it of document.querySelectorAll('details')) it.open = true")
        assert it.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_no_other_script_runs(browser: Browser, full: Path) -> None:
    """Were there a hole in the escaping, the policy of the page stands behind it."""
    with opened(browser, full) as it:
        it.page.evaluate(
            """() => {
              const script = document.createElement('script');
              script.textContent = 'window.ran = true';
              document.body.append(script);
              document.body.insertAdjacentHTML('beforeend', '<i onclick="window.ran = true">x</i>');
              document.querySelector('i').click();
            }"""
        )
        assert it.page.evaluate("window.ran") is None
        assert it.complaints != []
