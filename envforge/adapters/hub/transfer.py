"""Files from a hub, by huggingface_hub's own transfers, into parts that can be gone on with.

huggingface_hub brings tokens, proxies, mirrors (`HF_ENDPOINT`) and Xet; a part goes on where it
ended, in this process or a later one, which huggingface_hub gave up in 1.18 (#4196, #4306).
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from envforge.adapters.hub import failures, reach, session
from envforge.adapters.store.arriving import parts
from envforge.adapters.store.arriving.parts import Part, TooLong
from envforge.errors import WrongBytes
from envforge.model.fetching import Wanted
from envforge.model.settings import Settings
from envforge.version import __version__

if TYPE_CHECKING:
    from huggingface_hub.utils._xet import XetFileData

_TRIES: Final = 6
"""In a row, without a byte."""
_LONGEST_PAUSE: Final = 30.0
_LONGEST_ASKED: Final = 600.0
"""Seconds that we wait because a hub says so; then we end, and can be called again."""
_CHUNK: Final = 1 << 18
"""Bytes."""
_NOT_SATISFIABLE: Final = 416
_LOGGERS: Final = ("huggingface_hub.file_download", "huggingface_hub.utils._http")


@dataclass(frozen=True, slots=True)
class HubTransfer:
    """Carries files; used by many threads at once.

    Args:
        settings: they name the hub.
        pause: waits so many seconds; raises `parts.Stopped` when it is time to end.
        say: told when a hub makes us wait.
    """

    settings: Settings
    pause: Callable[[float], None]
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        session.prepare(self.settings)

    def get(self, wanted: Wanted, part: Part) -> None:
        """Append to the part what it lacks; its bytes are not judged here.

        Raises:
            NoSuchModel: the hub has no such file, or not for us.
            WrongBytes: it has another size than it should have.
            Unreachable: the hub fails again and again.
            FileNotUsable: the disk refuses.
            parts.Stopped: see `pause`.
        """
        tries, by_xet = 0, bool(wanted.xet)
        while not part.is_whole:
            before = part.received
            try:
                by_xet = self._once(wanted, part, by_xet=by_xet)
            except TooLong as error:
                _judge_too_long(wanted, part, error)
            except failures.transfer_errors() as error:
                part.check_disk()
                tries = 0 if part.received > before else tries + 1
                self._judge(wanted, part, error, tries)

    def _judge(self, wanted: Wanted, part: Part, error: Exception, tries: int) -> None:
        """Wait until it is worth trying again, or raise."""
        if failures.status_of(error) == _NOT_SATISFIABLE:
            raise _wrong_size(wanted, f"{part.size} bytes") from error
        again = failures.status_of(error) in failures.AGAIN or failures.is_cut(error)
        asked = failures.retry_after(error) or 0.0
        if not again or tries >= _TRIES or asked > _LONGEST_ASKED:
            hub = reach.endpoint(self.settings)
            repo, commit = wanted.repo, wanted.commit
            said = failures.explain(error, repo, commit, endpoint=hub, file=wanted.path)
            raise said or error
        if asked:
            self.say(f"the hub asks us to wait {asked:.0f} s for `{wanted.shown}`")
        self.pause(asked or min(2.0 ** max(0, tries - 2), _LONGEST_PAUSE))

    def _once(self, wanted: Wanted, part: Part, *, by_xet: bool) -> bool:
        """One attempt; whether Xet is worth another."""
        _quieten()
        found = self._xet(wanted) if by_xet and not part.size else None
        if found is None or not self._by_xet(wanted, part, found):
            self._by_http(wanted, part)
        return found is not None

    def _by_http(self, wanted: Wanted, part: Part) -> None:
        from huggingface_hub import constants
        from huggingface_hub.file_download import http_get

        # What is less than a chunk is lost with the connection: 10 MiB are too much for that.
        constants.DOWNLOAD_CHUNK_SIZE = min(constants.DOWNLOAD_CHUNK_SIZE, _CHUNK)
        # We count, and try again, ourselves.
        ours: dict[str, Any] = {"_nb_retries": 0, "_tqdm_bar": _NoBar()}
        known = inspect.signature(http_get).parameters
        http_get(
            self._url(wanted),
            cast("Any", part),  # it has what is used of a file
            resume_size=part.size,
            headers={**self._headers(), "Accept-Encoding": "identity"},  # else ranges are ignored
            expected_size=wanted.size,
            displayed_filename=wanted.path,
            **{name: value for name, value in ours.items() if name in known},
        )

    def _xet(self, wanted: Wanted) -> XetFileData | None:
        """How to have the file from Xet storage; None: not at all."""
        try:
            from huggingface_hub.file_download import get_hf_file_metadata
            from huggingface_hub.utils._runtime import is_xet_available
        except ImportError:  # before 0.32
            return None
        if not is_xet_available():
            return None
        return get_hf_file_metadata(self._url(wanted), headers=self._headers()).xet_file_data

    def _by_xet(self, wanted: Wanted, part: Part, found: XetFileData) -> bool:
        """False: it failed, and plain HTTP may do."""
        from huggingface_hub.file_download import xet_get

        aside = parts.whole(part.path)
        try:
            xet_get(
                incomplete_path=aside,
                xet_file_data=found,
                headers=self._headers(),
                expected_size=wanted.size,
                displayed_filename=wanted.path,
                _tqdm_bar=cast("Any", _NoBar(part.watch)),
            )
        except failures.xet_errors() as error:
            self.say(f"Xet failed for `{wanted.shown}` ({failures.reason(error)}): plain HTTP then")
            aside.unlink(missing_ok=True)
            return False
        part.take(aside)
        return True

    def _url(self, wanted: Wanted) -> str:
        from huggingface_hub import hf_hub_url

        return hf_hub_url(
            wanted.repo.id,
            wanted.path,
            repo_type=wanted.repo.kind,
            revision=wanted.commit,
            endpoint=reach.endpoint(self.settings),
        )

    def _headers(self) -> dict[str, str]:
        from huggingface_hub.utils._headers import build_hf_headers

        return build_hf_headers(library_name="envforge", library_version=__version__)


class _NoBar:
    """Stands for a progress bar: we show our own."""

    def __init__(self, watch: Callable[[int], None] = lambda _: None) -> None:
        self._watch = watch
        self.n = 0
        self.total = 0

    def update(self, number: float = 1) -> None:
        self.n += int(number)
        self._watch(self.n)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "update_transfer":
            raise AttributeError(name)
        return lambda *_, **__: None


def _judge_too_long(wanted: Wanted, part: Part, error: TooLong) -> None:
    """Bytes too many after old ones: a range was ignored. From the start on: the file is another.

    Raises:
        WrongBytes: the latter.
    """
    if part.resumed_at == 0:
        raise _wrong_size(wanted, f"more than {part.size} bytes") from error
    part.clear()


def _wrong_size(wanted: Wanted, found: str) -> WrongBytes:
    return WrongBytes(file=wanted.shown, expected=f"{wanted.size} bytes", found=found)


def _quieten() -> None:
    """Keep huggingface_hub's warnings about single attempts off the screen: we tell the outcome."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_is_worth_showing)  # the same one a second time is none


def _is_worth_showing(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR or logging.getLogger().isEnabledFor(logging.DEBUG)
