"""Resolving and installing wheels with the real uv, from tiny indexes on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fakes.channel_server import serve as serve_cut
from fakes.installing import make_settings
from fakes.wheels import Served, build_wheel, serve, sha256, write_index

from envforge.adapters.pack.download import Downloads
from envforge.adapters.pip_settings import PipSettings, read_pip_settings
from envforge.adapters.process import RealProcesses
from envforge.adapters.uv import Uv
from envforge.adapters.uv_installer import UvInstaller
from envforge.adapters.uv_resolver import UvResolver
from envforge.adapters.wheelhouse import Wheelhouse
from envforge.errors import (
    BrokenPrefix,
    CorruptArchive,
    InvalidValue,
    ToolFailed,
    ToolMissing,
    Unreachable,
    Unsolvable,
    WrongBuild,
)
from envforge.model.lock import LockedPackage
from envforge.model.solving import WheelProblem
from envforge.solve.least_moves import LeastWheelMoves

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
CP = f"cp{sys.version_info[0]}{sys.version_info[1]}"
LINUX = f"{CP}-{CP}-manylinux_2_28_x86_64"


@dataclass(frozen=True)
class World:
    """Two indexes over loopback HTTP: the default one, and one for CUDA 12.6."""

    served: Served
    root: Path
    cache: Path

    @property
    def default(self) -> str:
        return f"{self.served.address}/simple"

    @property
    def torch(self) -> str:
        return f"{self.served.address}/cu126/simple"

    def uv(self, *, offline: bool = False, **settings: Any) -> Uv:
        """uv with a cache of its own, no retries, and these settings of pip."""
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.cache),
            "UV_CACHE_DIR": str(self.cache),
            "UV_HTTP_RETRIES": "0",
            "NO_PROXY": "127.0.0.1",
        }
        return Uv(
            processes=RealProcesses(),
            environment=environment,
            settings=PipSettings(**{"index_url": self.default, **settings}),
            offline=offline,
        )

    def resolve(self, uv: Uv | None = None, **problem: Any) -> dict[str, LockedPackage]:
        asked = {"platform": "linux-64", "python": PYTHON, "requirements": (), **problem}
        resolver = UvResolver(uv or self.uv(), Path(sys.executable))
        return {item.name: item for item in resolver.resolve(WheelProblem(**asked))}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """alpha needs beta; torch in CPU, plain (CUDA 12.4) and labelled builds; partners."""
    root = tmp_path_factory.mktemp("index")
    files, cuda, cpu = root / "files", root / "cu126" / "files", root / "cpu" / "files"
    plain = ["beta", "nvidia-cuda-runtime-cu12==12.4.127"]
    default = [
        build_wheel(files, "alpha", "1.0", requires=["beta>=1"], scripts={"al": "alpha:main"}),
        build_wheel(files, "beta", "1.2"),
        build_wheel(files, "beta", "2.0", requires_python=">=3.99"),
        build_wheel(files, "needs-vision", "1.0", requires=["torchvision"]),
        build_wheel(files, "nvidia-cuda-runtime-cu12", "12.4.127"),
        build_wheel(files, "nvidia-cuda-runtime-cu12", "12.6.77"),
        build_wheel(files, "torch", "2.6.0", tag=LINUX, requires=plain),
        build_wheel(files, "torch", "2.6.0", tag=f"{CP}-{CP}-win_amd64"),
        build_wheel(files, "torch", "2.6.0", tag=f"{CP}-none-macosx_11_0_arm64"),
        build_wheel(files, "torchvision", "0.21.0", tag=LINUX, requires=["torch==2.6.0"]),
    ]
    needs = ["beta", "nvidia-cuda-runtime-cu12==12.6.77"]
    vision = {"tag": LINUX, "requires": ["torch==2.6.0"]}
    labelled = [
        build_wheel(cuda, "torch", "2.6.0+cu126", tag=LINUX, requires=needs),
        build_wheel(cuda, "torchvision", "0.21.0+cu126", **vision),  # type: ignore[arg-type]
        build_wheel(cuda, "beta", "9.9"),  # must never be taken from here
    ]
    write_index(root, default)
    write_index(root / "cu126", labelled)
    write_index(root / "cpu", [build_wheel(cpu, "torch", "2.6.0+cpu", tag=LINUX)])
    return root


@pytest.fixture
def world(index: Path, tmp_path: Path) -> Iterator[World]:
    with serve(index) as served:
        yield World(served=served, root=index, cache=tmp_path / "cache")


def test_wheels_are_pinned_with_hashes_and_edges(world: World) -> None:
    packages = world.resolve(requirements=("alpha",))

    assert list(packages) == ["alpha", "beta"]
    assert packages["beta"].version == "1.2"  # 2.0 is for another Python
    assert packages["alpha"].depends == ("beta",)
    archive = world.root / "files" / packages["alpha"].filename
    assert packages["alpha"].sha256 == sha256(archive)
    assert packages["alpha"].url == f"{world.served.address}/files/{archive.name}"
    assert packages["alpha"].manager == "pip"


def test_what_conda_brings_is_not_taken_again(world: World) -> None:
    """Or `pip:` would put a torch from the registry on top of conda's."""
    asked: dict[str, Any] = {"requirements": ("needs-vision", "alpha")}

    assert "torch" in world.resolve(**asked)
    packages = world.resolve(**asked, provided=("torch", "torchvision", "beta"))
    assert list(packages) == ["alpha", "needs-vision"]
    assert packages["alpha"].depends == ()


def test_the_same_question_has_the_same_answer(world: World) -> None:
    """Also offline, once the cache is warm."""
    asked: dict[str, Any] = {"requirements": ("alpha",), "constraints": ("beta<2",)}
    online = world.resolve(**asked)

    assert world.resolve(**asked) == online
    assert world.resolve(world.uv(offline=True), **asked) == online


def test_an_old_lock_is_kept_to_where_it_fits(world: World) -> None:
    """And given up where it does not: a preference is no constraint."""
    folder = world.cache / "newer"
    build_wheel(folder, "beta", "1.9")
    old = tuple(world.resolve(requirements=("beta",)).values())
    newer = world.uv(find_links=(str(folder),))

    assert world.resolve(newer, requirements=("beta",))["beta"].version == "1.9"
    kept = world.resolve(newer, requirements=("beta",), preferred=old)
    assert kept["beta"] == old[0]
    moved = world.resolve(newer, requirements=("beta>1.5",), preferred=old)
    assert moved["beta"].version == "1.9"


def test_only_what_was_asked_for_moves(world: World) -> None:
    """gamma can only be newer with another delta; epsilon need not move, and does not."""
    folder = world.cache / "local"
    for version, needs in (("1.0", "delta<2"), ("2.0", "delta>=2")):
        build_wheel(folder, "gamma", version, requires=[needs, "epsilon"])
        build_wheel(folder, "delta", version)
        build_wheel(folder, "epsilon", version)
    uv = world.uv(find_links=(str(folder),))
    pins = ("gamma==1.0", "delta==1.0", "epsilon==1.0")
    old = tuple(world.resolve(uv, requirements=pins).values())
    question = WheelProblem(
        platform="linux-64", python=PYTHON, requirements=("gamma", "delta", "epsilon")
    )

    def resolve(*asked: str, still: bool = False, **changes: Any) -> dict[str, str]:
        resolver = LeastWheelMoves(
            resolver=UvResolver(uv, Path(sys.executable)), old=old, asked=asked, still=still
        )
        return {item.name: item.version for item in resolver.resolve(replace(question, **changes))}

    assert resolve("gamma") == {"gamma": "2.0", "delta": "2.0", "epsilon": "1.0"}
    assert resolve("epsilon") == {"gamma": "1.0", "delta": "1.0", "epsilon": "2.0"}
    assert resolve("gamma", still=True) == {"gamma": "1.0", "delta": "1.0", "epsilon": "1.0"}
    with pytest.raises(Unsolvable, match="gamma"):
        resolve("gamma", requirements=("gamma==3.0",))


def test_torch_by_address_is_held_like_any_other(world: World) -> None:
    folder = world.cache / "local"
    build_wheel(folder, "beta", "1.9")
    [cpu] = world.resolve(
        torch_requirements=("torch==2.6.0",), torch_index=f"{world.served.address}/cpu/simple"
    ).values()
    old = (cpu, *world.resolve(requirements=("beta",)).values())
    question = WheelProblem(
        platform="linux-64",
        python=PYTHON,
        requirements=("beta",),
        torch_requirements=(f"torch @ {cpu.url}#sha256={cpu.sha256}",),
        accelerator="cpu",
    )
    resolver = UvResolver(world.uv(find_links=(str(folder),)), Path(sys.executable))
    found = LeastWheelMoves(resolver=resolver, old=old, asked=("beta",)).resolve(question)

    assert {item.name: item.version for item in found} == {"beta": "1.9", "torch": "2.6.0+cpu"}


def test_nothing_newer_than_a_moment(world: World) -> None:
    """What an index dates; torch's own dates nothing, and is asked for by version."""
    folder = world.root / "files"
    wheels = [build_wheel(folder, "dated", version) for version in ("1.0", "2.0")]
    files = [
        {
            "filename": wheel.name,
            "url": f"{world.served.address}/files/{wheel.name}",
            "hashes": {"sha256": sha256(wheel)},
            "upload-time": f"2024-0{month}-01T10:00:00Z",
        }
        for month, wheel in zip((3, 6), wheels, strict=True)
    ]
    page = {"meta": {"api-version": "1.1"}, "name": "dated", "files": files}
    world.served.documents["/simple/dated/"] = json.dumps(page)
    asked: dict[str, Any] = {"requirements": ("dated",)}

    assert world.resolve(**asked)["dated"].version == "2.0"
    march = world.resolve(**asked, exclude_newer="2024-03-31T23:59:59Z")
    assert march["dated"].version == "1.0"
    with pytest.raises(Unsolvable, match="dated"):
        world.resolve(**asked, exclude_newer="2024-01-31T23:59:59Z")
    with_torch = world.resolve(
        torch_requirements=("torch==2.6.0",),
        torch_index=f"{world.served.address}/cpu/simple",
        requirements=("dated",),
        exclude_newer="2024-03-31T23:59:59Z",
    )
    assert with_torch["torch"].version == "2.6.0+cpu"


def test_torch_comes_from_its_index_and_nothing_else_does(world: World) -> None:
    """Dependency confusion: neither a newer `beta` there, nor the default index's torch."""
    packages = world.resolve(
        requirements=("alpha",),
        torch_requirements=("torch==2.6.0",),
        torch_index=world.torch,
        accelerator="cu126",
    )

    assert packages["torch"].version == "2.6.0+cu126"
    assert packages["torch"].url.startswith(f"{world.served.address}/cu126/")
    assert packages["beta"].version == "1.2"
    assert packages["nvidia-cuda-runtime-cu12"].version == "12.6.77"
    assert packages["torch"].depends == ("beta", "nvidia-cuda-runtime-cu12")


def test_partners_that_only_others_need_come_from_there_too(world: World) -> None:
    packages = world.resolve(
        requirements=("needs-vision",),
        torch_requirements=("torch==2.6.0",),
        torch_index=world.torch,
        accelerator="cu126",
    )

    assert packages["torchvision"].version == "0.21.0+cu126"


@pytest.mark.parametrize(
    ("platform", "accelerator"), [("linux-64", "cpu"), ("linux-64", "cu126"), ("win-64", "cu126")]
)
def test_another_build_than_asked_is_refused(world: World, platform: str, accelerator: str) -> None:
    """The default index has CUDA 12.4 for Linux and CPU for Windows: neither is what is asked."""
    with pytest.raises(WrongBuild) as caught:
        world.resolve(
            platform=platform, torch_requirements=("torch==2.6.0",), accelerator=accelerator
        )

    assert caught.value.wanted == f"torch for {accelerator}"
    assert "--wheel-index pytorch" in (caught.value.hint or "")


@pytest.mark.parametrize("platform", ["win-64", "osx-arm64"])
def test_other_platforms_are_resolved_from_here(world: World, platform: str) -> None:
    packages = world.resolve(
        platform=platform,
        requirements=("alpha",),
        torch_requirements=("torch==2.6.0",),
        accelerator="cpu",
    )

    assert packages["torch"].platform == platform
    assert ("win_amd64" in packages["torch"].url) is (platform == "win-64")


def test_the_torch_index_must_carry_what_is_asked(world: World) -> None:
    """An address that names another variant than the request."""
    with pytest.raises(WrongBuild, match="for cu126") as caught:
        world.resolve(
            torch_requirements=("torch==2.6.0",),
            torch_index=f"{world.served.address}/cpu/simple",
            accelerator="cu126",
        )

    assert "check its address" in (caught.value.hint or "")


def test_a_folder_of_wheels_serves_and_its_files_are_local(world: World) -> None:
    """pip's find-links: both labels lie there, and the one asked for is taken."""
    folder = world.cache / "wheels, here"
    build_wheel(folder, "torch", "2.6.0+cpu", tag=LINUX)
    build_wheel(folder, "torch", "2.6.0+cu999", tag=LINUX)

    packages = world.resolve(
        world.uv(find_links=(str(folder),)),
        torch_requirements=("torch==2.6.0",),
        accelerator="cpu",
    )

    torch = packages["torch"]
    archive = folder / torch.filename
    assert torch.version == "2.6.0+cpu"
    assert torch.url.startswith("file:///")
    assert (torch.sha256, torch.size) == (sha256(archive), archive.stat().st_size)


def test_a_direct_address_stays_that_address(world: World) -> None:
    """As `name @ url#sha256=…` stands in environment.yml."""
    archive = next((world.root / "cpu" / "files").iterdir())
    url = f"{world.served.address}/cpu/files/{archive.name.replace('+', '%2B')}"

    packages = world.resolve(
        torch_requirements=(f"torch @ {url}#sha256={sha256(archive)}",),
        torch_index=world.torch,
        accelerator="cpu",
    )

    assert (packages["torch"].url, packages["torch"].version) == (url, "2.6.0+cpu")
    assert packages["torch"].sha256 == sha256(archive)


def test_a_partial_extra_index_does_not_hide_the_rest(world: World) -> None:
    """The site's index has one wheel for Windows: Linux is served by the default one."""
    site = world.root / f"site-{world.cache.parent.name}"
    wheels = [build_wheel(site / "files", "beta", "1.1", tag=f"{CP}-{CP}-win_amd64")]
    simple = write_index(site, wheels).as_uri()

    uv = world.uv(extra_index_urls=(simple,))

    assert world.resolve(uv, platform="win-64", requirements=("beta",))["beta"].version == "1.1"
    assert world.resolve(uv, requirements=("beta",))["beta"].version == "1.2"
    with pytest.raises(Unsolvable, match="beta>=3"):
        world.resolve(uv, requirements=("beta>=3",))


def test_no_solution_is_explained(world: World) -> None:
    with pytest.raises(Unsolvable) as caught:
        world.resolve(requirements=("alpha", "beta<1"))

    assert caught.value.platform == "linux-64"
    assert "you ask for" in caught.value.explanation
    assert "envforge-request" not in caught.value.explanation


@pytest.mark.parametrize("requirement", ["numpy @@ 3", "a b", "../x", ""])
def test_what_is_no_requirement_is_refused(world: World, requirement: str) -> None:
    with pytest.raises(InvalidValue, match="PEP 508"):
        world.resolve(requirements=(requirement,))


def test_an_index_out_of_reach_is_named_with_what_would_serve(world: World) -> None:
    """Never silently replaced: the person decides to take the site's index."""
    asked: dict[str, Any] = {
        "torch_requirements": ("torch==2.6.0",),
        "torch_index": "http://127.0.0.1:9/cu124",
        "requirements": ("alpha",),
    }
    with pytest.raises(Unreachable) as caught:
        world.resolve(**asked, accelerator="cu124")
    assert caught.value.url.startswith("http://127.0.0.1:9/cu124")
    assert "--wheel-index site" in (caught.value.hint or "")

    with pytest.raises(Unreachable) as caught:
        world.resolve(**asked, accelerator="cu118")
    assert "--wheel-index URL" in (caught.value.hint or "")


def test_the_default_index_out_of_reach_is_named(world: World) -> None:
    world.served.failing["/simple/beta"] = 503

    with pytest.raises(Unreachable, match="503"):
        world.resolve(requirements=("alpha",))


def test_credentials_serve_and_are_never_kept(world: World) -> None:
    world.served.credentials = "me:secret"
    address = world.default.replace("//", "//me:secret@")

    packages = world.resolve(world.uv(index_url=address), requirements=("alpha",))

    assert "secret" not in repr(packages)
    with pytest.raises(Unreachable, match="401") as caught:
        world.resolve(
            world.uv(index_url=address.replace("secret", "wrong")), requirements=("needs-vision",)
        )
    assert "wrong" not in f"{caught.value} {caught.value.hint}"


def test_offline_without_a_cache_is_said(world: World) -> None:
    with pytest.raises(Unreachable, match="offline"):
        world.resolve(world.uv(offline=True), requirements=("alpha",))


def test_uv_that_is_missing_or_broken_is_named(world: World) -> None:
    with pytest.raises(ToolMissing):
        world.resolve(replace(world.uv(), program="/nonexistent/uv"), requirements=("alpha",))
    with pytest.raises(ToolFailed):
        world.resolve(replace(world.uv(), program="/bin/false"), requirements=("alpha",))


def test_an_index_without_hashes_still_gives_them(world: World) -> None:
    """uv reads the archive itself where the index names no hash."""
    bare = world.root / f"bare-{world.cache.parent.name}"
    archive = build_wheel(bare / "files", "gamma", "1.0")
    write_index(bare, [archive], hashes=False)
    address = f"{world.served.address}/{bare.name}/simple"

    packages = world.resolve(world.uv(index_url=address), requirements=("gamma",))

    assert packages["gamma"].sha256 == sha256(archive)


# Installing


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A Python to install into; a virtual environment is laid out as a prefix is."""
    folder = tmp_path / "prefix"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder


def packages_of(prefix: Path) -> Path:
    return prefix / "lib" / f"python{PYTHON}" / "site-packages"


def run(prefix: Path, *arguments: str) -> str:
    done = subprocess.run([*arguments], capture_output=True, text=True, check=True, cwd=prefix)
    return done.stdout.strip()


def test_installed_wheels_are_complete(world: World, prefix: Path) -> None:
    """Metadata, entry points, plain versions for `pip freeze`, and files linked to the cache."""
    wheels = tuple(world.resolve(requirements=("alpha",)).values())

    UvInstaller(world.uv()).install(wheels, prefix)

    site = packages_of(prefix)
    info = site / "alpha-1.0.dist-info"
    assert (info / "INSTALLER").read_text() == "uv"
    assert not (info / "direct_url.json").exists()
    recorded = {line.split(",")[0] for line in (info / "RECORD").read_text().splitlines()}
    assert {"alpha/__init__.py", "../../../bin/al", "alpha-1.0.dist-info/RECORD"} <= recorded
    assert (prefix / "bin" / "al").read_text().startswith(f"#!{prefix}/bin/python")
    assert (site / "alpha" / "__init__.py").stat().st_nlink > 1
    assert not (site / "alpha" / "__pycache__").exists()
    version = run(prefix, f"{prefix}/bin/python", "-c", "import beta; print(beta.__version__)")
    assert version == "1.2"


def test_a_damaged_package_is_replaced_offline(world: World, prefix: Path) -> None:
    """Same version, so uv alone would find nothing to do; and the cache is enough."""
    wheels = tuple(world.resolve(requirements=("alpha",)).values())
    UvInstaller(world.uv()).install(wheels, prefix)
    damaged = packages_of(prefix) / "beta" / "__init__.py"
    damaged.unlink()
    world.served.requests.clear()

    beta = tuple(item for item in wheels if item.name == "beta")
    UvInstaller(world.uv(offline=True)).install(beta, prefix)

    assert damaged.exists()
    assert world.served.requests == []


def test_only_what_is_named_is_removed(world: World, prefix: Path) -> None:
    wheels = tuple(world.resolve(requirements=("alpha",)).values())
    installer = UvInstaller(world.uv())
    installer.install(wheels, prefix)

    installer.install((), prefix, remove=["Alpha", "never-there"])

    assert not list(packages_of(prefix).glob("alpha*"))
    assert not (prefix / "bin" / "al").exists()
    assert (packages_of(prefix) / "beta").is_dir()


def test_removing_works_where_pip_is_told_of_no_index(world: World, prefix: Path) -> None:
    """uv refuses `--no-index` on `uninstall`."""
    UvInstaller(world.uv()).install(tuple(world.resolve(requirements=("alpha",)).values()), prefix)

    UvInstaller(world.uv(no_index=True)).install((), prefix, remove=("alpha",))

    assert not list(packages_of(prefix).glob("alpha-*"))


def test_packages_of_conda_are_not_touched(world: World, prefix: Path) -> None:
    wheels = tuple(world.resolve(requirements=("alpha",)).values())
    installer = UvInstaller(world.uv())
    installer.install(wheels, prefix)
    meta = prefix / "conda-meta" / "beta-1.2-0.json"
    meta.parent.mkdir()
    owned = f"lib/python{PYTHON}/site-packages/beta-1.2.dist-info/METADATA"
    meta.write_text(f'{{"files": ["{owned}"]}}')

    with pytest.raises(BrokenPrefix, match="`beta` was installed by conda"):
        installer.install((), prefix, remove=["beta"])

    installer.install((), prefix, remove=["alpha"])
    assert (packages_of(prefix) / "beta").is_dir()


@pytest.mark.parametrize("cached", [False, True])
def test_other_bytes_than_locked_are_refused(world: World, prefix: Path, cached: bool) -> None:
    wheels = tuple(world.resolve(requirements=("beta",)).values())
    if cached:
        UvInstaller(world.uv()).install(wheels, prefix)
        UvInstaller(world.uv()).install((), prefix, remove=["beta"])
    lying = replace(wheels[0], sha256="0" * 64)

    with pytest.raises(CorruptArchive) as caught:
        UvInstaller(world.uv()).install([lying], prefix)

    assert caught.value.found == wheels[0].sha256
    assert caught.value.url == wheels[0].url
    assert not (packages_of(prefix) / "beta").exists()


def test_a_login_page_is_no_wheel(world: World, prefix: Path) -> None:
    wheels = tuple(world.resolve(requirements=("beta",)).values())
    world.served.replaced["/files/"] = b"<html>please log in</html>"
    fresh = replace(world, cache=world.cache / "fresh")

    with pytest.raises(CorruptArchive, match="no wheel"):
        UvInstaller(fresh.uv()).install(wheels, prefix)


def test_a_file_of_another_name_is_refused(world: World, prefix: Path) -> None:
    wheels = tuple(world.resolve(requirements=("beta",)).values())

    with pytest.raises(CorruptArchive, match=r"expected beta 1\.3"):
        UvInstaller(world.uv()).install([replace(wheels[0], version="1.3")], prefix)


def test_an_archive_out_of_reach_is_named(world: World, prefix: Path) -> None:
    wheels = tuple(world.resolve(requirements=("beta",)).values())
    fresh = replace(world, cache=world.cache / "fresh")

    with pytest.raises(Unreachable, match="offline") as caught:
        UvInstaller(fresh.uv(offline=True)).install(wheels, prefix)
    assert caught.value.url == wheels[0].url

    world.served.failing["/files/"] = 404
    with pytest.raises(Unreachable, match="404"):
        UvInstaller(fresh.uv()).install(wheels, prefix)


def test_a_wheel_for_another_system_fails_with_uv_s_words(world: World, prefix: Path) -> None:
    torch = world.resolve(platform="win-64", torch_requirements=("torch",))["torch"]

    with pytest.raises(ToolFailed, match="torch"):
        UvInstaller(world.uv()).install([torch], prefix)


def test_a_prefix_without_python_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(BrokenPrefix, match="has no Python"):
        UvInstaller(world.uv()).install((), tmp_path / "nothing")


def test_nothing_to_do_starts_nothing(world: World, prefix: Path) -> None:
    UvInstaller(replace(world.uv(), program="/nonexistent/uv")).install((), prefix)


def test_the_site_s_torch_is_a_cpu_build(tmp_path: Path) -> None:
    """Where pip is configured with a folder that has torch 2.13.0 for this Python."""
    settings = read_pip_settings(os.environ, home=tmp_path)
    pattern = f"torch-2.13.0+cpu-{CP}-*.whl"
    folders = [Path(item) for item in settings.find_links if "://" not in item]
    found = [wheel for folder in folders for wheel in folder.glob(pattern)]
    if not found:
        pytest.skip(f"no `{pattern}` in pip's find-links")
    partners = ("filelock", "fsspec", "jinja2", "networkx", "setuptools", "sympy")
    partners += ("typing-extensions",)
    root = tmp_path / "index"
    names = [build_wheel(root / "files", name, "100.0") for name in partners]
    simple = write_index(root, names).as_uri()
    uv = Uv(
        processes=RealProcesses(),
        environment={"PATH": "/usr/bin:/bin", "UV_CACHE_DIR": str(tmp_path / "cache")},
        settings=PipSettings(index_url=simple, find_links=(str(found[0].parent),)),
    )

    packages = UvResolver(uv, Path(sys.executable)).resolve(
        WheelProblem(
            platform="linux-64",
            python=PYTHON,
            requirements=(),
            torch_requirements=("torch==2.13.0",),
            constraints=tuple(f"{name}>=0" for name in partners),
            accelerator="cpu",
        )
    )

    [torch] = [item for item in packages if item.name == "torch"]
    assert torch.version == "2.13.0+cpu"
    assert torch.url.startswith("file:///")
    assert torch.filename == found[0].name
    assert "filelock" in torch.depends


def test_a_wheel_that_uv_gives_up_is_fetched_in_parts(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uv begins anew where a line breaks; the parts are put together, proven, and kept."""
    monkeypatch.setattr(Downloads, "_pause", lambda *_: None)
    locked = world.resolve(requirements=("beta",))["beta"]
    size = (world.root / "files" / locked.filename).stat().st_size
    prefix = tmp_path / "prefix"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(prefix)], check=True)
    house = Wheelhouse(tmp_path / "wheels")
    downloads = Downloads(make_settings(tmp_path, environment={}), PipSettings())
    with serve_cut(world.root) as server:
        wheel = replace(locked, url=f"{server.url}/files/{locked.filename}")
        server.cuts[locked.filename] = [size // 3] * 50
        with pytest.raises(Unreachable, match="broke off"):
            UvInstaller(world.uv()).install([wheel], prefix)
        UvInstaller(world.uv(), house, downloads).install([wheel], prefix)
        ranges = [item.range for item in server.asked if item.range]
    assert len(ranges) >= 2
    assert house.find(wheel) is not None
    assert [path.name for path in prefix.rglob("beta-*.dist-info")] == ["beta-1.2.dist-info"]
