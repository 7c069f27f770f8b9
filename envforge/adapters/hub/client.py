"""Asks a hub what a repository holds, and fetches its small files; tokens are the library's own."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from envforge.adapters.hub import failures, reach, session
from envforge.cache import git_blob, layout, patterns
from envforge.errors import EnvforgeError, HostileRepo, NoSuchModel, Unreachable, WrongBytes
from envforge.model.models import REPO_KINDS, HubFile, HubSnapshot, ModelRequest, Repo
from envforge.model.settings import Settings
from envforge.model.wording import counted
from envforge.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

_TRIES: Final = 5
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 60.0
"""Seconds. A hub that asks for more is told to the person instead."""
_NOT_UNDERSTOOD: Final = (ValueError, KeyError, TypeError, AttributeError)
"""What huggingface_hub raises where an answer is not JSON, or JSON of something else."""
_LARGEST_SMALL: Final = 1 << 28
"""Bytes of a regular file: git hosts refuse far smaller ones, so more is a lie."""


class HubClient:
    """One hub, as the settings name it; may be used by several threads."""

    def __init__(self, settings: Settings, *, waiting: Callable[[str], None] | None = None) -> None:
        """`waiting` is told when the hub asks for patience."""
        session.prepare(settings)
        self._settings = settings
        self._waiting = waiting or (lambda _: None)
        self.endpoint = reach.endpoint(settings)
        self.shown = reach.shown(settings)

    def snapshot(self, request: ModelRequest) -> HubSnapshot:
        """The commit that is meant now, and those of its files that the request means.

        Raises:
            NoSuchModel: no such repository or revision, or none that we may read; no file left.
            HostileRepo: it lists what no cache can hold.
            Unreachable: offline, or no hub answers.
        """
        reach.check(self._settings)
        repo = request.repo
        commit = self._commit(repo, request.revision)
        means = patterns.matcher(request)
        entries = self._ask(repo, commit, lambda: list(self._tree(repo, commit)))
        files = tuple(_file(repo, entry) for entry in entries if means(str(entry.path)))
        layout.check_tree(repo.shown, [item.path for item in files])
        if not files:
            raise _no_files(request, len(entries))
        return HubSnapshot(
            repo=repo, commit=commit, files=tuple(sorted(files, key=lambda item: item.path))
        )

    def small_file(self, repo: Repo, commit: str, file: HubFile) -> bytes:
        """The bytes of a regular file, seen to be those that git's name for it promises.

        Raises:
            WrongBytes: they are others.
            NoSuchModel, Unreachable
        """
        reach.check(self._settings)
        sink = _Bounded(min(file.size, _LARGEST_SMALL))
        shown = f"{repo.shown}/{file.path}"
        try:
            self._ask(repo, commit, lambda: self._get(repo, commit, file.path, sink), file.path)
        except _TooMuchError as error:
            told, came = f"{file.size} bytes", f"more than {file.size}"
            raise WrongBytes(file=shown, expected=told, found=came) from error
        data = sink.getvalue()
        if len(data) != file.size:
            told, came = f"{file.size} bytes", str(len(data))
            raise WrongBytes(file=shown, expected=told, found=came)
        found = git_blob.name(data)
        if found != file.blob:
            raise WrongBytes(file=shown, expected=file.blob, found=found)
        return data

    def _commit(self, repo: Repo, revision: str) -> str:
        def ask() -> Any:
            return self._api().repo_info(
                repo.id, repo_type=repo.kind, revision=revision, timeout=self._settings.timeout
            )

        try:
            commit = str(self._ask(repo, revision, ask).sha)
        except NoSuchModel as error:
            if error.remedy is None:
                error.remedy = self._other_revisions(repo)
            elif failures.is_no_repository(error.__cause__):
                error.remedy = self._other_kind(repo) or error.remedy
            raise
        if not layout.COMMIT.fullmatch(commit):
            raise Unreachable(url=self.shown, reason=f"it names no commit, but `{commit}`")
        return commit

    def _other_revisions(self, repo: Repo) -> str | None:
        """Names that it does have, for the person who mistyped one."""
        try:
            refs = self._api().list_repo_refs(repo.id, repo_type=repo.kind)
        except Exception:  # noqa: BLE001 - only a hint is at stake; the first error is raised
            return None
        names = [ref.name for ref in (*refs.branches, *refs.tags)][:8]
        return f"it has {', '.join(f'`{name}`' for name in names)}" if names else None

    def _other_kind(self, repo: Repo) -> str | None:
        """How it is written if it is a dataset, for the person who took it for a model."""
        for kind in REPO_KINDS:
            if kind == repo.kind:
                continue
            try:
                self._api().repo_info(repo.id, repo_type=kind, timeout=self._settings.timeout)
            except Exception:  # noqa: BLE001, S112 - only a hint is at stake; the first error is raised
                continue
            return f"there is a {kind} of that name: `{Repo(kind=kind, id=repo.id).shown}`"
        return None

    def _tree(self, repo: Repo, commit: str) -> Iterator[Any]:
        entries = self._api().list_repo_tree(
            repo.id, repo_type=repo.kind, revision=commit, recursive=True
        )
        return (entry for entry in entries if hasattr(entry, "blob_id"))  # else: a folder

    def _get(self, repo: Repo, commit: str, path: str, sink: io.BytesIO) -> None:
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils._headers import build_hf_headers
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars("huggingface_hub.http_get")  # ours tells how far it is
        logging.getLogger("huggingface_hub.file_download").addFilter(_is_error)
        sink.seek(0)
        sink.truncate()
        http_get(
            self.file_url(repo, commit, path),
            sink,
            headers=build_hf_headers(library_name="envforge", library_version=__version__),
            displayed_filename=path,
            _nb_retries=0,
        )

    def file_url(self, repo: Repo, commit: str, path: str) -> str:
        """Where a file of a commit is served."""
        folder = "" if repo.kind == "model" else f"{repo.kind}s/"
        return f"{self.endpoint}/{folder}{repo.id}/resolve/{commit}/{quote(path)}"

    def _api(self) -> HfApi:
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint, library_name="envforge", library_version=__version__)

    def _ask(self, repo: Repo, revision: str, ask: Callable[[], T], file: str = "") -> T:
        """Ask, again where that may help, and say failures in our words."""
        pause, cuts = _FIRST_PAUSE, 0
        for left in reversed(range(_TRIES)):
            try:
                return ask()
            except _TooMuchError:
                raise
            except Exception as error:
                wait = failures.retry_after(error) or pause
                cuts += failures.is_cut(error)
                again = failures.status_of(error) in failures.AGAIN or cuts == 1
                if not left or not again or wait > _LONGEST_PAUSE:
                    said = self._explained(error, repo, revision, file)
                    if said is None:
                        raise
                    raise said from error
            if wait > pause:
                self._waiting(f"`{self.shown}` asks for a pause of {wait:.0f} s")
            time.sleep(wait)
            pause *= 2
        raise AssertionError  # the last try returns or raises

    def _explained(
        self, error: Exception, repo: Repo, revision: str, file: str
    ) -> EnvforgeError | None:
        """None: it is a bug."""
        said = None
        if not isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)):
            said = failures.explain(error, repo, revision, endpoint=self.shown, file=file)
        if said is None and isinstance(error, _NOT_UNDERSTOOD):
            return _no_hub(self.shown)
        return said


def _is_error(record: logging.LogRecord) -> bool:
    """Single attempts are no news: we try again ourselves, and tell the outcome."""
    return record.levelno >= logging.ERROR


class _TooMuchError(Exception):
    """More bytes came than the hub had told."""


def _no_hub(endpoint: str) -> Unreachable:
    return Unreachable(
        url=endpoint,
        reason="what it answered is no hub's answer",
        remedy="a proxy or a login page may answer in its place: check `HF_ENDPOINT`",
    )


class _Bounded(io.BytesIO):
    """Takes so many bytes and no more: a hub may send without end."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self._most:
            raise _TooMuchError
        return super().write(data)


def _no_files(request: ModelRequest, listed: int) -> NoSuchModel:
    what = f"{request.repo.kind} `{request.repo.id}`"
    if not listed:
        return NoSuchModel(what=what, reason=f"it has no files at `{request.revision}`")
    return NoSuchModel(
        what=what,
        reason=f"the patterns leave out all that it has: {counted(listed, 'file')}",
        remedy="edit `allow` and `ignore` in models.yml: `*` matches all, `folder/` what is below",
    )


def _file(repo: Repo, entry: Any) -> HubFile:
    """One entry of a tree; a hub may tell anything.

    Raises:
        HostileRepo: sizes or hashes that are none.
    """
    path, size, lfs = str(entry.path), entry.size, entry.lfs
    sha256 = lfs.sha256 if lfs is not None else ""
    size = lfs.size if lfs is not None else size
    xet = getattr(entry, "xet_hash", None) or ""
    blob = sha256 or entry.blob_id
    shape = layout.SHA256 if sha256 else layout.SHA1
    if not isinstance(blob, str) or not shape.fullmatch(blob):
        raise HostileRepo(repo=repo.shown, path=path, reason=f"has the hash {str(blob)[:70]!r}")
    if not isinstance(xet, str) or (xet and not layout.SHA256.fullmatch(xet)):
        raise HostileRepo(repo=repo.shown, path=path, reason=f"has the hash {str(xet)[:70]!r}")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 60:
        raise HostileRepo(repo=repo.shown, path=path, reason=f"has the size {str(size)[:30]!r}")
    return HubFile(path=path, size=size, blob=blob, sha256=sha256, xet=xet)
