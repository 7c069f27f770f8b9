"""Channels, indexes of wheels and the hub: whether they answer, and what does not let them."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote
from typing import Final
from urllib.parse import urlsplit

from envforge.around.server.server_facts import Address, ServerFacts
from envforge.model.finding import Finding, NotSeen
from envforge.model.wording import listed

_SLOW: Final = 5000.0
"""Milliseconds for one small answer: an index of many packages takes minutes then."""


def channels(seen: ServerFacts) -> Iterator[Finding]:
    """Channels answer."""
    return _unanswered(seen, "channel")


def indexes(seen: ServerFacts) -> Iterator[Finding]:
    """Wheel indexes answer."""
    return _unanswered(seen, "wheel index")


def hub(seen: ServerFacts) -> Iterator[Finding]:
    """The hub answers."""
    return _unanswered(seen, "hub")


def _unanswered(seen: ServerFacts, kind: str) -> Iterator[Finding]:
    asked = [item for item in seen.addresses if item.kind == kind]
    if not asked or all(item.state == "offline" for item in asked):
        raise NotSeen(next((item.reason for item in asked), "none was asked"))
    for several in _by_cause(asked):
        yield _no_answer(several)
    for item in asked:
        if item.milliseconds is not None and item.milliseconds > _SLOW:
            yield Finding(
                message=f"{_called([item])} took {item.milliseconds / 1000:.1f} s for one"
                " small answer",
                seen=f"{item.milliseconds:.0f} ms",
                expected=f"below {_SLOW:.0f} ms",
                remedy="envforge lock ENV --mirror ROOT, of a mirror that is near",
                severity="warning",
            )


def _by_cause(asked: list[Address]) -> list[list[Address]]:
    """Those that failed, those of one server for one reason together."""
    found: dict[tuple[str, str, str], list[Address]] = {}
    for item in asked:
        if item.state not in {"answers", "offline"}:
            alone = item.state == "missing" or item.cause in {"login", "forbidden"}
            server = item.url if alone else urlsplit(item.url).netloc
            found.setdefault((item.state, server, item.reason), []).append(item)
    return list(found.values())


def _no_answer(several: list[Address]) -> Finding:
    """One finding for what one cause did to these."""
    first = several[0]
    many = len(several) > 1
    words = {
        "silent": "do not answer" if many else "does not answer",
        "fails": "fail" if many else "fails",
        "refuses": "refuse" if many else "refuses",
        "missing": "are not to be had" if many else "is not to be had",
    }
    return Finding(
        message=f"{_called(several)} (`{first.url}`)"
        f" {'cannot be trusted' if first.cause in _CERTIFICATE else words[first.state]}"
        + (f": {first.reason}" if first.reason else ""),
        seen=first.reason or first.state,
        expected="an answer",
        remedy=_try_it(first),
        severity="warning" if all(item.optional for item in several) else "error",
    )


def _called(several: list[Address]) -> str:
    kind = several[0].kind
    if kind == "hub":
        return "the hub of models"
    names = listed([item.name for item in several], 4)
    return f"{kind}{'s' if len(several) > 1 else ''} {names}"


def _try_it(item: Address) -> str:
    if not item.url.startswith(("http://", "https://")):
        return f"ls -d {quote(item.url)}" if item.url else _SETTINGS
    if item.state == "silent":
        return f"curl -sSI {quote(item.url)} || export ENVFORGE_OFFLINE=1"
    remedy = _REMEDIES.get((item.cause, item.kind)) or _REMEDIES.get((item.cause, ""))
    host = quote(urlsplit(item.url).hostname or "")
    return (remedy or "curl -sSI {url}").format(url=quote(item.url), host=host)


_SETTINGS: Final = "pip config list; cat ~/.condarc"
_CERTIFICATE: Final = frozenset({"certificate", "validity"})
_REMEDIES: Final = {
    ("login", ""): "echo machine {host} login USER password PASSWORD >> ~/.netrc"
    " && chmod 600 ~/.netrc",
    ("login", "hub"): "hf auth login",
    (
        "proxy",
        "",
    ): "export HTTP_PROXY=http://USER:PASSWORD@PROXY:PORT; export HTTPS_PROXY=$HTTP_PROXY",
    ("forbidden", ""): "curl -sSi {url} | head -n 40  # who forbids it: the server, a firewall",
    ("busy", ""): "envforge lock ENV --mirror ROOT  # of a mirror that is near; or wait",
    ("busy", "wheel index"): "export PIP_INDEX_URL=MIRROR  # one that is near; or wait",
    ("busy", "hub"): "hf auth login  # who is known may ask more often; or wait",
    ("certificate", ""): "export SSL_CERT_FILE=BUNDLE.pem  # your site's certificates",
    ("validity", ""): "sudo timedatectl set-ntp true && date -u"
    "  # if the clock is right, the server needs a new certificate",
}
"""By cause and kind of server; without a kind: of any other."""
