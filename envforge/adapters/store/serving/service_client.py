"""Asks a store's service for hardlinks: for users who do not own the store.

`served(store)` is a store whose `link` works for them. A service that is not root cannot write
into a user's folder, so it links into an inbox, a folder that the user opens to it for the time,
and the user moves the file on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from envforge.adapters.store import holders
from envforge.adapters.store.serving import service_wire
from envforge.adapters.store.serving.service_wire import Garbled
from envforge.adapters.store.store import Store
from envforge.adapters.store.trees import registry
from envforge.adapters.store.trees.folders import ENTER
from envforge.errors import ServiceRefused
from envforge.model.models import LinkMode
from envforge.model.views import RegisteredView

if TYPE_CHECKING:
    from typing_extensions import Self

_PATIENCE: Final = 30.0
"""Seconds to wait for an answer; a copy of a file whose links are used up takes its time."""
_CROWDED: Final = 5.0
"""Seconds to wait until fewer others ask at the same moment."""
_LOOK: Final = 0.01
_INBOX: Final = 0o1733
"""Others may put files in, and neither see nor remove what is there."""
_PREFIX: Final = ".envforge-inbox-"


def connect(root: Path) -> ServiceClient | None:
    """The service of a store; None: nobody serves it.

    Raises:
        ServiceRefused: it does not want us, or is not run by the store's owner or root.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_PATIENCE)
        with service_wire.address(root) as address:
            _connect(connection, address)
    except OSError:  # no socket, nobody behind it, or not for us
        connection.close()
        return None
    client = ServiceClient(root, connection)
    try:
        client.greet()
    except BaseException:
        client.close()
        raise
    return client


def _connect(connection: socket.socket, address: str) -> None:
    """Connect, and wait where many others do: a Unix socket does not queue those who may not."""
    deadline = time.monotonic() + _CROWDED
    while (error := connection.connect_ex(address)) == errno.EAGAIN:
        if time.monotonic() > deadline:
            break
        time.sleep(_LOOK)
    if error:
        raise OSError(error, os.strerror(error), address)


class ServiceClient:
    """A connection to a store's service."""

    def __init__(self, root: Path, connection: socket.socket) -> None:
        self.root, self._connection = root, connection
        self._is_root = False
        self._inbox: tuple[int, str, int] | None = None
        """The folder it is in, its name, and the inbox itself; both open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def greet(self) -> None:
        """See who serves.

        Raises:
            ServiceRefused: somebody who is neither the store's owner nor root.
        """
        peer = service_wire.peer_of(self._connection)
        if peer.uid not in {0, self.root.stat().st_uid}:
            raise self._refused(f"user {peer.uid} serves it, who does not own it")
        self._is_root = self._ask({"ask": "hello"}).get("uid") == 0

    def close(self) -> None:
        """Hang up."""
        if self._inbox is not None:
            above, name, inbox = self._inbox
            self._inbox = None
            os.close(inbox)
            _remove(name, above)
            os.close(above)
        self._connection.close()

    def place(self, kind: Literal["env", "user"]) -> Path:
        """The folder below which our views lie by default; made where it is missing.

        Raises:
            ServiceRefused: it cannot be made.
        """
        return Path(str(self._ask({"ask": "place", "kind": kind})["path"]))

    def lease(self, hashes: Iterable[str]) -> None:
        """Keep files from collection until we hang up.

        Raises:
            ServiceRefused: they are too many.
        """
        self._ask({"ask": "lease", "hashes": sorted(hashes)})

    def register(self, view: RegisteredView) -> bool:
        """Have a view noted, so that scans and checks know of it.

        False: it lies where the service cannot see it, in a container.

        Raises:
            ServiceRefused: it is another's.
            OSError: it is not there.
        """
        document = registry.document(view)
        folder = os.open(view.path, ENTER)
        try:
            answer = self._ask({"ask": "register", "view": document}, folder)
            return answer["path"] is not None
        finally:
            os.close(folder)

    def link(self, sha256: str, name: str, folder: int) -> None:
        """Give a file of the store a name in an open folder of ours.

        Raises:
            OSError: as link(2): EEXIST, EXDEV, ENOENT …
        """
        if self._is_root:
            self._linked(sha256, name, folder)
            return
        with contextlib.suppress(FileNotFoundError):
            os.stat(name, dir_fd=folder, follow_symlinks=False)
            raise FileExistsError(name)
        inbox = self._open_inbox(folder)
        try:
            self._linked(sha256, name, inbox)
        except FileExistsError:  # of an earlier try, or put there by somebody
            os.unlink(name, dir_fd=inbox)
            self._linked(sha256, name, inbox)
        self._check(sha256, os.stat(name, dir_fd=inbox, follow_symlinks=False))
        os.rename(name, name, src_dir_fd=inbox, dst_dir_fd=folder)

    def _linked(self, sha256: str, name: str, folder: int) -> None:
        number = int(self._ask({"ask": "link", "sha256": sha256, "name": name}, folder)["errno"])
        if number:
            raise OSError(number, os.strerror(number), name)

    def _open_inbox(self, folder: int) -> int:
        if self._inbox is None:
            _clear(folder)
            name = f"{_PREFIX}{holders.me()}"
            os.mkdir(name, 0o700, dir_fd=folder)
            inbox = os.open(name, ENTER, dir_fd=folder)
            os.fchmod(inbox, _INBOX)
            self._inbox = os.dup(folder), name, inbox
        return self._inbox[2]

    def _check(self, sha256: str, found: os.stat_result) -> None:
        """Others could put something into the inbox: only an inode of the store will do."""
        ours = (item for _, item in Store(self.root).inodes(sha256))
        if stat.S_ISREG(found.st_mode) and any(os.path.samestat(found, item) for item in ours):
            return
        raise self._refused(f"what came for {sha256[:12]}… is no file of the store")

    def _ask(self, content: dict[str, Any], folder: int = -1) -> Any:
        try:
            service_wire.send(self._connection, content, folder)
            answer = service_wire.receive(self._connection)
        except (OSError, Garbled) as error:
            raise self._refused(f"it does not answer ({error})") from error
        if answer is None:
            raise self._refused("it has ended")
        answer.close()
        if "error" in answer.content:
            raise self._refused(str(answer.content["error"]))
        return answer.content

    def _refused(self, reason: str) -> ServiceRefused:
        return ServiceRefused(
            path=str(self.root),
            reason=reason,
            remedy=f"see `envforge cache doctor --store {self.root}`",
        )


def _clear(folder: int) -> None:
    """Remove the inboxes of processes that were killed."""
    for name in os.listdir(folder):
        if name.startswith(_PREFIX) and holders.is_gone(name.removeprefix(_PREFIX)):
            _remove(name, folder)


def _remove(name: str, folder: int) -> None:
    with contextlib.suppress(OSError):  # a view works with an inbox in it, too
        inbox = os.open(name, ENTER, dir_fd=folder)
        try:
            for left in os.listdir(inbox):  # noqa: PTH208 - a descriptor
                os.unlink(left, dir_fd=inbox)
        finally:
            os.close(inbox)
        os.rmdir(name, dir_fd=folder)


class ServedStore(Store):
    """A store of somebody else, whose service links for us."""

    def __init__(self, root: Path, client: ServiceClient) -> None:
        super().__init__(root)
        self.client = client

    def link(self, sha256: str, target: Path, *, dir_fd: int | None = None) -> LinkMode:
        """See `Store.link`."""
        if dir_fd is not None:
            self.client.link(sha256, str(target), dir_fd)
            return "hardlink"
        folder = os.open(target.parent, ENTER)
        try:
            self.client.link(sha256, target.name, folder)
        finally:
            os.close(folder)
        return "hardlink"


@contextlib.contextmanager
def served(store: Store) -> Iterator[Store]:
    """The same store; where only its service may link for us, one that asks the service.

    Raises:
        ServiceRefused: the service that answers is not to be trusted.
    """
    client = None if store.is_ours or os.geteuid() == 0 else connect(store.root)
    if client is None:
        yield store
        return
    with client:
        yield ServedStore(store.root, client)
