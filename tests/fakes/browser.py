"""Chromium, headless, as the system has it; pages that watch themselves."""

from __future__ import annotations

import io
import os
import shutil
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESKTOP: Final = (1280, 900)
PHONE: Final = (390, 844)
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FACES: Final = (
    ("Fixed", "400", "DejaVuSans.ttf"),
    ("Fixed", "600 700", "DejaVuSans-Bold.ttf"),
    ("FixedMono", "400", "DejaVuSansMono.ttf"),
)
_NOON: Final = "2026-02-01T12:00:00Z"


@dataclass
class Watched:
    """A page, and everything that it complained of or asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def axe(self) -> list[str]:
        """What the accessibility checker finds, everything unfolded."""
        package = pytest.importorskip("axe_playwright_python")
        source = (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
        self.page.evaluate("for (const it of document.querySelectorAll('details')) it.open = true")
        self.page.evaluate(source)
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{item['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
            for item in found["violations"]
            for node in item["nodes"]
        ]


@contextmanager
def chromium(home: Path) -> Iterator[Browser]:
    """The browser; skips, visibly, where it or playwright is absent."""
    api = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("no Chromium on PATH (Debian: apt-get install chromium)")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=[*sandbox, "--font-render-hinting=none"],
            env={**os.environ, "HOME": str(home)},
        )
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser, path: Path, *, size: tuple[int, int] = DESKTOP, **how: Any
) -> Iterator[Watched]:
    """A file in a window of this size, on 1 February 2026."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, reduced_motion="reduce", **how
    )
    page = context.new_page()
    watched = Watched(page)
    page.on("console", lambda message: watched.complaints.append(message.text))
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    page.on("dialog", lambda dialog: watched.complaints.append(f"dialog {dialog.message}"))
    page.on("request", lambda request: watched.requests.append(request.url))
    page.clock.set_fixed_time(_NOON)
    page.goto(path.as_uri())
    yield watched
    context.close()


def same_fonts(page: Page) -> None:
    """Letters of matplotlib's own DejaVu: with another font lines break elsewhere."""
    folder = Path(pytest.importorskip("matplotlib").get_data_path()) / "fonts" / "ttf"
    faces = "".join(
        f"@font-face {{ font-family: {family}; font-weight: {weight};"
        f" src: url(data:font/ttf;base64,{b64encode((folder / file).read_bytes()).decode()}) }}"
        for family, weight, file in _FACES
    )
    rules = "* { font-family: Fixed !important } code, kbd { font-family: FixedMono !important }"
    page.add_style_tag(content=faces + rules)
    page.evaluate("document.fonts.ready.then(() => dispatchEvent(new Event('resize')))")
    page.wait_for_function("document.fonts.status === 'loaded'")
    page.evaluate("new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")


def thumbnail(png: bytes, width: int = 96) -> Any:
    """Small enough that another version of the browser is no other picture."""
    from PIL import Image

    whole = Image.open(io.BytesIO(png)).convert("RGB")
    return whole.resize((width, round(whole.height * width / whole.width)), Image.Resampling.BOX)


def difference(one: Any, other: Any) -> float:
    """Mean difference of two pictures of one size, in percent of black against white."""
    from PIL import ImageChops, ImageStat

    assert one.size == other.size
    means = ImageStat.Stat(ImageChops.difference(one, other)).mean
    return sum(means) / len(means) / 255 * 100
