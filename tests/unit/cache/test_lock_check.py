"""Whether source and lock agree, and what moved."""

from __future__ import annotations

from dataclasses import replace

from envforge.cache import lock_check
from envforge.formats.models import model_spec
from envforge.model.models import FileChange, LockedModel, ModelChange, ModelFile, ModelsLock, Repo

A, B = "a" * 40, "b" * 40


def file(path: str, content: int = 1) -> ModelFile:
    return ModelFile(path=path, size=content, sha256=f"{content:064x}", blob=f"{content:040x}")


def locked(word: str, commit: str = A, *files: ModelFile) -> LockedModel:
    return LockedModel(
        request=model_spec.parse(word), commit=commit, files=files or (file("config.json"),)
    )


def lock(*models: LockedModel) -> ModelsLock:
    return ModelsLock(models=models)


def disagreements(words: list[str], *models: LockedModel) -> tuple[str, ...]:
    return lock_check.disagreements(map(model_spec.parse, words), lock(*models))


def test_they_agree() -> None:
    assert disagreements(["gpt2", "org/b@v1"], locked("org/b@v1"), locked("gpt2")) == ()
    assert disagreements([]) == ()


def test_one_is_missing_and_one_too_many() -> None:
    assert disagreements(["gpt2@v2"], locked("gpt2")) == (
        "`gpt2@v2` is not locked",
        "`gpt2@main` is locked, but not asked for",
    )


def test_other_patterns() -> None:
    assert disagreements(["gpt2:tokenizer-only"], locked("gpt2")) == (
        "`gpt2@main` asks for other files than were locked",
    )


def test_a_commit_that_was_asked_for() -> None:
    assert disagreements(["gpt2@aaaaaaa"], locked("gpt2@aaaaaaa", A)) == ()
    assert disagreements(["gpt2@aaaaaaa"], locked("gpt2@aaaaaaa", B)) == (
        "`gpt2@aaaaaaa` is locked to another commit, bbbbbbbbbbbb",
    )


def test_files_that_the_patterns_leave_out() -> None:
    """As after an edit of the lock, or when `tokenizer-only` comes to mean less."""
    files = [file(f"{name}.bin") for name in "abcde"]

    [said] = disagreements(["gpt2:tokenizer-only"], locked("gpt2:tokenizer-only", A, *files))

    assert said == (
        "`gpt2@main`: its patterns leave out `a.bin`, `b.bin`, `c.bin` and 2 more, which are locked"
    )


def test_a_model_without_files() -> None:
    empty = replace(locked("gpt2"), files=())

    assert disagreements(["gpt2"], empty) == ("`gpt2@main` is locked without a single file",)


def test_nothing_moved() -> None:
    assert lock_check.compare(lock(locked("gpt2")), lock(locked("gpt2"))) == ()


def test_what_moved_came_and_went() -> None:
    before = lock(locked("gpt2", A, file("a", 1), file("b", 2), file("c", 3)), locked("old"))
    after = lock(locked("gpt2", B, file("a", 1), file("b", 5), file("d", 4)), locked("new"))

    gpt2, new, old = lock_check.compare(before, after)

    assert gpt2 == ModelChange(
        repo=Repo(id="gpt2"),
        revision="main",
        before=A,
        after=B,
        files=(
            FileChange(path="b", before=2, after=5),
            FileChange(path="c", before=3, after=None),
            FileChange(path="d", before=None, after=4),
        ),
    )
    assert (new.repo.id, new.before, new.after) == ("new", "", A)
    assert (old.repo.id, old.before, old.after) == ("old", A, "")
    assert old.files == (FileChange(path="config.json", before=1, after=None),)


def test_a_commit_that_touched_no_file_of_ours_is_a_move() -> None:
    [change] = lock_check.compare(lock(locked("gpt2", A)), lock(locked("gpt2", B)))

    assert (change.before, change.after, change.files) == (A, B, ())
