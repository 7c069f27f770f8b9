"""The service of views, with us as both ends; `test_multi_user.py` has others."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.viewing import BERT, WEIGHTS, model, sha256, store_with, tree
from fakes.viewing import view as make_view

from envforge.adapters.store import acl
from envforge.adapters.store.leases import leased
from envforge.adapters.store.serving import service, service_client, service_wire
from envforge.adapters.store.serving.service import Service
from envforge.adapters.store.serving.service_client import ServedStore, ServiceClient
from envforge.adapters.store.serving.service_wire import Garbled, Peer
from envforge.adapters.store.store import Store
from envforge.adapters.store.trees import registry, views
from envforge.errors import ServiceRefused
from envforge.model.views import RegisteredView

SHA = sha256(WEIGHTS)
US = os.geteuid()


@contextmanager
def serving(store: Store) -> Iterator[list[str]]:
    """A service in threads of ours; what it tells."""
    told: list[str] = []
    made = Service(store, store.root / "views", told.append)
    stop = threading.Event()
    with made.listening() as listener:
        thread = threading.Thread(target=made.serve, args=(listener, stop))
        thread.start()
        try:
            yield told
        finally:
            stop.set()
            thread.join()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_with(tmp_path / "store", *BERT.values())


@pytest.fixture
def told(store: Store) -> Iterator[list[str]]:
    with serving(store) as told:
        yield told


@pytest.fixture
def client(store: Store, told: list[str]) -> Iterator[ServiceClient]:
    found = service_client.connect(store.root)
    assert found is not None
    with found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "mine").mkdir()
    descriptor = os.open(tmp_path / "mine", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_nobody_serves(store: Store) -> None:
    assert service_client.connect(store.root) is None


@pytest.mark.parametrize("is_root", [True, False])
def test_a_file_is_linked(
    store: Store, client: ServiceClient, folder: int, tmp_path: Path, *, is_root: bool
) -> None:
    """Straight into the folder by root; by anybody else through an inbox."""
    client._is_root = is_root

    client.link(SHA, "weights", folder)

    assert (tmp_path / "mine/weights").samefile(store.path(SHA))
    with pytest.raises(FileExistsError):
        client.link(SHA, "weights", folder)
    with pytest.raises(FileNotFoundError):
        client.link("f" * 64, "other", folder)
    client.close()
    assert os.listdir(folder) == ["weights"]


def test_a_file_that_a_collection_puts_back_is_waited_for(
    store: Store, client: ServiceClient, folder: int
) -> None:
    aside = store.root / "trash" / f"{SHA}.1"
    store.path(SHA).rename(aside)
    back = threading.Timer(0.1, lambda: aside.rename(store.path(SHA)))
    back.start()

    client.link(SHA, "weights", folder)

    back.join()
    assert os.stat("weights", dir_fd=folder).st_nlink == 2


def test_a_view_through_the_service(store: Store, tmp_path: Path, client: ServiceClient) -> None:
    make_view(store, tmp_path / "direct", model())
    make_view(ServedStore(store.root, client), tmp_path / "asked", model())

    assert tree(tmp_path / "asked") == tree(tmp_path / "direct")


def test_a_view_is_protected_while_it_is_made(
    store: Store, tmp_path: Path, client: ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection at the same time sees the lease; it ends with the connection."""
    seen: list[frozenset[str]] = []
    real = Service._link_again

    def link(self: Service, *given: Any) -> None:
        seen.append(leased(store.root))
        real(self, *given)

    monkeypatch.setattr(Service, "_link_again", link)
    monkeypatch.setattr(views, "_may_write", lambda _store: False)

    make_view(ServedStore(store.root, client), tmp_path / "v", model())

    assert seen == [frozenset(map(sha256, BERT.values()))] * len(set(BERT.values()))
    client.close()
    until = time.monotonic() + 10
    while leased(store.root) and time.monotonic() < until:
        time.sleep(0.01)
    assert leased(store.root) == frozenset()


def test_leases_of_a_connection_add_up(store: Store, client: ServiceClient) -> None:
    client.lease(["a" * 64])
    client.lease(["b" * 64])

    assert leased(store.root) == {"a" * 64, "b" * 64}
    assert len(list((store.root / "leases").glob("*.json"))) == 1


@pytest.mark.parametrize("hashes", [None, "a" * 64, ["a"], [1], [["a" * 64]]])
def test_what_is_no_list_of_files_is_not_leased(
    store: Store, client: ServiceClient, hashes: object
) -> None:
    with pytest.raises(ServiceRefused, match="no list"):
        client._ask({"ask": "lease", "hashes": hashes})
    assert leased(store.root) == frozenset()


def test_nobody_leases_without_end(
    store: Store, client: ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_MOST_LEASED", 1)
    client.lease(["a" * 64])

    with pytest.raises(ServiceRefused, match="more than 1 files"):
        client.lease(["b" * 64])
    assert leased(store.root) == {"a" * 64}


def test_a_flood_of_connections_leaves_the_service_alive(
    store: Store, client: ServiceClient
) -> None:
    """Each costs a thread and a descriptor; beyond some, those of one user are closed at once."""
    before, held = threading.active_count(), []
    for _ in range(100):
        one = socket.socket(socket.AF_UNIX)
        with service_wire.address(store.root) as address:
            service_client._connect(one, address)
        held.append(one)

    most = service._MOST_EACH + service._TURNED_AWAY
    assert threading.active_count() <= before + most
    assert client._ask({"ask": "hello"})["version"] == service_wire.VERSION
    for one in held:
        one.close()


class Full:
    """A listener in a process that has no descriptor left, twice; then it is told to stop."""

    def __init__(self, stop: threading.Event, number: int) -> None:
        self.stop, self.number, self.asked = stop, number, 0

    def accept(self) -> None:
        self.asked += 1
        if self.asked > 2:
            self.stop.set()
            raise TimeoutError
        raise OSError(self.number, os.strerror(self.number))


def test_no_descriptor_left_is_no_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_PAUSE", 0.0)
    stop = threading.Event()
    full = Full(stop, errno.EMFILE)

    Service(store, store.root / "views", print).serve(full, stop)  # type: ignore[arg-type]

    assert full.asked == 3
    with pytest.raises(OSError, match="Bad file descriptor"):
        Service(store, store.root / "views", print).serve(
            Full(threading.Event(), errno.EBADF),  # type: ignore[arg-type]
            threading.Event(),
        )


def test_a_full_queue_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Unix socket does not queue whoever does not block: it says EAGAIN, as if nobody served."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as third:
        address = str(tmp_path / "s")
        listener.bind(address)
        listener.listen(0)
        first = socket.socket(socket.AF_UNIX)
        first.connect(address)
        third.settimeout(1)
        monkeypatch.setattr(service_client, "_CROWDED", 0.05)
        with pytest.raises(BlockingIOError):
            service_client._connect(third, address)
        monkeypatch.setattr(service_client, "_CROWDED", 10.0)
        timer = threading.Timer(0.1, _hang_up_on_one, [listener])
        timer.start()
        service_client._connect(third, address)
        timer.join()
        first.close()


def _hang_up_on_one(listener: socket.socket) -> None:
    listener.accept()[0].close()


def test_links_by_path_work_as_well(store: Store, tmp_path: Path, client: ServiceClient) -> None:
    assert ServedStore(store.root, client).link(SHA, tmp_path / "x") == "hardlink"
    assert (tmp_path / "x").samefile(store.path(SHA))


def test_the_owner_needs_no_service(store: Store, told: list[str]) -> None:
    with service_client.served(store) as linking:
        assert linking is store


def test_others_ask_it(
    store: Store, told: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Store, "is_ours", False)
    if US == 0:
        monkeypatch.setattr(service_client.os, "geteuid", lambda: 64001)

    with service_client.served(store) as linking:
        assert isinstance(linking, ServedStore)


def a_view(path: Path) -> RegisteredView:
    return RegisteredView(
        path=str(path), owner=12345, environment="e", source="/envs/e", modes={SHA: "hardlink"}
    )


def test_a_view_is_noted_under_its_real_path(
    store: Store, client: ServiceClient, tmp_path: Path, told: list[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "also").symlink_to(tmp_path / "mine")

    assert client.register(a_view(tmp_path / "mine"))

    [view] = registry.views(store.root)
    assert (view.path, view.owner) == (str(tmp_path / "mine"), US)
    assert view.source == "/envs/e"
    assert any("view" in line for line in told)
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        client.register(a_view(tmp_path / "also"))


def test_the_view_of_another_user_is_not_overwritten(
    store: Store, client: ServiceClient, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    registry.register(store.root, a_view(mine))

    with pytest.raises(ServiceRefused, match="view of user 12345"):
        client.register(a_view(mine))


def test_a_view_out_of_the_services_sight(
    store: Store, client: ServiceClient, tmp_path: Path
) -> None:
    """As in a container: the path that the kernel gives leads to something else, or nowhere."""
    mine = tmp_path / "mine"
    mine.mkdir()
    descriptor = os.open(mine, os.O_RDONLY)
    mine.rmdir()
    try:
        answer = client._ask(
            {"ask": "register", "view": {"environment": "", "layout": "hub"}}, descriptor
        )
    finally:
        os.close(descriptor)

    assert answer == {"path": None}


GOOD = {"environment": "e", "layout": "hub", "models": [], "modes": {}}
MODEL = {"repo": "a", "kind": "model", "commit": "1" * 40, "revision": "main"}


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {**GOOD, "modes": {"../x": "hardlink"}},
        {**GOOD, "modes": {SHA: "symlink"}},
        {**GOOD, "layout": "tree"},
        {**GOOD, "environment": "a\nb"},
        {**GOOD, "environment": 3},
        {**GOOD, "models": [{**MODEL, "commit": "main"}]},
        {**GOOD, "models": [{**MODEL, "kind": "file"}]},
        {**GOOD, "models": [{}]},
        {**GOOD, "models": [MODEL] * 10_001},
    ],
)
def test_what_describes_no_view_is_refused(
    client: ServiceClient, folder: int, document: Any
) -> None:
    with pytest.raises(ServiceRefused, match="describes no view"):
        client._ask({"ask": "register", "view": document}, folder)


def test_a_place_for_views(store: Store, client: ServiceClient) -> None:
    first, second = client.place("env"), client.place("env")

    assert first == second
    assert first.parent == store.root / "views" / "env"
    assert first.stat().st_uid == US


def peer(**given: Any) -> Peer:
    about: dict[str, Any] = {"pid": 1, "uid": 64001, "gid": 64001, "groups": frozenset([64001])}
    return Peer(**{**about, **given})


def test_a_folder_is_handed_over_by_an_acl(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine"
    os.chown(path, US, -1)
    monkeypatch.setattr(service.os, "geteuid", lambda: US or 0)
    if US == 0:
        monkeypatch.setattr(service.os, "fstat", _of(os.fstat(folder), 64900))
        monkeypatch.setattr(service.os, "geteuid", lambda: 64900)

    try:
        service._hand_over(folder, path, peer(), 0o755)
    except service._Refusal as refusal:
        pytest.skip(refusal.reason)

    assert [entry.id for entry in acl.read(path, default=False) if entry.tag == 2] == [64001]


def _of(found: os.stat_result, uid: int) -> Any:
    """`fstat` that says that somebody else owns what it looks at."""
    values = list(found)
    values[4] = uid
    return lambda _: os.stat_result(values)


def test_where_there_are_no_acls_a_folder_of_ones_own_is_meant(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "no")

    monkeypatch.setattr(acl, "let_in", refuse)
    monkeypatch.setattr(service.os, "geteuid", lambda: 64900)
    monkeypatch.setattr(service.os, "fstat", _of(os.fstat(folder), 64900))

    with pytest.raises(service._Refusal) as caught:
        service._hand_over(folder, tmp_path / "mine", peer(), 0o755)
    assert "name a folder of your own" in caught.value.reason


def test_a_folder_of_a_third_user_is_not_handed_over(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.os, "fstat", _of(os.fstat(folder), 64777))

    with pytest.raises(service._Refusal) as caught:
        service._hand_over(folder, tmp_path / "mine", peer(), 0o755)
    assert "belongs to user 64777" in caught.value.reason


@pytest.mark.parametrize(
    ("mode", "owner", "group", "who", "may"),
    [
        (0o755, 900, 900, {}, True),
        (0o750, 900, 900, {}, False),
        (0o750, 900, 100, {"groups": frozenset([100, 5])}, True),
        (0o705, 900, 100, {"groups": frozenset([100])}, False),
        (0o700, 64001, 1, {}, True),
        (0o700, 900, 1, {"uid": 0}, True),
    ],
)
def test_who_may_read(mode: int, owner: int, group: int, who: dict[str, Any], *, may: bool) -> None:
    values = [0o040000 | mode, 0, 0, 0, owner, group, 0, 0, 0, 0]

    assert service._may_read(os.stat_result(values), peer(**who)) is may


def test_nobody_of_some_container_is_turned_away(
    store: Store, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    real = service_wire.peer_of
    monkeypatch.setattr(
        service_wire, "peer_of", lambda end: real(end) if _is_main() else peer(uid=65534)
    )

    with pytest.raises(ServiceRefused, match="nobody on this machine"):
        service_client.connect(store.root)


def _is_main() -> bool:
    """Whether this is the client; the service has threads of its own."""
    return threading.current_thread() is threading.main_thread()


def test_a_service_of_a_stranger_is_not_asked(
    store: Store, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = service_wire.peer_of
    monkeypatch.setattr(
        service_wire,
        "peer_of",
        lambda end: peer() if _is_main() else real(end),
    )

    with pytest.raises(ServiceRefused, match="user 64001 serves it, who does not own it"):
        service_client.connect(store.root)


def test_one_service_for_one_store(store: Store, told: list[str]) -> None:
    with (
        pytest.raises(ServiceRefused, match="serves it already"),
        Service(store, store.root / "views", told.append).listening(),
    ):
        pass


def test_a_service_that_ended_is_told(store: Store) -> None:
    with serving(store):
        client = service_client.connect(store.root)
    assert client is not None
    with client, pytest.raises(ServiceRefused, match=r"has ended|does not answer"):
        client.place("env")


# --- the wire -------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair()
    for end in ends:
        end.settimeout(5)
    with ends[0], ends[1]:
        yield ends


Pair = tuple[socket.socket, socket.socket]


def test_a_message_and_a_folder_arrive(pair: Pair, folder: int) -> None:
    service_wire.send(pair[0], {"name": "ä\udcff"}, folder)

    message = service_wire.receive(pair[1])

    assert message is not None
    assert message.content == {"name": "ä\udcff"}
    [descriptor] = message.descriptors
    assert os.path.samestat(os.fstat(descriptor), os.fstat(folder))
    message.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (struct.pack("!I", 5) + b"{}", "ends in the middle"),
        (b"\0", "ends in the middle"),
        (struct.pack("!I", 2**31), "are the most"),
        (struct.pack("!I", 3) + b"{x}", "no JSON"),
        (struct.pack("!I", 2) + b"\xff\xfe", "no JSON"),
        (struct.pack("!I", 100_000) + b"[" * 100_000, "no JSON"),
        (struct.pack("!I", 2) + b"[]", "no object"),
    ],
)
def test_what_is_no_message(pair: Pair, data: bytes, reason: str) -> None:
    pair[0].sendall(data)
    pair[0].close()

    with pytest.raises(Garbled, match=reason):
        service_wire.receive(pair[1])


def test_the_end(pair: Pair) -> None:
    pair[0].close()

    assert service_wire.receive(pair[1]) is None


def test_folders_of_a_message_that_is_none_are_closed(pair: Pair, folder: int) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    socket.send_fds(pair[0], [struct.pack("!I", 2)], [folder])
    pair[0].sendall(b"[]")

    with pytest.raises(Garbled):
        service_wire.receive(pair[1])

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_who_is_there(pair: Pair) -> None:
    found = service_wire.peer_of(pair[0])

    assert (found.uid, found.gid, found.pid) == (os.geteuid(), os.getegid(), os.getpid())
    assert found.groups >= {os.getegid()}
    assert found.is_known


@pytest.mark.parametrize("number", [errno.ENOPROTOOPT, errno.ERANGE])
def test_groups_that_the_kernel_does_not_tell(pair: Pair, number: int) -> None:
    class Old:
        def getsockopt(self, *_: int) -> bytes:
            raise OSError(number, "no")

    assert os.getegid() in service_wire._groups(Old(), os.geteuid(), os.getegid())  # type: ignore[arg-type]


def test_a_long_path_has_a_socket_too(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)
    store = store_with(deep / "store", WEIGHTS)

    with serving(store):
        client = service_client.connect(store.root)
        assert client is not None
        client.close()
