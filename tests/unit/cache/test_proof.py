"""What a watched load proves, and what not."""

from __future__ import annotations

from dataclasses import replace

from envforge.cache.proof import problems
from envforge.model.models import Repo
from envforge.model.proof import LoadRun, ProvenFile

REPO = Repo(id="org/name")
RUN = LoadRun(cold=True, status=0, seconds=2.0, load_seconds=1.0)
FILE = ProvenFile(
    path="model.safetensors", size=10, sha256="a" * 64, origin="hardlink", inode=7, opened=True
)


def messages(
    files: tuple[ProvenFile, ...] = (FILE,), runs: tuple[LoadRun, ...] = (RUN,)
) -> list[str]:
    return [message for message, _ in problems(REPO, "nlp", files, runs)]


def test_files_of_the_store_and_no_calls_are_a_proof() -> None:
    assert messages() == []
    assert messages((FILE, replace(FILE, path="README.md", opened=False))) == []


def test_links_that_are_copies_are_a_proof_as_well() -> None:
    """The view's record says that they are the store's bytes; `scan` says what they cost."""
    assert messages((replace(FILE, origin="reflink"), replace(FILE, origin="copy"))) == []


def test_a_file_that_came_from_elsewhere() -> None:
    other = replace(FILE, origin="elsewhere")

    assert messages((other,)) == ["`model.safetensors` in the view is not the store's"]
    assert messages((other, replace(other, path="b")))[0].endswith(
        "in the view are not the store's"
    )


def test_files_that_are_missing_are_counted_where_there_are_many() -> None:
    gone = tuple(replace(FILE, path=f"{n}.bin", origin="missing", inode=None) for n in range(5))

    [(message, remedy), *_] = problems(REPO, "nlp", (*gone, FILE), (RUN,))

    assert message == "the view lacks `0.bin`, `1.bin`, `2.bin` and 2 more"
    assert remedy == "envforge cache prefill nlp"


def test_a_call_is_named_once_though_both_runs_made_it() -> None:
    called = replace(RUN, calls=("192.0.2.1:443",))

    [message] = messages(runs=(called, called))

    assert message == "it tried to reach `192.0.2.1:443`, and was refused"


def test_a_failure_comes_with_the_end_of_what_was_written() -> None:
    failed = replace(RUN, status=1, output="\n".join(f"line {n}" for n in range(20)))

    [message] = messages((replace(FILE, opened=False),), (failed,))

    assert message.startswith("the program failed (1):\n  line 12")
    assert messages(runs=(replace(RUN, status=-9),)) == ["the program failed (-9)"]


def test_reading_nothing_proves_nothing() -> None:
    assert messages((replace(FILE, opened=False),)) == ["it opened no file of org/name"]


def test_another_cache_is_told() -> None:
    strange = replace(RUN, strangers=("/home/u/.cache/huggingface/hub/models--a--b/blobs/c",))

    [(message, remedy)] = problems(REPO, "nlp", (FILE,), (strange,))

    assert "which is not of the store" in message
    assert remedy is not None
    assert "cache_dir" in remedy
