"""Takes out of a text what is nobody else's business. Pure; `private_things` gathers what that is.

In doubt it takes out too much: a bug report with a hole can be asked about, a token that was
posted is lost. Versions of four numbers (`libcublas 12.6.4.1`) look like addresses, and stay only
behind a name that has such versions, or `==`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from envforge.formats.text.secret_shapes import REPLACEMENTS, SECRET, SECRET_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Private:
    """What is known of the person and the machine."""

    homes: tuple[str, ...] = ()
    """Home directories; each becomes `~`."""
    users: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    """Values of variables whose name says that they are secret."""


def private_things(environment: Mapping[str, str], *, home: str, user: str, host: str) -> Private:
    """What is known of who runs this, and where.

    Args:
        environment: the process environment.
        home: the home directory.
        user: the account's name.
        host: the machine's name, with or without its domain.
    """
    hosts = {host, *(environment.get(name, "") for name in _HOST_VARIABLES)}
    home_name = home.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    return Private(
        homes=_longest_first({home, environment.get("HOME", "")}),
        users=_longest_first(
            {user, home_name, *(environment.get(name, "") for name in _USER_VARIABLES)}
        ),
        hosts=_longest_first(hosts | {name.partition(".")[0] for name in hosts}),
        secrets=_longest_first(
            value
            for name, value in environment.items()
            if SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET
        ),
    )


_USER_VARIABLES: Final = ("USER", "LOGNAME", "USERNAME", "SUDO_USER", "JUPYTERHUB_USER")
_HOST_VARIABLES: Final = ("HOSTNAME", "HOST", "SLURMD_NODENAME", "SLURM_SUBMIT_HOST")


def _longest_first(values: Iterable[str]) -> tuple[str, ...]:
    """So that no name is taken for a part of a longer one."""
    found = {item.strip() for item in values} - {"", "/"}
    return tuple(sorted(found, key=lambda item: (-len(item), item)))


def redact(text: str, private: Private) -> str:
    """The text without names, addresses, numbers of devices, and secrets."""
    for value in private.secrets:
        text = text.replace(value, SECRET)
    for pattern, replacement in REPLACEMENTS:
        text = pattern.sub(replacement, text)
    text = _EMAIL.sub("<email>", text)
    text = _URL_HOST.sub(_without_strange_host, text)
    for pattern, replacement in _DEVICES:
        text = pattern.sub(replacement, text)
    text = _without_homes(text, private.homes)
    text = _IPV4.sub(_address_or_version, _IPV6.sub(_without_ipv6, text))
    for name in private.hosts:
        text = _without_name(text, name, "<host>")
    for name in private.users:
        text = _without_name(text, name, "<user>")
    return text


_SHORTEST_SECRET: Final = 6

# --- devices --------------------------------------------------------------------------------

_HEX: Final = "[0-9a-fA-F]"
_SERIAL: Final = (
    r"(\b(?:serial|s/n|board id|machine[-_ ]id)(?:[ _-]?(?:number|no\.?))?[\"']?\s*[:=#]?\s*)"
    r"(?=[\w-]*\d)[\w-]{5,}"
)
_DEVICES: Final = (
    (re.compile(rf"\b(GPU|MIG)-{_HEX}{{8}}(?:-{_HEX}{{4,}}){{1,4}}(?:/\d+){{0,2}}"), r"\1-<uuid>"),
    (re.compile(rf"\b{_HEX}{{8}}-(?:{_HEX}{{4}}-){{3}}{_HEX}{{12}}\b"), "<uuid>"),
    (re.compile(rf"\b(?:{_HEX}{{2}}[:-]){{5}}{_HEX}{{2}}\b"), "<mac>"),
    (re.compile(_SERIAL, re.IGNORECASE), r"\1<serial>"),
)

# --- addresses ------------------------------------------------------------------------------

_EMAIL: Final = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b")
_IPV4: Final = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6: Final = re.compile(
    rf"(?<![\w:.])(?:{_HEX}{{0,4}}:){{2,7}}(?:{_HEX}{{0,4}}|(?:\d{{1,3}}\.){{3}}\d{{1,3}})"
    r"(?:%[\w.-]+)?(?![\w:])"
)
_FOUR_PART_VERSION: Final = re.compile(
    r"(?:(?:nvidia-)?(?:lib)?(?:cuda|cudnn|cublas|cufft|cufile|curand|cusolver|cusparse|nccl|nvjit"
    r"|npp|nvtx|nvidia|cupti|tensorrt|nvshmem|torch)[\w-]*(?:\s+(?:is\s+)?|[=<>~!-]+)|==)\Z",
    re.IGNORECASE,
)
_URL_HOST: Final = re.compile(r"(?<=://)(<secret>@)?([\w.-]+|\[[^\]\s]*\])(:\d+)?")
_PUBLIC: Final = re.compile(
    r"(?:[\w-]+\.)*(?:anaconda\.(?:org|com)|conda\.io|prefix\.dev|pypi\.org|pythonhosted\.org"
    r"|pytorch\.org|github\.com|githubusercontent\.com|gitlab\.com|huggingface\.co|nvidia\.com"
    r"|python\.org|readthedocs\.io|docs\.rs)|localhost",
    re.IGNORECASE,
)


def _without_strange_host(found: re.Match[str]) -> str:
    if _PUBLIC.fullmatch(found[2]):
        return found[0]
    return f"{found[1] or ''}<host>"


def _address_or_version(found: re.Match[str]) -> str:
    try:
        ipaddress.IPv4Address(found[0])
    except ValueError:  # a part above 255, or with a leading zero as drivers have
        return found[0]
    before = found.string[max(found.start() - 60, 0) : found.start()]
    return found[0] if _FOUR_PART_VERSION.search(before) else "<address>"


def _without_ipv6(found: re.Match[str]) -> str:
    try:
        ipaddress.IPv6Address(found[0].partition("%")[0])
    except ValueError:  # a bus address, a time
        return found[0]
    return "<address>" if any(letter.isalnum() for letter in found[0]) else found[0]


# --- names ----------------------------------------------------------------------------------

_ORDINARY: Final = frozenset(
    (
        *("root", "user", "users", "admin", "ubuntu", "debian", "centos", "fedora", "runner"),
        *("jovyan", "nobody", "home", "work", "data", "scratch", "project", "projects", "tmp"),
        *("opt", "usr", "var", "lib", "bin", "etc", "mnt", "envs", "env", "conda", "mamba"),
        *("envforge", "torch", "pytorch", "python", "cuda", "nvidia", "driver", "gpu", "host"),
        *("machine", "node", "server", "local", "localhost", "cluster", "container", "docker"),
        *("linux", "lock", "level", "static", "import", "live", "check", "error", "warning"),
        *("report", "default", "test", "dev", "app", "model"),
    )
)
"""Words that reports are made of, and account names that name nobody."""
_SHORT: Final = 3
_ANY_HOME: Final = re.compile(
    r"(?:/home/|/Users/|/var/home/|/export/home/|(?<![A-Za-z])[A-Za-z]:\\Users\\)[^/\\\s'\"`:;,<>]+"
)


def _without_homes(text: str, homes: tuple[str, ...]) -> str:
    for home in homes:
        text = re.sub(rf"{re.escape(home.rstrip('/'))}(?![\w.-]*[\w-])", "~", text)
    return _ANY_HOME.sub("~", text)


def _without_name(text: str, name: str, replacement: str) -> str:
    """Wherever it stands as a word; a short or an ordinary word only where it must be a name."""
    escaped = re.escape(name)
    if len(name) >= _SHORT and name.lower() not in _ORDINARY:
        return re.sub(
            rf"(?<![A-Za-z0-9]){escaped}(?![A-Za-z0-9])", replacement, text, flags=re.IGNORECASE
        )
    if name.lower() in _ORDINARY:
        return re.sub(rf"(?<![\w.-]){escaped}(?=@)", replacement, text)
    return re.sub(rf"(?<=[/\\@=]){escaped}(?![\w.-])|(?<![\w.-]){escaped}(?=@)", replacement, text)
