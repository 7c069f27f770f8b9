"""A service that links files of the store into folders of other users.

With `fs.protected_hardlinks` only the owner of a file may link it. So the owner runs this, and a
user asks it: makes the view with rights of their own, opens the folder that a file belongs in, and
hands the open folder over. The service sees from the kernel who asks (SO_PEERCRED) and that the
folder is theirs, and links one file of the store into it. It follows no path that it was told.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import socket
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from envforge.adapters.files import unusable
from envforge.adapters.store import acl, leases, trust
from envforge.adapters.store.serving import service_wire
from envforge.adapters.store.serving.service_wire import Garbled, Message, Peer
from envforge.adapters.store.store import Store
from envforge.adapters.store.trees import registry
from envforge.adapters.store.trees.folders import ENTER
from envforge.adapters.users import folder_of
from envforge.cache import layout
from envforge.errors import EnvforgeError, ServiceRefused
from envforge.model.models import REPO_KINDS, LinkMode, Repo
from envforge.model.views import RegisteredView, ViewedModel

if TYPE_CHECKING:
    from typing_extensions import Self

_LOCK: Final = "serve.lock"
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_TEXT: Final = re.compile(r"[^\x00-\x1f\x7f]{0,200}")
_FOLDER_TEXT: Final = re.compile(r"(?:/[^\x00-\x1f\x7f]{0,4095})?")
_MOST_MODELS: Final = 10_000
_MOST_FILES: Final = 1_000_000
_PAUSE: Final = 0.2
"""Seconds between two looks whether somebody connects, or whether to stop."""
_SILENCE: Final = 60.0
"""Seconds without a first word after which a connection is closed."""
_WORK: Final = 6 * 3600.0
"""The same, between two words: one who cannot link copies meanwhile, and that takes its time."""
_IMPATIENCE: Final = 1.0
"""The same, of somebody who is turned away."""
_MOST_EACH: Final = 8
"""Connections of one user."""
_MOST: Final = 128
"""Connections of all."""
_TURNED_AWAY: Final = 8
"""Connections more of one user that are told why not; those beyond are closed without a word."""
_MOST_LEASED: Final = 200_000
"""Files that one connection may keep from collection: a model of 100,000, twice."""
_RETURNS: Final = 1.0
"""Seconds to wait for a file that a collection has moved away and may put back."""
_PASSING: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED, errno.EPERM}
)
"""What accept(2) says of others' doings, which end; EPERM is a firewall's."""
_MODES: Final = frozenset(get_args(LinkMode))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal(Exception):
    reason: str


class Service:
    """Serves one store until it is told to stop.

    Args:
        store: ours.
        views: the folder that `env/<USER>` and `user/<USER>` are made in.
        tell: is told what was done, a line each.
    """

    def __init__(self, store: Store, views: Path, tell: Callable[[str], None]) -> None:
        self.store, self.views, self.tell = store, views, tell
        self._count: Counter[int] = Counter()
        """Of those who are answered, by user."""
        self._open: Counter[int] = Counter()
        """Of all."""
        self._guard = threading.Lock()

    @contextlib.contextmanager
    def listening(self) -> Iterator[socket.socket]:
        """The socket, ready for connections; its name is gone afterwards.

        Raises:
            ServiceRefused: another process serves this store.
            FileNotUsable: no socket can be made there.
        """
        with _alone(self.store.root):
            path = self.store.root / service_wire.SOCKET
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                path.unlink(missing_ok=True)  # of a service that was killed
                with service_wire.address(self.store.root) as address:
                    listener.bind(address)
                path.chmod(0o666)  # who may come in is the folder's matter
                listener.listen(64)
                listener.settimeout(_PAUSE)
            except OSError as error:
                listener.close()
                raise unusable(path, error) from error
            try:
                yield listener
            finally:
                path.unlink(missing_ok=True)
                listener.close()

    def serve(self, listener: socket.socket, stop: threading.Event) -> None:
        """Answer until `stop` is set; then let what is being answered end."""
        threads: dict[threading.Thread, socket.socket] = {}
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError as error:
                if error.errno not in _PASSING:
                    raise
                stop.wait(_PAUSE)
                continue
            peer = self._let_in(connection)
            if peer is None:
                connection.close()
                continue
            threads = {thread: end for thread, end in threads.items() if thread.is_alive()}
            thread = threading.Thread(target=self._converse, args=(connection, peer), daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no threads left to give
                connection.close()
                self._open[peer.uid] -= 1
            else:
                threads[thread] = connection
        for thread, connection in threads.items():
            with contextlib.suppress(OSError):  # it has hung up
                connection.shutdown(socket.SHUT_RD)
            thread.join(timeout=_IMPATIENCE)

    def _let_in(self, connection: socket.socket) -> Peer | None:
        """Who is there; None: it has gone, or that user has more than a thread each is worth."""
        try:
            peer = service_wire.peer_of(connection)
        except OSError:
            return None
        with self._guard:
            of_user, of_all = self._open[peer.uid], self._open.total()
            if of_user >= _MOST_EACH + _TURNED_AWAY or of_all >= _MOST + _TURNED_AWAY:
                return None
            self._open[peer.uid] += 1
        return peer

    # --- one connection ---------------------------------------------------------------------

    def _converse(self, connection: socket.socket, peer: Peer) -> None:
        with connection, self._counted(self._open, peer):
            connection.settimeout(_SILENCE)
            try:
                with self._admitted(peer):
                    self._answer_all(connection, peer)
            except _Refusal as refusal:
                self.tell(f"refused: {refusal.reason}")
                _turn_away(connection, refusal.reason)
            except (Garbled, OSError):
                return  # it has gone, or says nothing that can be answered

    @contextlib.contextmanager
    def _counted(self, count: Counter[int], peer: Peer) -> Iterator[None]:
        """One less when it ends."""
        try:
            yield
        finally:
            with self._guard:
                count[peer.uid] -= 1

    @contextlib.contextmanager
    def _admitted(self, peer: Peer) -> Iterator[None]:
        """Who may read the store may have it linked; nobody takes all connections."""
        if not peer.is_known:
            raise _Refusal(reason=f"user {peer.uid} is nobody on this machine")
        if not _may_read(self.store.root.stat(), peer):
            raise _Refusal(reason=f"user {peer.uid} may not read the store")
        with self._guard:
            full = self._count[peer.uid] >= _MOST_EACH or self._count.total() >= _MOST
            if not full:
                self._count[peer.uid] += 1
        if full:
            raise _Refusal(reason=f"too many connections of user {peer.uid}, or in all")
        with self._counted(self._count, peer):
            yield

    def _answer_all(self, connection: socket.socket, peer: Peer) -> None:
        with _Leased(self.store.root) as leased:
            while (message := service_wire.receive(connection)) is not None:
                try:
                    answer = self._answer(peer, message, leased)
                except _Refusal as refusal:
                    self.tell(f"refused user {peer.uid}: {refusal.reason}")
                    answer = {"error": refusal.reason}
                except (EnvforgeError, OSError) as error:
                    self.tell(f"user {peer.uid}: {error}")
                    answer = {"error": str(error)}
                finally:
                    message.close()
                connection.settimeout(_WORK)
                service_wire.send(connection, answer)

    def _answer(self, peer: Peer, message: Message, leased: _Leased) -> Mapping[str, Any]:
        task = message.content.get("ask")
        if task == "hello":
            return {"version": service_wire.VERSION, "uid": os.geteuid()}
        if task == "lease":
            return leased.add(message.content.get("hashes"))
        if task == "link":
            return self._link(peer, message)
        if task == "place":
            return self._place(peer, message.content)
        if task == "register":
            return self._register(peer, message)
        raise _Refusal(reason=f"{task!r:.40} is nothing that is done here")

    # --- what can be asked ------------------------------------------------------------------

    def _link(self, peer: Peer, message: Message) -> Mapping[str, Any]:
        """Give one file of the store a name in an open folder of the peer's."""
        sha256, name = message.content.get("sha256"), message.content.get("name")
        if not (isinstance(sha256, str) and layout.SHA256.fullmatch(sha256)):
            raise _Refusal(reason="no sha256")
        if not (isinstance(name, str) and _NAME.fullmatch(name)) or name in {".", ".."}:
            raise _Refusal(reason="no name of a file")
        folder = _own_folder(peer, message)
        try:
            self._link_again(sha256, name, folder)
        except OSError as error:
            return {"errno": error.errno or errno.EIO}
        return {"errno": 0}

    def _link_again(self, sha256: str, name: str, folder: int) -> None:
        """As `Store.link`; a collection may hold the file for a moment, and put it back."""
        deadline = time.monotonic() + _RETURNS
        while not self.store.path(sha256).exists() and time.monotonic() < deadline:
            if not any((self.store.root / layout.TRASH).glob(f"*{sha256}*")):
                break
            time.sleep(0.02)
        self.store.link(sha256, Path(name), dir_fd=folder)

    def _place(self, peer: Peer, content: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make the folder that the peer's views lie in by default, and let the peer write it."""
        kind = content.get("kind")
        if kind not in {"env", "user"}:
            raise _Refusal(reason="neither `env` nor `user`")
        user = folder_of(peer.uid)
        above = self.views / str(kind)
        mode = stat.S_IMODE(self.store.root.stat().st_mode) & 0o2755
        for folder in (self.views, above):
            if not folder.is_dir():
                folder.mkdir(parents=True)
                folder.chmod(mode)
        trust.check(above)  # nobody else can have `user` lead elsewhere
        path = above / user
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        descriptor = os.open(path, ENTER)
        try:
            _hand_over(descriptor, path, peer, mode & 0o777)
        finally:
            os.close(descriptor)
        return {"path": str(path)}

    def _register(self, peer: Peer, message: Message) -> Mapping[str, Any]:
        """Note a view of the peer's, under the path that the kernel gives it."""
        folder = _own_folder(peer, message, also=self.views / "user" / folder_of(peer.uid))
        path = str(Path(f"/proc/self/fd/{folder}").readlink())
        try:
            seen = Path(path).stat()
        except OSError:
            seen = None
        if seen is None or not os.path.samestat(seen, os.fstat(folder)):
            return {"path": None}  # of a container, which has names of its own for it
        view = _view(message.content.get("view"), path, peer.uid)
        before = registry.find(self.store.root, path)
        if before is not None and before.owner not in {peer.uid, os.geteuid()}:
            raise _Refusal(reason=f"`{path}` is noted as a view of user {before.owner}")
        registry.register(self.store.root, view)
        self.tell(f"user {peer.uid}: view {path}, {len(view.modes)} files")
        return {"path": path}


class _Leased:
    """What one connection keeps from collection while it lasts."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._hashes: frozenset[str] = frozenset()
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def add(self, hashes: object) -> Mapping[str, Any]:
        """Keep these, too, from before anybody looks whether they are there."""
        named = hashes if isinstance(hashes, list) else [None]
        if not all(isinstance(item, str) and layout.SHA256.fullmatch(item) for item in named):
            raise _Refusal(reason="no list of sha256")
        more = self._hashes.union(named)
        if len(more) > _MOST_LEASED:
            raise _Refusal(reason=f"more than {_MOST_LEASED} files at once")
        with contextlib.ExitStack() as held:
            held.enter_context(leases.lease(self._root, more, purpose="serve"))
            before, self._held = self._held, held.pop_all()
        before.close()
        self._hashes = more
        return {"kept": len(more)}


def _turn_away(connection: socket.socket, reason: str) -> None:
    """Answer the first question with why not; hanging up on it would lose the answer."""
    connection.settimeout(_IMPATIENCE)
    with contextlib.suppress(OSError, Garbled):
        question = service_wire.receive(connection)
        if question is not None:
            question.close()
            service_wire.send(connection, {"error": reason})


def _own_folder(peer: Peer, message: Message, also: Path | None = None) -> int:
    """The folder that came with a message, seen to be one of the peer's own, or made for them."""
    if len(message.descriptors) != 1:
        raise _Refusal(reason="no folder came with it")
    found = os.fstat(message.descriptors[0])
    if not stat.S_ISDIR(found.st_mode):
        raise _Refusal(reason="what came with it is no folder")
    made = also is not None and also.is_dir() and os.path.samestat(also.lstat(), found)
    if found.st_uid != peer.uid and not made:
        raise _Refusal(reason=f"the folder belongs to user {found.st_uid}, not to {peer.uid}")
    return message.descriptors[0]


def _may_read(found: os.stat_result, peer: Peer) -> bool:
    """As the kernel decides for a folder: the first class that fits counts (path_resolution(7))."""
    if peer.uid in {0, found.st_uid}:
        return True
    shift = 3 if found.st_gid in peer.groups else 0
    return found.st_mode >> shift & 0o5 == 0o5


def _hand_over(folder: int, path: Path, peer: Peer, mode: int) -> None:
    """Let the peer write a folder that we made: as its owner, or by an ACL if we are not root."""
    found = os.fstat(folder)
    if found.st_uid == peer.uid:
        return
    if found.st_uid != os.geteuid():
        raise _Refusal(reason=f"`{path}` belongs to user {found.st_uid}")
    if os.geteuid() == 0:
        os.fchmod(folder, mode)
        os.fchown(folder, peer.uid, peer.gid)
        return
    try:
        os.fchmod(folder, mode)
        acl.let_in(folder, peer.uid)
    except OSError as error:
        reason = f"no ACL can be set on `{path}`: name a folder of your own"
        raise _Refusal(reason=reason) from error


def _view(document: object, path: str, owner: int) -> RegisteredView:
    """What the peer says of its view; anything may stand there."""
    try:
        return _read_view(document, path, owner)  # type: ignore[arg-type]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _Refusal(reason="that describes no view") from error


def _read_view(document: Mapping[str, Any], path: str, owner: int) -> RegisteredView:
    models, modes = document["models"], document["modes"]
    if len(models) > _MOST_MODELS or len(modes) > _MOST_FILES:
        raise ValueError(path)
    for sha256, mode in modes.items():
        if not layout.SHA256.fullmatch(sha256) or mode not in _MODES:
            raise ValueError(path)
    if document["layout"] not in {"hub", "flat"}:
        raise ValueError(path)
    return RegisteredView(
        path=path,
        owner=owner,
        environment=_plain(document["environment"]),
        source=_folder_text(document.get("source", "")),
        layout=document["layout"],
        hub=_plain(document.get("hub", "")),
        models=tuple(sorted(map(_viewed, models))),
        modes=dict(modes),
    )


def _viewed(item: Mapping[str, Any]) -> ViewedModel:
    if item["kind"] not in REPO_KINDS or not layout.COMMIT.fullmatch(item["commit"]):
        raise ValueError(item)
    return ViewedModel(
        repo=Repo(kind=item["kind"], id=_plain(item["repo"])),
        commit=item["commit"],
        revision=_plain(item["revision"]),
    )


def _folder_text(text: str) -> str:
    if not _FOLDER_TEXT.fullmatch(text):
        raise ValueError(text)
    return text


def _plain(text: str) -> str:
    if not _TEXT.fullmatch(text):
        raise ValueError(text)
    return text


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Be the only one who serves a store; where the filesystem has no locks, the last wins."""
    path = root / _LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise unusable(path, error) from error
    try:
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 20, 0).decode("ascii", "replace")
                raise ServiceRefused(
                    path=str(root),
                    reason=f"process {holder or 'of somebody else'} serves it already",
                    remedy="one service is enough for all users",
                ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)
