"""A store that several users share: real user ids, `fs.protected_hardlinks` on.

Needs root, to become others. Children are this interpreter under another uid.
"""

from __future__ import annotations

import grp
import json
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from fakes.forks import Done, Forks
from fakes.readable_python import variables
from fakes.viewing import BERT, WEIGHTS, model, sha256

from envforge.adapters.store import acl
from envforge.adapters.store.store import Store
from envforge.adapters.store.trees import registry
from envforge.forge.caching import checking
from envforge.formats.models import models_lock_yml, models_yml
from envforge.model.health import Flaw
from envforge.model.models import ModelsLock

ADA, BOB, EVE, OWNER = 64001, 64002, 64003, 64900
GROUP = next((item for item in grp.getgrall() if item.gr_gid == 100), grp.getgrall()[-1])
"""A group with a name, which `--group` needs; ADA and BOB are in it, EVE is not."""
MEMBERS = {ADA, BOB, OWNER}
SHA = sha256(WEIGHTS)
NAME = "p-torch27-cu126"
_PROGRAM = "from envforge.cli import main; main(sys.argv[1:])"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users"),
    pytest.mark.skipif(
        Path("/proc/sys/fs/protected_hardlinks").read_text(encoding="ascii").strip() != "1"
        if Path("/proc/sys/fs/protected_hardlinks").exists()
        else True,
        reason="fs.protected_hardlinks is off",
    ),
]


def as_user(uid: int, *command: str, **more: Any) -> subprocess.Popen[str]:
    """Start a program as somebody else."""
    return subprocess.Popen(
        command,
        user=uid,
        group=uid,
        extra_groups=[GROUP.gr_gid] if uid in MEMBERS else [],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        **more,
    )


@dataclass
class World:
    """A folder that everybody may pass through, with a store and an environment."""

    root: Path
    python: Path
    others: Forks
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def view(self) -> Path:
        return self.store / "views" / "env" / str(ADA) / NAME

    def environment(self, uid: int) -> dict[str, str]:
        home = self.root / f"home-{uid}"
        if not home.exists():
            home.mkdir()
            os.chown(home, uid, uid)
        return {
            "HOME": str(home),
            **variables(self.python),
            "ENVFORGE_STORE": str(self.store),
            "ENVFORGE_ENVS": str(self.root / "envs"),
        }

    def run(self, uid: int, *command: str) -> Done:
        """To the end; what is not `-c CODE` is a command of envforge."""
        code, given = (command[1], command[2:]) if command[0] == "-c" else (_PROGRAM, command)
        groups = [GROUP.gr_gid] if uid in MEMBERS else []
        return self.others.run(code, *given, env=self.environment(uid), uid=uid, groups=groups)

    def fill(self) -> None:
        """Put the files in, as the store's owner."""
        owner = self.store.stat().st_uid
        store = Store(self.store)
        for data in BERT.values():
            part = self.store / "parts" / "made-here"
            part.write_bytes(data)
            path = store.insert(part, sha256(data))
            for made in (path.parent, path):
                os.chown(made, owner, self.store.stat().st_gid)

    def lock(self) -> None:
        folder = self.root / "envs" / NAME
        folder.mkdir(parents=True)
        locked = model()
        text = f"models:\n  - {locked.repo.id}\n"
        assert models_yml.read(text, "models.yml").requests == (locked.request,)
        (folder / "environment.yml").write_text(f"name: {NAME}\n")
        (folder / "models.yml").write_text(text)
        lock = models_lock_yml.write(ModelsLock(models=(locked,)))
        (folder / "models-lock.yml").write_text(lock)

    def serve(self, uid: int) -> subprocess.Popen[str]:
        """A service, once it answers."""
        command = (str(self.python), "-m", "envforge", "cache", "serve")
        child = as_user(uid, *command, env=self.environment(uid))
        self.children.append(child)
        deadline = time.monotonic() + 20
        while not (self.store / "serve.sock").exists():
            assert child.poll() is None, child.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return child

    def stop(self) -> None:
        for child in self.children:
            child.terminate()
            child.communicate(timeout=20)


@pytest.fixture
def world(open_folder: Path, open_python: Path, others: Forks) -> Iterator[World]:
    made = World(open_folder, open_python, others)
    yield made
    made.stop()


def init(world: World, uid: int, *, group: bool = True) -> None:
    if uid:
        world.store.mkdir()
        os.chown(world.store, uid, GROUP.gr_gid)
        world.store.chmod(0o755)
    done = world.run(uid, "cache", "init", *(["--group", GROUP.gr_name] if group else []))
    assert done.status == 0, done.err
    world.fill()
    world.lock()


@pytest.fixture(params=[0, OWNER], ids=["root", "owner"])
def served(request: pytest.FixtureRequest, world: World) -> World:
    """A group's store, served by root, or by an ordinary user who owns it."""
    init(world, request.param)
    world.serve(request.param)
    return world


def make_view(world: World, uid: int = ADA) -> dict[str, Any]:
    done = world.run(uid, "cache", "view", NAME, "--json")
    assert done.status == 0, done.err + done.out
    [result] = json.loads(done.out)["views"]
    return dict(result)


# --- a store of a group ---------------------------------------------------------------------


def test_members_read_nobody_else_enters(world: World) -> None:
    init(world, 0)
    read = f"open({str(Store(world.store).path(SHA))!r}, 'rb').read()"

    assert world.run(ADA, "-c", read).status == 0
    assert "PermissionError" in world.run(EVE, "-c", read).err
    assert stat.S_IMODE(world.store.stat().st_mode) == 0o2750


ATTACKS = (
    "open(path, 'ab')",
    "os.chmod(path, 0o666)",
    "os.unlink(path)",
    "os.rename(path, path + '.x')",
    "os.link(path, os.path.expanduser('~/mine'))",
    "open(os.path.dirname(path) + '/x', 'w')",
    "os.symlink('/etc/passwd', store + '/index/x')",
    "os.mkdir(store + '/views/env')",
    "open(store + '/leases/x.json', 'w')",
)


def test_members_change_nothing(world: World) -> None:
    init(world, 0)
    path = Store(world.store).path(SHA)
    code = (
        f"import os\npath, store = {str(path)!r}, {str(world.store)!r}\n"
        f"for attack in {ATTACKS!r}:\n"
        "    try: exec(attack)\n"
        "    except PermissionError: print('refused')\n"
        "    else: print('done:', attack)"
    )

    assert world.run(ADA, "-c", code).out.splitlines() == ["refused"] * len(ATTACKS)
    assert path.read_bytes() == WEIGHTS


def test_a_strict_umask_closes_nothing(world: World) -> None:
    """Folders and files of the store are as open as the store, whatever the owner's umask is."""
    code = "import os, sys; os.umask(0o077); from envforge.cli import main; main(sys.argv[1:])"
    done = world.run(0, "-c", code, "cache", "init", "--group", GROUP.gr_name)
    assert done.status == 0, done.err
    before = os.umask(0o077)
    try:
        world.fill()
        Store(world.store).name("1" * 40, SHA)
    finally:
        os.umask(before)

    found = Store(world.store).named("1" * 40)
    assert found == SHA
    code = (
        "from envforge.adapters.store.store import Store; from pathlib import Path;"
        f"s = Store.open(Path({str(world.store)!r})); print(s.named('1' * 40));"
        f"s.path({SHA!r}).read_bytes()"
    )
    done = world.run(ADA, "-c", code)
    assert done.out.strip() == SHA, done.err


def test_a_group_of_others_is_refused(world: World) -> None:
    world.store.mkdir()
    os.chown(world.store, EVE, EVE)

    done = world.run(EVE, "cache", "init", "--group", GROUP.gr_name)

    assert done.status == 2
    assert "is none of yours" in done.err


def test_a_store_of_somebody_else_cannot_be_opened_to_a_group(world: World) -> None:
    init(world, 0, group=False)

    done = world.run(ADA, "cache", "init", "--group", GROUP.gr_name)

    assert done.status == 2
    assert "belongs to user 0" in done.err


def test_a_store_below_a_folder_of_another_user_is_refused(world: World) -> None:
    world.root.chmod(0o755)
    os.chown(world.root, EVE, EVE)

    done = world.run(0, "cache", "init")

    assert done.status == 6
    assert f"belongs to user {EVE}, who could swap it" in done.err


# --- views through the service --------------------------------------------------------------


def test_a_user_gets_hardlinks(served: World) -> None:
    result = make_view(served)

    blob = served.view / "models--org--bert" / "blobs" / SHA
    assert result["modes"] == {"hardlink": 3}
    assert blob.stat().st_ino == Store(served.store).path(SHA).stat().st_ino
    assert {path.lstat().st_uid for path in blob.parents[2].rglob("*") if path.is_dir()} == {ADA}
    [view] = registry.views(served.store)
    assert (view.path, view.owner, view.environment) == (str(served.view), ADA, NAME)
    assert set(view.modes.values()) == {"hardlink"}
    assert not [path for path in served.view.rglob("*") if "inbox" in path.name]


def test_a_user_owns_the_view_and_not_the_files(served: World) -> None:
    make_view(served)
    blob = served.view / "models--org--bert" / "blobs" / SHA
    snapshot = next(served.view.glob("models--org--bert/snapshots/*"))

    written = served.run(ADA, "-c", f"open({str(blob)!r}, 'ab')")
    added = served.run(ADA, "-c", f"open({str(snapshot / 'new.txt')!r}, 'w').write('mine')")
    moved = served.run(
        ADA, "-c", f"open({str(served.view / 'models--org--bert/refs/main')!r}, 'w').write('x')"
    )
    removed = served.run(ADA, "-c", f"import os; os.unlink({str(blob)!r})")

    assert "PermissionError" in written.err
    assert (added.status, moved.status, removed.status) == (0, 0, 0)
    assert Store(served.store).path(SHA).read_bytes() == WEIGHTS


def test_a_second_run_finds_everything_there(served: World) -> None:
    make_view(served)

    assert make_view(served)["placed"] == 0


def test_two_users_each_have_their_own(served: World) -> None:
    make_view(served, ADA)
    make_view(served, BOB)

    assert {view.owner for view in registry.views(served.store)} == {ADA, BOB}
    spying = served.run(BOB, "-c", f"open({str(served.view / 'models--org--bert/refs/x')!r}, 'w')")
    assert "PermissionError" in spying.err


def test_eight_views_at_once(served: World) -> None:
    places = [served.root / f"home-{ADA}" / f"view-{number}" for number in range(8)]
    environment = served.environment(ADA)
    children = [
        as_user(
            ADA,
            *(str(served.python), "-m", "envforge", "cache", "view", str(path)),
            *("--env", NAME, "--json"),
            env=environment,
        )
        for path in places
    ]
    for child in children:
        _, err = child.communicate(timeout=60)
        assert child.returncode == 0, err

    assert Store(served.store).path(SHA).stat().st_nlink == 9
    assert len(registry.views(served.store)) == 8


def test_who_may_not_read_the_store_gets_nothing(served: World) -> None:
    done = served.run(EVE, "cache", "view", NAME)

    assert done.status != 0
    assert Store(served.store).path(SHA).stat().st_nlink == 1


_TALK = """
import os, sys, socket
from pathlib import Path
from envforge.adapters.store.serving import service_wire, service_client
from envforge.errors import EnvforgeError
store, sha = Path(sys.argv[1]), sys.argv[2]
folder = lambda path: os.open(path, os.O_RDONLY)
client = service_client.connect(store)
def ask(content, descriptor=-1):
    try:
        print(client._ask(content, descriptor))
    except EnvforgeError as error:
        print(error)
"""


def talk(world: World, code: str, uid: int = ADA) -> str:
    done = world.run(uid, "-c", _TALK + code, str(world.store), SHA)
    assert done.status == 0, done.err
    return done.out


REFUSED = {
    "ask({'ask': 'link', 'sha256': sha, 'name': 'x'}, folder('/tmp'))": "belongs to user 0",
    "ask({'ask': 'link', 'sha256': sha, 'name': 'x'})": "no folder came with it",
    "ask({'ask': 'link', 'sha256': sha, 'name': '../x'}, home)": "no name of a file",
    "ask({'ask': 'link', 'sha256': sha, 'name': '..'}, home)": "no name of a file",
    "ask({'ask': 'link', 'sha256': '../serve.lock', 'name': 'x'}, home)": "no sha256",
    "ask({'ask': 'link', 'sha256': sha, 'name': 'x'}, file)": "is no folder",
    "ask({'ask': 'place', 'kind': '../../etc'})": "neither `env` nor `user`",
    "ask({'ask': 'register', 'view': {}}, folder('/tmp'))": "belongs to user 0",
    "ask({'ask': 'register', 'view': [1]}, home)": "describes no view",
    "ask({'ask': 'everything'})": "nothing that is done here",
}


def test_the_service_does_nothing_else(served: World) -> None:
    code = (
        "home = folder(Path.home()); p = Path.home() / 'file'; p.touch(); file = folder(p)\n"
        + "\n".join(REFUSED)
    )

    for said, refusal in zip(talk(served, code).splitlines(), REFUSED.values(), strict=True):
        assert refusal in said
    assert registry.views(served.store) == ()
    assert Store(served.store).path(SHA).stat().st_nlink == 1


def test_a_link_out_of_the_views_folder_is_not_followed(served: World) -> None:
    target = served.root / "elsewhere"
    target.mkdir()
    (served.store / "views" / "env").mkdir(exist_ok=True)
    (served.store / "views" / "env" / str(ADA)).symlink_to(target)

    said = talk(served, "ask({'ask': 'place', 'kind': 'env'})")

    assert "no service for" in said
    assert target.stat().st_uid == 0


def test_views_that_others_may_write_are_no_place(served: World) -> None:
    (served.store / "views" / "env").mkdir(exist_ok=True)
    (served.store / "views" / "env").chmod(0o777)

    assert "not safe" in talk(served, "ask({'ask': 'place', 'kind': 'env'})")


def test_a_users_own_folder_gets_the_real_files_errors(served: World) -> None:
    code = (
        "f = folder(Path.home()); os.chmod(f, 0o1777);"
        "ask({'ask': 'link', 'sha256': sha, 'name': 'w'}, f);"
        "ask({'ask': 'link', 'sha256': sha, 'name': 'w'}, f);"
        "ask({'ask': 'link', 'sha256': 'f' * 64, 'name': 'v'}, f)"
    )

    answers = talk(served, code).splitlines()

    assert answers == ["{'errno': 0}", "{'errno': 17}", "{'errno': 2}"]


def test_garbage_ends_a_conversation_and_nothing_else(served: World) -> None:
    code = (
        "s = socket.socket(socket.AF_UNIX)\n"
        "with service_wire.address(store) as a: s.connect(a)\n"
        "s.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n')\n"
        "try: print(s.recv(10))\n"
        "except ConnectionResetError: print('hung up')\n"
        "s.close(); client.close(); client = service_client.connect(store)\n"
        "ask({'ask': 'hello'})"
    )

    assert "'version': 1" in talk(served, code)


def test_one_user_cannot_take_all_connections(served: World) -> None:
    code = (
        "held = [client]\n"
        "try:\n"
        "    while len(held) < 20: held.append(service_client.connect(store))\n"
        "except EnvforgeError as error: print(len(held), error)"
    )

    said = talk(served, code)

    assert said.startswith("8 ")
    assert "too many connections" in said


# --- the service itself ---------------------------------------------------------------------


def test_without_a_service_views_are_copies_and_say_so(world: World) -> None:
    init(world, 0)
    place = world.root / f"home-{ADA}" / "view"

    done = world.run(ADA, "cache", "view", str(place), "--env", NAME, "--json")

    [result] = json.loads(done.out)["views"]
    assert "hardlink" not in result["modes"]
    assert "protected_hardlinks" in result["why_copied"]
    blob = place / "models--org--bert" / "blobs" / SHA
    assert blob.read_bytes() == WEIGHTS


def test_a_second_service_is_refused(served: World) -> None:
    uid = served.store.stat().st_uid

    done = served.run(uid, "cache", "serve")

    assert done.status == 6
    assert "serves it already" in done.err


@pytest.mark.parametrize("uid", [ADA, 0])
def test_only_the_owner_serves(world: World, uid: int) -> None:
    init(world, OWNER)

    done = world.run(uid, "cache", "serve")

    assert done.status == 6
    assert f"belongs to user {OWNER}" in done.err


def test_a_killed_service_is_replaced(world: World) -> None:
    init(world, OWNER)
    child = world.serve(OWNER)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert (world.store / "serve.sock").exists()
    (world.store / "serve.sock").rename(world.store / "old.sock")

    world.serve(OWNER)

    assert make_view(world)["modes"] == {"hardlink": 3}


def test_a_service_ends_when_told(world: World) -> None:
    init(world, OWNER)
    child = world.serve(OWNER)

    child.terminate()
    _, err = child.communicate(timeout=20)

    assert child.returncode == 0, err
    assert not (world.store / "serve.sock").exists()


def test_a_user_killed_while_linking_leaves_no_inbox(world: World) -> None:
    init(world, OWNER)
    world.serve(OWNER)
    place = world.root / f"home-{ADA}" / "view"
    code = (
        "import os, signal, sys\n"
        "from envforge.adapters.store.serving import service_client\n"
        "service_client.ServiceClient._check = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from envforge.cli import main\n"
        f"main(['cache', 'view', {str(place)!r}, '--env', {NAME!r}])"
    )
    killed = world.run(ADA, "-c", code)
    assert killed.status == -signal.SIGKILL
    assert list(place.rglob("*inbox*"))

    done = world.run(ADA, "cache", "view", str(place), "--env", NAME, "--json")

    assert done.status == 0, done.err
    assert not list(place.rglob("*inbox*"))


def test_what_somebody_puts_into_the_inbox_is_not_taken(world: World) -> None:
    """The inbox is open to all for a moment: only an inode of the store is moved on."""
    init(world, OWNER)
    world.serve(OWNER)
    code = (
        "import errno\n"
        "home = folder(Path.home())\n"
        "inbox = client._open_inbox(home)\n"
        "fake = os.open('w', os.O_CREAT | os.O_WRONLY, dir_fd=inbox); os.write(fake, b'evil')\n"
        "real = client._linked\n"
        "client._linked = lambda *_: None\n"
        "try: client.link(sha, 'w', home)\n"
        "except EnvforgeError as error: print(error)\n"
        "client._linked = real\n"
        "client.link(sha, 'w', home); print(os.stat('w', dir_fd=home).st_nlink)\n"
        "try: client.link(sha, 'w', home)\n"
        "except FileExistsError: print('exists')"
    )

    first, second, third = talk(world, code).splitlines()

    assert "is no file of the store" in first
    assert (second, third) == ("2", "exists")


def test_a_folder_by_acl_is_only_the_users(world: World) -> None:
    init(world, OWNER)
    world.serve(OWNER)

    make_view(world)

    above = world.view.parent
    assert above.stat().st_uid == OWNER
    assert [e.id for e in acl.read(above, default=False) if e.tag == 2] == [ADA]
    bob = world.run(BOB, "-c", f"open({str(above / 'x')!r}, 'w')")
    assert "PermissionError" in bob.err


def test_a_member_can_verify_and_not_repair(served: World) -> None:
    make_view(served, BOB)
    (served.store / "views" / "env" / str(BOB)).chmod(0o700)

    done = served.run(ADA, "cache", "verify", "--deep", "--json")
    repair = served.run(ADA, "cache", "verify", "--repair")

    document = json.loads(done.out)
    assert done.status == 0, document["flaws"]
    assert (document["files"], document["views"], document["locks"]) == (3, 1, [NAME])
    assert [flaw["kind"] for flaw in document["flaws"]] == ["unseen"]
    assert repair.status == 6
    assert "error:" in repair.err


# --- what the doctor says to a user ---------------------------------------------------------


def test_the_doctor_sees_whether_hardlinks_are_to_be_had(world: World) -> None:
    init(world, OWNER)

    def verdict() -> str:
        done = world.run(ADA, "cache", "doctor", "--no-speed", "--json")
        checks = {item["check"]: item for item in json.loads(done.out)["checks"]}
        return str(checks["owner-links"]["verdict"])

    assert verdict() == "failed"
    world.serve(OWNER)
    assert verdict() == "passed"


def test_the_doctor_finds_locks_of_another_user(world: World) -> None:
    init(world, 0)
    home = Path(world.environment(ADA)["HOME"])
    lock = home / ".cache/huggingface/hub/.locks/models--org--bert/x.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()

    done = world.run(ADA, "cache", "doctor", "--no-speed")

    assert done.status == 1
    assert "belong to another user" in done.out


# --- who owns the store is not root, and not who uses it ------------------------------------


def test_what_the_collector_may_not_look_at_stays(world: World) -> None:
    """A user closed their folders after the store was filled for them: nothing was deleted."""
    init(world, OWNER, group=False)
    ours = world.root / "envs" / NAME / "models-lock.yml"
    theirs = world.root / "ada" / "envs" / "e" / ours.name
    view = world.root / "ada" / "views" / "v"
    for folder in (theirs.parent, view):
        folder.mkdir(parents=True)
    shutil.move(ours, theirs)
    shutil.rmtree(world.root / "envs")
    locked = {sha256(data) for data in BERT.values()} - {SHA}
    code = (
        "from pathlib import Path\n"
        "from envforge.adapters.store.removing import known_locks\n"
        "from envforge.adapters.store.trees import registry\n"
        "from envforge.model.views import RegisteredView\n"
        f"store = Path({str(world.store)!r})\n"
        f"known_locks.remember(store, Path({str(theirs)!r}), {sorted(locked)!r})\n"
        f"made = RegisteredView(path={str(view)!r}, owner={ADA}, environment='e', models=(),"
        f" modes={{{SHA!r}: 'copy'}})\n"
        "registry.register(store, made)\n"
    )
    done = world.run(OWNER, "-c", code)
    assert done.status == 0, done.err
    for folder in (theirs.parent, view.parent):
        os.chown(folder, ADA, ADA)
        folder.chmod(0o700)

    done = world.run(OWNER, "cache", "gc", "--older-than", "0")

    assert done.status == 0, done.err
    assert {entry.name for entry in Store(world.store).blobs()} == {*locked, SHA}
    assert [known.path for known in registry.views(world.store)] == [str(view)]
    assert "out of sight" in done.out


def test_a_link_of_the_owners_does_not_steer_root(world: World) -> None:
    """The name of a view's lock file can be known beforehand, and root empties what it locks."""
    init(world, OWNER, group=False)
    victim = world.root / "victim"
    victim.write_text("secret")
    victim.chmod(0o600)
    path = world.store / "views" / "env" / "root" / NAME
    lock = registry.file_of(world.store, str(path)).with_suffix(".lock")
    lock.parent.mkdir()
    os.chown(lock.parent, OWNER, OWNER)
    lock.symlink_to(victim)

    refused = world.run(0, "cache", "view", NAME)
    lock.unlink()
    made = world.run(0, "cache", "view", NAME)

    assert refused.status == 7, refused.err
    assert (victim.read_text(), victim.stat().st_mode & 0o777) == ("secret", 0o600)
    assert made.status == 0, made.err
    assert {file.stat().st_uid for file in lock.parent.iterdir()} == {OWNER}


@pytest.mark.parametrize("kind", ["writable", "unreadable"])
def test_what_root_mends_is_the_owners(
    world: World, kind: Literal["writable", "unreadable"]
) -> None:
    """Between the look and the mending, which may take hours, they put a link there."""
    init(world, OWNER, group=False)
    victim = world.root / "victim"
    victim.write_text("secret")
    victim.chmod(0o600)
    store = Store(world.store)
    store.path(SHA).unlink()
    store.path(SHA).symlink_to(victim)
    mending = checking._Mending(None, None, store, None)  # type: ignore[arg-type]

    mending._set_right(Flaw(kind=kind, path=str(store.path(SHA)), message=""))

    assert victim.stat().st_mode & 0o777 == 0o600
    assert "permitted" in mending.notes[0]
