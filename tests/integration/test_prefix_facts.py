"""Reading prefixes that lie on disk."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import pytest
from fakes.facts import LOCKED, locked
from fakes.prefix_on_disk import SITE, add_record, add_wheel, forge_prefix

from envforge.adapters.prefix.prefix_facts import read_prefix
from envforge.errors import FileNotUsable
from envforge.model.prefix import PrefixState
from envforge.verify.facts import PrefixFacts

TORCH = {"__version__": "2.0.1", "cuda": "11.8", "git_version": "e9ebda2", "hip": None}


def read(prefix: Path, **environment: str) -> PrefixFacts:
    return read_prefix(prefix, state=PrefixState.INSTALLED, environment=environment)


@pytest.fixture
def forged(tmp_path: Path) -> Path:
    return forge_prefix(tmp_path / "prefix", LOCKED, torch=TORCH)


def test_a_whole_prefix(forged: Path) -> None:
    """Packages of both managers, torch by its files, and who names cuDNN."""
    facts = read(forged)

    assert [item.name for item in facts.conda] == ["numpy", "python", "pytorch"]
    assert facts.conda[0].sha256 == "0" * 64
    assert [(item.name, item.version) for item in facts.wheels] == [("einops", "0.8.0")]
    assert facts.broken_metadata == ()
    assert facts.interpreter == str(forged / "bin" / "python")
    assert facts.torch is not None
    assert (facts.torch.version, facts.torch.cuda, facts.torch.git) == ("2.0.1", "11.8", "e9ebda2")
    assert facts.torch.has_cuda_library
    assert facts.cudnn[0].version == "8.7.0"
    assert facts.libraries["libtorch_cpu.so"] == f"{SITE}/torch/lib"
    assert "torch" in facts.modules
    assert facts.damaged == ()


def test_a_shut_folder_is_no_empty_one(forged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the system is asked to say no in its place."""
    shut = forged / "lib" / Path(SITE).parts[1]
    listing = os.listdir

    def listed(path: str | Path) -> list[str]:
        if Path(path) == shut:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return listing(path)

    monkeypatch.setattr(os, "listdir", listed)

    with pytest.raises(FileNotUsable, match=shut.name):
        read(forged)


def test_records_nested_without_end(forged: Path) -> None:
    (forged / "conda-meta" / "deep-1-0.json").write_text("[" * 200_000)

    assert any("deep-1-0" in line for line in read(forged).broken_metadata)


def test_records_that_cannot_be_read_are_named(forged: Path) -> None:
    """Cut off, not JSON, without a name, or not permitted."""
    [numpy] = forged.glob("conda-meta/numpy-*.json")
    numpy.write_bytes(numpy.read_bytes()[:-40])
    (forged / "conda-meta" / "odd.json").write_text("[1]")
    (forged / "conda-meta" / "bare.json").write_text("{}")
    (forged / "conda-meta" / "folder.json").mkdir()

    facts = read(forged)

    assert len(facts.broken_metadata) == 4
    assert "numpy" not in [item.name for item in facts.conda]
    assert any("numpy-1.26.4" in line for line in facts.broken_metadata)


def test_records_in_one_line_are_read_too(forged: Path) -> None:
    """Some tools write them without indentation."""
    [numpy] = forged.glob("conda-meta/numpy-*.json")
    numpy.write_text(json.dumps(json.loads(numpy.read_text())))
    assert [item.version for item in read(forged).conda if item.name == "numpy"] == ["1.26.4"]


def test_leftovers_in_site_packages_are_named(forged: Path) -> None:
    """What an interrupted pip leaves."""
    site = forged / SITE
    (site / "~orch").mkdir()
    (site / "bad.dist-info").mkdir()
    (site / "empty-1.0.dist-info").mkdir()
    add_wheel(forged, "einops", "0.7.0")

    broken = read(forged).broken_metadata

    assert len(broken) == 4
    assert any(line.startswith("~orch") for line in broken)
    assert any("two versions of one name" in line for line in broken)
    assert any("has no METADATA" in line for line in broken)


def test_a_conda_packages_own_dist_info_is_no_wheel(forged: Path) -> None:
    """Whichever installer it names."""
    add_wheel(forged, "rich", "13.7.1", installer="pip")
    add_record(
        forged, locked("rich", "13.7.1"), {"site-packages/rich-13.7.1.dist-info/METADATA": 10}
    )
    assert [item.name for item in read(forged).wheels] == ["einops"]


def test_a_wheel_over_a_conda_package_is_seen(forged: Path) -> None:
    """`pip install numpy` in a conda environment."""
    add_wheel(forged, "numpy", "2.1.0", installer="pip")
    facts = read(forged)
    assert ("numpy", "2.1.0") in [(item.name, item.version) for item in facts.wheels]


def test_shared_objects_are_compared_in_size(forged: Path) -> None:
    """Those of torch and the CUDA libraries, of both managers."""
    lib = forged / "lib"
    (lib / "libcudnn.so.8.7.0").write_bytes(b"x" * 10)
    (lib / "libcudnn.so.8").symlink_to("libcudnn.so.8.7.0")
    add_record(
        forged,
        locked("cudnn", "8.7.0"),
        {"lib/libcudnn.so.8.7.0": 12, "lib/libgone.so.8": 5, "lib/readme.txt": 3},
    )
    add_wheel(
        forged, "nvidia-cublas-cu11", "11.10", {"torch/lib/libtorch_cpu.so": 4, "a/b.so.1": 9}
    )

    damaged = {item.path: (item.recorded, item.found) for item in read(forged).damaged}

    assert damaged == {
        "lib/libcudnn.so.8.7.0": (12, 10),
        "lib/libgone.so.8": (5, None),
        f"{SITE}/a/b.so.1": (9, None),
    }


def test_every_witness_of_cudnn(forged: Path) -> None:
    """The build's own name for it counts most, a header least."""
    (forged / "lib" / "libcudnn.so.8.9.2").touch()
    add_record(forged, locked("cudnn", "8.9.7.29"))
    add_record(forged, locked("libcudnn", "8.9.7.30"))
    add_wheel(forged, "nvidia-cudnn-cu11", "8.5.0.96")
    header = forged / SITE / "nvidia" / "cudnn" / "include" / "cudnn_version.h"
    header.parent.mkdir(parents=True)
    header.write_text("#define CUDNN_MAJOR 8\n#define CUDNN_MINOR 5\n#define CUDNN_PATCHLEVEL 0\n")

    seen = [(item.version, item.witness.split()[0]) for item in read(forged).cudnn]

    assert seen == [
        ("8.7.0", "build"),
        ("8.9.7.30", "conda"),
        ("8.9.7.29", "conda"),
        ("8.5.0.96", "wheel"),
        ("8.9.2", "lib/libcudnn.so.8.9.2"),
        ("8.5.0", f"{SITE}/nvidia/cudnn/include/cudnn_version.h"),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [("import os\n", "assigns no"), (None, "no such file"), ("(", "not Python")],
)
def test_a_version_file_that_says_nothing(forged: Path, text: str | None, problem: str) -> None:
    """Is told, not guessed around."""
    path = forged / SITE / "torch" / "version.py"
    path.unlink()
    if text is not None:
        path.write_text(text)
    torch = read(forged).torch
    assert torch is not None
    assert problem.lower() in (torch.problem or "")


def test_the_users_own_packages(forged: Path, tmp_path: Path) -> None:
    """Of the same Python only."""
    home = tmp_path / "home"
    folder = home / ".local" / "lib" / "python3.10" / "site-packages"
    (folder / "numpy-2.1.0.dist-info").mkdir(parents=True)
    (folder / "numpy-2.1.0.dist-info" / "METADATA").touch()

    facts = read(forged, HOME=str(home))

    assert facts.user_site == str(folder)
    assert [item.name for item in facts.user_packages] == ["numpy"]
    assert read(forged, HOME=str(home), PYTHONUSERBASE="/nonexistent").user_site is None
    assert read(forged).user_site is None


def test_prefixes_that_are_nearly_nothing(tmp_path: Path) -> None:
    """An empty folder is read; one that is not there is an error."""
    facts = read(tmp_path)
    assert (facts.conda, facts.wheels, facts.torch, facts.interpreter) == ((), (), None, None)
    with pytest.raises(FileNotUsable, match="no such file"):
        read(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(FileNotUsable):
        read(tmp_path / "file")


def test_a_prefix_that_is_absent_is_not_looked_at(tmp_path: Path) -> None:
    """It is a fact, which the check `prefix-incomplete` finds."""
    facts = read_prefix(tmp_path / "absent", state=PrefixState.ABSENT, environment={})
    assert facts.state is PrefixState.ABSENT
    assert facts.conda == ()


def test_a_windows_prefix(tmp_path: Path) -> None:
    """`Lib/site-packages` and `python.exe`."""
    (tmp_path / "Lib" / "site-packages" / "torch").mkdir(parents=True)
    (tmp_path / "python.exe").touch()
    facts = read(tmp_path, HOME=str(tmp_path))
    assert facts.torch is not None
    assert facts.interpreter == str(tmp_path / "python.exe")
    assert facts.user_site is None


def test_300_packages_take_no_time(tmp_path: Path) -> None:
    """Records of 100 files each: the static level must stay below 0.3 s."""
    packages = tuple(locked(f"package{number}", "1.0") for number in range(300))
    root = forge_prefix(tmp_path / "prefix", (), torch=TORCH)
    for package in packages:
        add_record(root, package, {f"lib/{package.name}/file{n}.py": n for n in range(100)})

    begun = time.perf_counter()
    facts = read(root)
    seconds = time.perf_counter() - begun

    assert len(facts.conda) == 300
    assert seconds < 1.0  # 0.05 s on an idle machine; a bench measures the ratio


def test_10_000_packages_are_read_in_time(tmp_path: Path) -> None:
    """Linear: a few dozen times as long as for 300."""
    root = forge_prefix(tmp_path / "prefix", ())
    text = add_record(root, locked("one", "1.0"), {"lib/a.py": 1}).read_text()
    for number in range(10_000):
        named = text.replace('"one"', f'"package{number}"')
        (root / "conda-meta" / f"package{number}-1.0-h0_0.json").write_text(named)

    begun = time.process_time()
    facts = read(root)
    seconds = time.process_time() - begun

    assert len(facts.conda) == 10_001
    assert seconds < 5.0  # 0.8 s on an idle machine
