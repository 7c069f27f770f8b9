"""`Forge`: what envforge can do, one method a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from envforge.forge.workplace import Workplace, this_platform
from envforge.model.machine import Platform
from envforge.model.settings import Settings
from envforge.model.spec import AUTO

if TYPE_CHECKING:
    from envforge.around.page.overview import Overview
    from envforge.forge.caching.front import ModelCache
    from envforge.model.activation import EnvironmentVariables
    from envforge.model.adoption import AdoptResult
    from envforge.model.bench import BenchResult
    from envforge.model.checked import LockReport
    from envforge.model.checkup import Checkup
    from envforge.model.cuda import CudaVersion
    from envforge.model.difference import Comparison
    from envforge.model.drivers import GitInstalled, LockMerge
    from envforge.model.export import Export
    from envforge.model.finding import Level, Report
    from envforge.model.gpu_memory import GpuReport
    from envforge.model.pack import Packed, Unpacked
    from envforge.model.prefix import InstallResult
    from envforge.model.published import PublishedVersion, PublishResult
    from envforge.model.results import (
        CreateResult,
        EnvironmentInfo,
        LockResult,
        PlannedInstall,
        UpdateResult,
    )
    from envforge.model.template import Template
    from envforge.ports import MachineProbe, Reporter
    from envforge.verify.check import Check

Engine = Literal["rattler", "conda-lock"]


class Forge:
    """The library's front door; the command line calls nothing else.

    Args:
        settings: everything that steers envforge; None: read from the environment,
            pyproject.toml and conda's and pip's own files.
        overrides: single settings instead, by their key (`{"envs": "environments"}`).
        reporter: is told how far work is; None: nobody is.
        probe: looks at the machine; None: the real one.
    """

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        overrides: Mapping[str, Any] | None = None,
        reporter: Reporter | None = None,
        probe: MachineProbe | None = None,
    ) -> None:
        self._workplace = Workplace(
            settings=settings, overrides=overrides, reporter=reporter, probe=probe
        )

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._workplace.settings

    @property
    def probe(self) -> MachineProbe:
        """Looks at this machine's driver and GPUs."""
        return self._workplace.probe

    @property
    def platform(self) -> Platform:
        """The platform we run on."""
        return this_platform()

    @property
    def cache(self) -> ModelCache:
        """The shared model cache."""
        from envforge.forge.caching.front import ModelCache

        return ModelCache(self._workplace)

    # --- the main job -----------------------------------------------------------------------

    def create(
        self,
        project: str,
        *,
        torch: str | None = None,
        cuda: str | CudaVersion | None = None,
        python: str | None = None,
        packages: Sequence[str] = (),
        template: str | None = None,
        source: str = AUTO,
        channels: Sequence[str] = (),
        platforms: Sequence[str] = (),
        wheel_index: str | None = None,
        exclude_newer: str | None = None,
        models: Sequence[str] = (),
        driver: str | None = None,
        gpus: Sequence[str] = (),
        target_host: bool = False,
        prefix: Path | None = None,
        engine: Engine = "rattler",
        force: bool = False,
        dry_run: bool = False,
        require_gpu: bool = False,
    ) -> CreateResult:
        """Lock, install, fetch models and verify; run again, it goes on where it stopped.

        Args:
            project: `[a-z0-9][a-z0-9._-]*`, at most 64 characters.
            torch: `2.0.1`, `2.0` (its newest patch), `latest`; None: latest.
            cuda: `11.8`, `cu118`, `cpu`, `auto` (the newest the machine runs); None: auto.
            python: `3.10`, `host` (this interpreter, repacked); None: chosen.
            packages: more packages, as conda specs.
            template: an environment to start from.
            source: `pytorch`, `conda-forge`, `wheels` or `auto`.
            channels: searched before the source's own.
            platforms: to lock for; empty: this machine's.
            wheel_index: `auto`, `pytorch`, `site` or an address; None: as set.
            exclude_newer: `2024-03-01` or a moment of RFC 3339: what was published later does
                not exist.
            models: of the hub, `org/name` or `org/name@revision`: pinned in models-lock.yml.
            driver: that of the machine it is for, instead of this one's.
            gpus: those of that machine, by name (`H200`) or compute capability.
            target_host: it is for the machine that virtual-packages.yml (before there is one,
                `CONDA_OVERRIDE_*`) describes, and this one does not count.
            prefix: where to install; None: the environment's name under `settings.prefixes`.
            engine: who solves.
            force: replace a folder of another request; go on though it cannot run here.
            dry_run: stop before the first write.
            require_gpu: absence of a GPU is a problem.

        Raises:
            EnvforgeError: with the exit code of its family; nothing half-written is left.
        """
        from envforge.forge import creating
        from envforge.forge.caching import locking as model_locking
        from envforge.forge.solving import asking

        wanted = model_locking.parse(models)  # a slip is told before anything is asked
        request = asking.make_request(
            self._workplace,
            project,
            torch=torch,
            cuda=cuda,
            python=python,
            packages=packages,
            template=template,
            source=source,
            channels=channels,
            platforms=platforms,
            wheel_index=wheel_index,
            exclude_newer=exclude_newer,
        )
        making = creating.Making(
            models=wanted,
            driver=driver,
            gpus=gpus,
            target_host=target_host,
            prefix=prefix,
            engine=engine,
            force=force,
            dry_run=dry_run,
            require_gpu=require_gpu,
        )
        return creating.create(self.cache, self._workplace, request, making)

    def lock(
        self,
        name: str,
        *,
        torch: str | None = None,
        cuda: str | CudaVersion | None = None,
        models: Sequence[str] = (),
        driver: str | None = None,
        gpus: Sequence[str] = (),
        exclude_newer: str | None = None,
        engine: Engine = "rattler",
        force: bool = False,
        dry_run: bool = False,
        **request: Any,
    ) -> LockResult:
        """Write the folder of a new environment, or solve an edited environment.yml again.

        With `torch` or `cuda` it is a request, as for `create`; without, `name` is that of an
        environment: what is locked stays where it still fits, and `update` moves it. `models` are
        pinned beside it; those that were before stay as they are.

        Raises:
            Unsolvable, WrongBuild, EnvironmentExists, NoSuchEnvironment, MatrixError
        """
        from envforge.forge.caching import locking as model_locking
        from envforge.forge.solving import asking, locking
        from envforge.formats.text import moment

        wanted = model_locking.parse(models)
        if torch is None and cuda is None:
            asking.refuse_request_options(name, {**request, "driver": driver, "gpus": gpus})
            path = self._workplace.environments.locate(name)
            planned = model_locking.plan_request(self._workplace, path, wanted)
            locked = locking.relock(
                self._workplace,
                path,
                exclude_newer=moment.parse(exclude_newer) if exclude_newer else None,
                dry_run=dry_run,
                engine=engine,
            )
            return model_locking.with_models(self._workplace, locked, planned)
        asked = asking.make_request(
            self._workplace, name, torch=torch, cuda=cuda, exclude_newer=exclude_newer, **request
        )
        decision = asking.decide(
            self._workplace, asked, driver=driver, gpus=gpus, force=force, command="lock"
        )
        path = self._workplace.environments.folder(decision.name)
        planned = model_locking.plan_request(self._workplace, path, wanted)
        locked = locking.lock_request(
            self._workplace, decision, dry_run=dry_run, force=force, engine=engine
        )
        return model_locking.with_models(self._workplace, locked, planned)

    def install(
        self,
        env: str,
        *,
        prefix: Path | None = None,
        locked: bool = False,
        target_host: bool = False,
        force: bool = False,
    ) -> InstallResult:
        """Make a prefix equal to the lock.

        Args:
            env: name or folder.
            prefix: None: where it is, else the environment's name under `settings.prefixes`.
            locked: never solve.
            target_host: it is for the machine that virtual-packages.yml describes, not this one.
            force: go on though it cannot run there.

        Raises:
            CannotRunHere: driver, GPUs or C library exclude it; nothing was fetched.
            StaleLock: with `locked`, when the lock is not current, or missing.
            InstallError: nothing is called good that is not whole.
        """
        from envforge.forge.prefixes import installing, preflight

        path = self._workplace.environments.locate(env)
        lock = installing.current_lock(self._workplace, path, locked=locked)
        preflight.Gate(self._workplace, path, target_host=target_host, force=force).check(lock)
        return installing.install(self._workplace, path, lock, prefix)

    def plan_install(
        self,
        env: str,
        *,
        prefix: Path | None = None,
        locked: bool = False,
        target_host: bool = False,
        force: bool = False,
    ) -> PlannedInstall:
        """What `install` would do; nothing is written.

        Raises:
            CannotRunHere: see `install`.
            StaleLock: the lock is not current: a plan from it would not be what happens.
        """
        from envforge.forge.prefixes import installing, preflight

        path = self._workplace.environments.locate(env)
        lock = installing.current_lock(self._workplace, path, locked=locked, dry_run=True)
        preflight.Gate(self._workplace, path, target_host=target_host, force=force).check(lock)
        return installing.plan(self._workplace, path, lock, prefix)

    def verify(
        self,
        env: str | None = None,
        *,
        prefix: Path | None = None,
        python: str | None = None,
        lock: Path | None = None,
        host: bool = False,
        driver: str | None = None,
        gpus: Sequence[str] = (),
        level: Level | None = None,
        only: Sequence[str] = (),
        skip: Sequence[str] = (),
        require_gpu: bool = False,
        timeout: float = 300.0,
        hashes: bool = False,
    ) -> tuple[Report, ...]:
        """Check what was named, or all environments that are installed.

        Args:
            env: name or folder of an environment.
            prefix: where `env` is installed, None: found; alone, any conda or virtual environment.
            python: an interpreter, by path or by name on PATH, conda's or not.
            lock: a conda-lock.yml: alone, whether it runs here; else the claim for `prefix` or
                `python`.
            host: the machine alone.
            driver: that of a described machine, which is judged instead of this one.
            gpus: those of that machine, by name (`H200`) or compute capability.
            level: how deep; None: as deep as the machine allows.
            only: ids of the checks to run; empty: all. One of them that cannot look is a problem.
            skip: ids of checks to leave out.
            require_gpu: absence of a GPU is a problem.
            timeout: seconds for each child of the probe: the import, and each device.
            hashes: read every file, and compare its hash with the recorded one.

        Raises:
            NoSuchEnvironment, InvalidValue: there is no such thing, or it contradicts another.
            InvalidFile, FileNotUsable, StaleLock: it has no lock that can be read.
        """
        from envforge.forge.judging import naming, verifying

        return verifying.verify(
            self._workplace,
            naming.Named(
                env=env,
                prefix=prefix,
                python=python,
                lock=lock,
                host=host,
                driver=driver,
                gpus=gpus,
            ),
            naming.Looking(
                level=level,
                only=only,
                skip=skip,
                require_gpu=require_gpu,
                timeout=timeout,
                hashes=hashes,
            ),
        )

    def checks(self) -> Mapping[str, Check]:
        """The table of checks, those of plug-ins included."""
        from envforge.forge.judging import verifying

        return verifying.checks()

    def tested_checks(self) -> Mapping[str, str | None]:
        """Id to None where a test proves the check in a world built for it, else to why not."""
        from envforge.adapters import check_plugins

        return check_plugins.tested_checks()

    # --- the machine, and how quick an environment is on it ----------------------------------

    def gpu(self, *, seconds: float = 2.0) -> GpuReport:
        """Who holds memory of each GPU, who of them uses it, and what could be given back.

        Args:
            seconds: how long to watch, at most 600.

        Raises:
            InvalidValue: `seconds` is out of range.
        """
        from envforge.forge.server import watching

        return watching.look(self._workplace, seconds=seconds)

    def run_watched(self, command: Sequence[str]) -> None:
        """Replace this process by a program that tells `gpu` what its allocator holds.

        Raises:
            ToolMissing: there is no such program.
        """
        from envforge.forge.server import watching

        watching.run(self._workplace, command)

    def doctor(self, *, network: bool = True, speed: bool = True, seconds: float = 1.0) -> Checkup:
        """What about this machine is in the way of everybody who works on it.

        Args:
            network: ask channels, wheel indexes and the hub.
            speed: measure how quick the store's disk is read: up to three seconds.
            seconds: how long the GPUs are watched.

        Raises:
            InvalidValue: `seconds` is out of range.
        """
        from envforge.forge.server import doctoring

        return doctoring.examine(self._workplace, network=network, speed=speed, seconds=seconds)

    def bench(
        self,
        env: str | None = None,
        *,
        prefix: Path | None = None,
        python: str | None = None,
        against: str | None = None,
        against_python: str | None = None,
        cases: Sequence[str] = (),
        modes: Sequence[str] = (),
        device: str = "auto",
        size: Literal["full", "tiny"] = "full",
        batch: int = 1,
        threads: int = 0,
        threshold: float = 0.1,
        rounds: int = 20,
        time_limit: float = 900.0,
        timeout: float = 600.0,
        load_from: Path | None = None,
        baseline: Path | None = None,
        save: Path | None = None,
    ) -> BenchResult:
        """Time small models in an environment, alone or in turns with another.

        Args:
            env: name or folder; or `prefix` or `python`, as for `verify`.
            prefix: where `env` is installed, None: found; alone, any environment.
            python: an interpreter with torch.
            against: another environment, measured in turns with the first.
            against_python: another interpreter instead.
            cases: of `model.bench.CASES`; empty: all.
            modes: `eager`, `compiled`; empty: both.
            device: `cpu`, `cuda:0`, or `auto`: a GPU where torch sees one.
            size: `tiny` shows that it runs, and says little of speed.
            batch: images or texts a call.
            threads: of torch; 0: as torch decides.
            threshold: the smallest difference that matters, as a share.
            rounds: processes of each side at most; fewer where intervals are narrow sooner.
            time_limit: seconds after which no round is begun.
            timeout: seconds for one answer: an import, a compilation, some calls.
            load_from: folder on the disk that a cold start loads weights from; None: the cache.
            baseline: a result that was saved, to compare with.
            save: where to write this one.

        Raises:
            InvalidValue, InvalidFile: what was asked for makes no sense, or the baseline is none
                of such a machine.
            BrokenPrefix: there is no interpreter.
            FileNotUsable: `save` cannot be written, which is seen before anything is measured.
            ToolFailed, ToolMissing: it cannot import torch, or does not start.
        """
        from envforge.adapters.files import refuse_unwritable
        from envforge.forge.benching import bench
        from envforge.forge.benching.measuring import Effort
        from envforge.model.bench import BenchOptions

        if save is not None:
            refuse_unwritable(save)
        options = BenchOptions(size=size, batch=batch, threads=threads, device=device)
        wanted = bench.Wanted(
            env=env,
            prefix=prefix,
            python=python,
            against=against,
            against_python=against_python,
            cases=cases,
            modes=modes,
            options=options,
            effort=Effort(
                least=min(Effort().least, rounds),
                most=rounds,
                seconds=time_limit,
                timeout=timeout,
                threshold=threshold,
            ),
            baseline=baseline,
            load_from=load_from,
        )
        result = bench.bench(self._workplace, wanted)
        if save is not None:
            bench.write_result(result, save)
        return result

    def last_bench(self, name: str) -> BenchResult | None:
        """What the last `bench` of an environment measured; None: nothing that can be read."""
        from envforge.forge.benching import bench

        return bench.last_result(self._workplace, name)

    # --- one environment for everybody ------------------------------------------------------

    def publish(
        self,
        env: str,
        root: Path,
        *,
        keep: int = 3,
        keep_for: float = 7 * 86400.0,
        locked: bool = False,
        force: bool = False,
        require_gpu: bool = False,
        dry_run: bool = False,
    ) -> PublishResult:
        """Install a version of its own, verify and freeze it, and switch `root/NAME` to it.

        Args:
            env: name or folder.
            root: the folder that everybody knows; only its owner may write it.
            keep: old versions that stay, in use or not.
            keep_for: seconds for which older ones stay after they were left.
            locked: never solve.
            force: go on though it cannot run here.
            require_gpu: absence of a GPU is a problem.
            dry_run: only say which version it would be.

        Raises:
            NotPublished: the place is taken or not safe, or the new version has problems.
            CannotRunHere, StaleLock, InstallError: see `install`; the link is as it was.
        """
        from envforge.forge.prefixes import installing, preflight, publishing

        path = self._workplace.environments.locate(env)
        lock = installing.current_lock(self._workplace, path, locked=locked, dry_run=dry_run)
        preflight.Gate(self._workplace, path, target_host=False, force=force).check(lock)
        return publishing.publish(
            self._workplace,
            path,
            lock,
            root,
            keeping=publishing.Keeping(number=keep, seconds=keep_for),
            require_gpu=require_gpu,
            dry_run=dry_run,
        )

    def published(self, name: str, root: Path) -> tuple[PublishedVersion, ...]:
        """The versions of a published environment, oldest first, and who is seen to use them.

        Raises:
            InvalidValue: nothing of this name was published there.
        """
        from envforge.forge.prefixes import publishing

        return publishing.versions(name, root)

    def rollback(
        self, name: str, root: Path, *, to: int | None = None, dry_run: bool = False
    ) -> PublishResult:
        """Switch a published environment to an older version, after looking at its files.

        Args:
            name: of the environment.
            root: where it was published.
            to: number of a version; None: the one before.
            dry_run: only say which version it would be.

        Raises:
            InvalidValue: there is no such version.
            NotPublished: it is not good any more.
        """
        from envforge.forge.prefixes import publishing

        return publishing.roll_back(self._workplace, name, root, number=to, dry_run=dry_run)

    # --- machines without a network ---------------------------------------------------------

    def pack(
        self,
        envs: Sequence[str],
        output: Path | BinaryIO,
        *,
        platform: Platform | None = None,
        models: bool = False,
        bootstrap: bool = True,
        receipt: Path | None = None,
        dry_run: bool = False,
    ) -> Packed:
        """Write environments with all they are made of into one file; equal ones, equal bytes.

        Args:
            envs: names or folders; what several need is in it once.
            output: the file, replaced once the pack is whole (until then `FILE.part/` holds what
                there is, and the same call goes on with it); or a stream.
            platform: of the machine it is for; None: this one's.
            models: bring the files of their models along.
            bootstrap: bring Python and envforge along, for machines that have neither.
            receipt: write its receipt here as well, to be carried another way.
            dry_run: only say what would be packed.

        Raises:
            StaleLock: a lock is not current.
            CorruptArchive, WrongBytes: something is not what its lock says.
            Unreachable, NotCached: something cannot be had.
        """
        from envforge.forge.packs import packing

        request = packing.PackRequest(
            platform=platform or self.platform, models=models, bootstrap=bootstrap
        )
        return packing.pack(
            self.cache,
            self._workplace,
            envs,
            output,
            request,
            receipt=receipt,
            dry_run=dry_run,
        )

    def unpack(
        self,
        source: Path | BinaryIO,
        *,
        receipt: Path | None = None,
        models: bool = True,
        force: bool = False,
        dry_run: bool = False,
    ) -> Unpacked:
        """Prove every byte of a pack, then fill caches, store and folders; no network.

        Afterwards `install` works offline.

        Args:
            source: a file, or a stream.
            receipt: came another way; the pack's own must equal it.
            models: bring the files of models into the store, too.
            force: replace folders of environments that differ.
            dry_run: only prove it.

        Raises:
            BrokenPack: it is not what `pack` wrote; nothing was touched.
            EnvironmentExists: a folder of that name holds something else.
            NotEnoughSpace, StoreFull, NoStore, NotStoreOwner: nothing was touched.
        """
        from envforge.forge.packs import unpacking

        return unpacking.unpack(
            self.cache,
            self._workplace,
            source,
            receipt=receipt,
            models=models,
            force=force,
            dry_run=dry_run,
        )

    # --- environments -----------------------------------------------------------------------

    def add(
        self,
        env: str,
        packages: Sequence[str],
        *,
        install: bool = True,
        dry_run: bool = False,
        force: bool = False,
    ) -> tuple[LockResult, InstallResult | None]:
        """Add packages to environment.yml, lock again (what fits stays), and install.

        With `force`, it is installed though it cannot run here.

        Raises:
            CannotRunHere: what is locked cannot be installed here; nothing was written.
            InvalidValue: a spec that cannot be read.
            Unsolvable: nothing was written.
        """
        from envforge.forge import folders
        from envforge.forge.prefixes import installing, preflight
        from envforge.forge.solving import locking

        path = self._workplace.environments.locate(env)
        gate = preflight.Gate(self._workplace, path, force=force)
        before = folders.read_lock(self._workplace, path) if install else None
        if before is not None:
            gate.check(before)
        locked = locking.add(self._workplace, path, packages, dry_run=dry_run)
        if dry_run or not install:
            return locked, None
        gate.check(locked.lock)
        return locked, installing.install(self._workplace, path, locked.lock, None)

    def update(
        self,
        env: str,
        packages: Sequence[str] = (),
        *,
        torch: str | None = None,
        cuda: str | CudaVersion | None = None,
        models: bool = False,
        max_moves: int | None = None,
        exclude_newer: str | None = None,
        dry_run: bool = False,
    ) -> UpdateResult:
        """Make packages newer within the ranges of environment.yml, and move little else.

        Args:
            env: name or folder.
            packages: those that are to move, `numpy` or `numpy=1.26`: each becomes as new as its
                range lets it, and of the others only those move that have to. Empty: all become
                as new as their ranges let them.
            torch: another version: the environment of the new name is made beside this one.
            cuda: another CUDA, or `cpu`; the same.
            models: pin the models of models.yml anew, too.
            max_moves: how many packages that were not named may change, come or go; None: any.
            exclude_newer: `2024-03-01` or a moment of RFC 3339: what was published later does
                not exist.
            dry_run: write nothing.

        Raises:
            TooManyMoves: more would move than `max_moves`; nothing was written.
            InvalidValue: a package that is not there, or whose version is part of the name.
            Unsolvable, NoMatchingBuild, EnvironmentExists, StaleLock: nothing was written.
        """
        from envforge.forge.solving import updating
        from envforge.formats.text import moment

        wanted = updating.Wanted(
            packages=tuple(packages),
            torch=torch,
            cuda=None if cuda is None else str(cuda),
            models=models,
            max_moves=max_moves,
            exclude_newer=moment.parse(exclude_newer) if exclude_newer else None,
            dry_run=dry_run,
        )
        return updating.update(self._workplace, self._workplace.environments.locate(env), wanted)

    def names(self) -> tuple[str, ...]:
        """Names of all environments."""
        return self._workplace.environments.names()

    def environments(self) -> tuple[EnvironmentInfo, ...]:
        """All environments; one that cannot be read is listed with its problem."""
        from envforge.forge import looking

        return tuple(looking.info(self._workplace, name) for name in self.names())

    def show(self, env: str) -> EnvironmentInfo:
        """One environment.

        Raises:
            NoSuchEnvironment, InvalidFile
        """
        from envforge.forge import looking

        path = self._workplace.environments.locate(env)
        return looking.read_info(self._workplace, path)

    def run(self, env: str, command: Sequence[str], *, prefix: Path | None = None) -> None:
        """Replace this process by a command in the environment; does not return.

        Raises:
            BrokenPrefix: it is not installed, or an install of it was interrupted.
            ToolMissing: the environment has no such program.
        """
        from envforge.forge.prefixes import entering

        entering.run(self._workplace, env, command, prefix=prefix)

    def activate(self, env: str, *, shell: str | None = None, prefix: Path | None = None) -> str:
        """Shell code that activates an environment.

        Args:
            env: name or folder.
            shell: `bash`, `zsh`, `fish` or `powershell`; None: the one in `$SHELL`.
            prefix: where it is installed; None: found.
        """
        from envforge.forge.prefixes import entering

        return entering.activate(self._workplace, env, shell=shell, prefix=prefix)

    def env(
        self,
        env: str,
        *,
        prefix: Path | None = None,
        allocator: str | None = None,
        deterministic: bool | None = None,
        threads: str | None = None,
        dry_run: bool = False,
    ) -> EnvironmentVariables:
        """Each variable that activation sets: value, reason and source.

        What is chosen is written into the prefix, for conda's activation as for ours, and stays
        through later installs.

        Args:
            env: name or folder.
            prefix: where it is installed; None: found.
            allocator: how torch keeps the memory of GPUs: `default`, `expandable` or
                `shared-server`; None: as it was.
            deterministic: the same numbers in every run; None: as it was.
            threads: `auto` (no more than the control group grants), `off` or a number; None: as
                it was.
            dry_run: write nothing; `changed` tells what would be.

        Raises:
            BrokenPrefix: it is not installed, or may not be changed.
            InvalidValue: no such choice, or not with this torch.
        """
        from envforge.forge.activation import explaining

        return explaining.env(
            self._workplace,
            env,
            prefix=prefix,
            allocator=allocator,
            deterministic=deterministic,
            threads=threads,
            dry_run=dry_run,
        )

    def plan_removal(
        self, env: str, *, prefix: Path | None = None, folder: bool = False
    ) -> tuple[Path, ...]:
        """What `remove` would delete."""
        from envforge.forge.prefixes import installing

        return installing.plan_removal(self._workplace, env, prefix=prefix, folder=folder)

    def remove(self, env: str, *, prefix: Path | None = None, folder: bool = False) -> None:
        """Delete what was installed, and with `folder` the lock's folder too.

        Raises:
            BrokenPrefix: the directory is no environment of ours.
        """
        from envforge.forge.prefixes import installing

        installing.remove(self._workplace, env, prefix=prefix, folder=folder)

    # --- locks ------------------------------------------------------------------------------

    def adopt(
        self,
        source: str,
        *,
        project: str | None = None,
        environment: str | None = None,
        torch: str | None = None,
        cuda: str | None = None,
        python: str | None = None,
        torch_source: str | None = None,
        platforms: Sequence[str] = (),
        lock: bool = True,
        dry_run: bool = False,
        force: bool = False,
    ) -> AdoptResult:
        """Make a folder of somebody else's environment: a file of any tool, or a live prefix.

        Exact versions of direct dependencies stay where they can still be had. Where channels and
        indexes are in reach the folder is locked as well, close to what the source has locked.

        Args:
            source: a file, a folder, a conda prefix, or the name of a conda environment.
            project: first part of the new name; None: from the source.
            environment: which one of a source that holds several.
            torch: instead of what the source says; so are `cuda` and `python`.
            cuda: `11.8`, `cu118`, `cpu`.
            python: `3.10`.
            torch_source: `pytorch`, `conda-forge`, `wheels`, `auto`; None: as the source has it.
            platforms: instead of the source's.
            lock: solve, so that the pins are known to hold.
            dry_run: write nothing.
            force: replace a folder of this name.

        Raises:
            InvalidFile: the source cannot be read (with line and reason), or holds no torch.
            InvalidValue: it does not say which CUDA, or which environment is meant.
            NoMatchingBuild: its torch is published nowhere that envforge knows.
            EnvironmentExists: the name is taken.
        """
        from envforge.forge.adopting import adopt, find

        wanted = find.Wanted(
            project=project,
            environment=environment,
            torch=torch,
            cuda=cuda,
            python=python,
            source=torch_source,
            platforms=tuple(platforms),
        )
        return adopt.adopt(self._workplace, source, wanted, lock=lock, dry_run=dry_run, force=force)

    def check(
        self, named: Sequence[str] = (), *, fix: bool = False, availability: bool = False
    ) -> tuple[LockReport, ...]:
        """Whether locks are current and sound; no solver, and without `availability` no network.

        Args:
            named: environments by name or folder, files of one, or any conda-lock.yml; empty:
                all environments.
            fix: mend first what needs no decision: mirrors' addresses, credentials, layout.
            availability: ask for every locked archive, too: what is gone, and where else it is.

        Raises:
            NoSuchEnvironment, InvalidValue: there is no such thing, or nothing to check.
        """
        from envforge.forge.locks import checking_locks

        reports = checking_locks.check(self._workplace, named, fix=fix)
        if not availability:
            return reports
        from envforge.forge.locks.availability import with_availability

        return with_availability(self._workplace, reports)

    def diff(self, old: str, new: str | None = None) -> Comparison:
        """What moved from one lock to another.

        Args:
            old: an environment, a lock file of any tool, a conda prefix, `installed:ENV`,
                `REV:PATH` of git, or `-`; `#NAME` behind it chooses one environment in a file.
            new: the same; None: the working folder, against `old` in a revision or in the last
                commit.

        Raises:
            InvalidFile: one of them cannot be read, or pins nothing.
            InvalidValue: there is no such revision, or nothing to compare.
        """
        from envforge.forge.locks import differing

        return differing.diff(self._workplace, old, new)

    def export(
        self,
        env: str,
        to: str,
        *,
        platforms: Sequence[str] = (),
        sha256: bool = False,
        given: Mapping[str, str] | None = None,
    ) -> Export:
        """Write an environment in another tool's format; `write_export` puts it on disk.

        Args:
            env: name or folder of an environment, or what `diff` takes: another tool's lock, a
                conda prefix, `installed:ENV`, `REV:PATH` of git.
            to: one of `model.export.EXPORT_TARGETS` and `around.outputs.OUTPUTS`, or the name of
                an own template in `settings.templates`.
            platforms: only these; empty: all that are locked.
            sha256: in `explicit`, sha256 instead of md5.
            given: of what templates write, values for its fields, by name.

        Raises:
            InvalidValue: no such format or platform, or nothing in `env` that it could hold.
            StaleLock: there is no lock.
            ToolMissing: a bill of materials, without the libraries of `envforge[sbom]`.
        """
        from envforge.forge.locks import exporting

        return exporting.export(
            self._workplace,
            env,
            to,
            platforms=platforms,
            sha256=sha256,
            given=given,
        )

    def write_export(self, export: Export, output: str | Path) -> tuple[Path, ...]:
        """Write the files of an export, several of them into a folder.

        Raises:
            InvalidValue: it would replace a file of the environment itself.
            FileNotUsable: it cannot be written.
        """
        from envforge.forge.locks import exporting

        return exporting.write(export, output)

    def report(
        self,
        *,
        since: str | None = None,
        verified: Sequence[Path] = (),
        benchmarks: Sequence[Path] = (),
    ) -> Overview:
        """All environments, what this machine runs, what moved, and who uses the disk.

        Only looked at: nothing is verified or measured for it. The last verifications and
        benchmarks of this user are remembered.

        Args:
            since: a revision of git to compare the locks with; None: what was committed last.
            verified: answers of `envforge verify --json`, instead of what is remembered.
            benchmarks: what `envforge bench --save` wrote, instead of what is remembered.

        Raises:
            InvalidValue: `since` is no revision.
            InvalidFile, FileNotUsable: one of the files cannot be read.
        """
        from envforge.forge import reporting

        return reporting.overview(
            self.cache, self._workplace, since=since, verified=verified, benchmarks=benchmarks
        )

    def write_report(self, overview: Overview, folder: Path, *, force: bool = False) -> Path:
        """Write the page, one HTML file that needs nothing else; its path.

        Raises:
            InvalidValue: another page lies there; `force` replaces it.
            FileNotUsable: it cannot be written.
        """
        from envforge.adapters import web_page

        return web_page.write(overview, folder, force=force)

    def git_install(self, folder: Path | None = None, *, remove: bool = False) -> GitInstalled:
        """Make a git repository show and merge locks by their packages, or stop it.

        Args:
            folder: in the repository; None: the folder we stand in.
            remove: take out what was set up.

        Raises:
            InvalidValue: the folder is in no repository.
        """
        from envforge.forge.locks import git_driving

        return git_driving.install(self._workplace, folder or Path.cwd(), remove=remove)

    def readable_lock(self, path: Path) -> str:
        """A lock as lines to compare, a package a line; any other text as it is."""
        from envforge.forge.locks import git_driving

        return git_driving.readable(path)

    def merge_locks(self, base: Path, ours: Path, theirs: Path) -> LockMerge:
        """Merge what two branches made of a lock into `ours`: a lock, without conflict marks.

        Unless it is one side's as a whole it is marked as never solved, and counts as stale.
        """
        from envforge.forge.locks import git_driving

        return git_driving.merge_files(self._workplace, base, ours, theirs)

    # --- knowledge --------------------------------------------------------------------------

    def templates(self) -> tuple[Template, ...]:
        """The environments to start from."""
        from envforge.forge.solving import starting

        return tuple(starting.load_template(name) for name in starting.template_names())

    def template(self, name: str) -> Template:
        """One of them.

        Raises:
            InvalidValue: there is none of this name.
        """
        from envforge.forge.solving import starting

        return starting.load_template(name)
