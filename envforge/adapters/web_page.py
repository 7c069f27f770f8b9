"""The page of `report`: one HTML file that asks nothing of any server.

Texts are escaped by jinja2, and no script or style but our own two may run in the page: its
Content-Security-Policy names them by their hashes. The same overview gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from envforge.adapters.files import is_there, unusable, write_text
from envforge.adapters.templates_folder import templates_folder
from envforge.around.page.overview import Overview, Tone
from envforge.errors import InvalidValue
from envforge.formats.text.printable import clean
from envforge.formats.text.secret_shapes import SECRET, SHAPED, hide
from envforge.matrix.grid import MEANINGS, GridState
from envforge.model.wording import counted, size

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE: Final = "index.html"
_OURS: Final = '<meta name="generator" content="envforge '
_SIGNS: Final[dict[GridState, str]] = {
    "native": "✓",
    "minor-version": "~",
    "unknown": "?",
    "exists": "●",
    "blocked": "✗",
    "absent": "·",
}
_RANKS: Final[dict[Tone, int]] = {"bad": 0, "warn": 1, "quiet": 2, "good": 3}
_USED: Final = {
    "shared": "shared by several",
    "own": "used by one",
    "reclaimable": "used by nobody",
}
_SIGNED: Final = {"+": "added", "-": "removed", "~": "changed"}


def render(overview: Overview) -> str:
    """The whole page."""
    style, script = _part("page.css"), _part("page.js")
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )
    from markupsafe import Markup

    page: str = (
        _environment()
        .get_template("page.html.j2")
        .render(
            it=overview,
            policy=policy,
            style=Markup(style),  # noqa: S704 - our own file, as it is
            script=Markup(script),  # noqa: S704
        )
    )
    return "\n".join(line for line in page.splitlines() if line.strip()) + "\n"


def write(overview: Overview, folder: Path, *, force: bool = False) -> Path:
    """Write the page into a folder, which is made; the file's path.

    Raises:
        InvalidValue: a page lies there that is not ours, and `force` is not given.
        FileNotUsable: it cannot be written.
    """
    path = folder / PAGE
    if is_there(path) and not force and not _is_ours(path):
        raise InvalidValue(
            what="output",
            value=str(path),
            reason="is a page that envforge did not write",
            remedy="choose another folder with `-o`, or replace it with `--force`",
        )
    page = render(overview)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(folder, error) from error
    write_text(path, page)
    return path


def _is_ours(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return _OURS.encode() in stream.read(2048)
    except OSError as error:
        raise unusable(path, error) from error


def _part(name: str) -> str:
    """A style or a script, without the blank lines that `render` leaves out."""
    text = (templates_folder() / "report" / name).read_text(encoding="utf-8")
    return "\n".join(line for line in text.splitlines() if line.strip())


def _hash(text: str) -> str:
    """As a policy names it (W3C, Content Security Policy Level 3, section 2.3.1)."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(templates_folder() / "report"),
        undefined=StrictUndefined,
        autoescape=True,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        accelerator=lambda name: "CPU" if name == "cpu" else f"CUDA {name}",
        beside=lambda path, name: path.removesuffix(f"/{name}"),
        counted=counted,
        day=lambda at: str(at)[:10],
        meaning=lambda state: MEANINGS[state],
        percent=lambda number: f"{number:.4g}%",
        rank=lambda tone: _RANKS[tone],
        sign=lambda state: _SIGNS[state],
        signed=lambda sign: _SIGNED[sign],
        size=size,
        ticked=_ticked,
        used=lambda part: _USED[part],
    )
    return environment


def _ticked(text: str) -> Any:
    """What stands between backquotes, as code."""
    from markupsafe import Markup, escape

    parts = [escape(part) for part in _shown(text).split("`")]
    if len(parts) % 2 == 0:  # an odd one closes nothing
        return Markup("`").join(parts)
    codes = (
        Markup("<code>{}</code>").format(part) if place % 2 else part
        for place, part in enumerate(parts)
    )
    return Markup().join(codes)


def _shown(value: Any) -> Any:
    """Names and messages are anybody's: nothing invisible, and no credential."""
    return clean(SHAPED.sub(SECRET, hide(value))) if type(value) is str else value
