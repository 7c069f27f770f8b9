"""`Forge`: what envforge can do, one method a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from envforge.forge.workplace import Workplace, this_platform
from envforge.model.machine import Platform
from envforge.model.prefix import InstallResult
from envforge.model.results import CreateResult, EnvironmentInfo, LockResult, PlannedInstall
from envforge.model.settings import Settings
from envforge.model.spec import AUTO
from envforge.ports import MachineProbe, Reporter

if TYPE_CHECKING:
    from envforge.forge.caching.front import ModelCache
    from envforge.model.cuda import CudaVersion
    from envforge.model.finding import Level, Report
    from envforge.model.lock import Lock
    from envforge.model.template import Template
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
        from envforge.forge import asking, installing, locking, naming, preflight, verifying
        from envforge.forge.caching import creating
        from envforge.forge.caching import locking as model_locking

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
        )
        decision = asking.decide(
            self._workplace,
            request,
            driver=driver,
            gpus=gpus,
            target_host=target_host,
            force=force,
        )
        installing.check_platform(request.platforms)
        installing.check_place(self._workplace, decision.name, prefix)
        folder = self._workplace.environments.folder(decision.name)
        planned_models = model_locking.plan_request(self._workplace, folder, wanted)
        gate = preflight.Gate(
            self._workplace,
            folder,
            machine=decision.machine,
            target_host=target_host,
            force=force,
        )

        def check(lock: Lock) -> None:
            gate.check(lock)
            installing.check(self._workplace, folder, lock, prefix)

        locked = locking.lock_request(
            self._workplace,
            decision,
            dry_run=dry_run,
            force=force,
            engine=engine,
            before_writing=check,
        )
        gate.check(locked.lock)  # also one that was there already
        locked = model_locking.with_models(self._workplace, locked, planned_models)
        if dry_run:
            planned = installing.plan(self._workplace, locked.folder, locked.lock, prefix)
            return CreateResult(name=locked.name, lock=locked, planned=planned)
        installed = installing.install(self._workplace, locked.folder, locked.lock, prefix)
        prefilled = creating.prefill(self.cache, self._workplace, locked.folder)
        report = verifying.verify_one(
            self._workplace,
            locked.folder,
            installed.prefix,
            naming.Looking(require_gpu=require_gpu),
        )
        return CreateResult(
            name=locked.name, lock=locked, install=installed, prefill=prefilled, report=report
        )

    def lock(
        self,
        name: str,
        *,
        torch: str | None = None,
        cuda: str | CudaVersion | None = None,
        models: Sequence[str] = (),
        driver: str | None = None,
        gpus: Sequence[str] = (),
        engine: Engine = "rattler",
        force: bool = False,
        dry_run: bool = False,
        **request: Any,
    ) -> LockResult:
        """Write the folder of a new environment, or solve an edited environment.yml again.

        With `torch` or `cuda` it is a request, as for `create`; without, `name` is that of an
        environment. `models` are pinned beside it; those that were before stay as they are.

        Raises:
            Unsolvable, WrongBuild, EnvironmentExists, NoSuchEnvironment, MatrixError
        """
        from envforge.forge import asking, locking
        from envforge.forge.caching import locking as model_locking

        wanted = model_locking.parse(models)
        if torch is None and cuda is None:
            asking.refuse_request_options(name, {**request, "driver": driver, "gpus": gpus})
            path = self._workplace.environments.locate(name)
            planned = model_locking.plan_request(self._workplace, path, wanted)
            locked = locking.relock(self._workplace, path, dry_run=dry_run, engine=engine)
            return model_locking.with_models(self._workplace, locked, planned)
        asked = asking.make_request(self._workplace, name, torch=torch, cuda=cuda, **request)
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
        from envforge.forge import installing, preflight

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
        from envforge.forge import installing, preflight

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
        from envforge.forge import naming, verifying

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
        from envforge.forge import verifying

        return verifying.checks()

    def tested_checks(self) -> Mapping[str, str | None]:
        """Id to None where a test proves the check in a world built for it, else to why not."""
        from envforge.adapters import check_plugins

        return check_plugins.tested_checks()

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
        from envforge.forge import folders, installing, locking, preflight

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
        from envforge.forge import entering

        entering.run(self._workplace, env, command, prefix=prefix)

    def activate(self, env: str, *, shell: str | None = None, prefix: Path | None = None) -> str:
        """Shell code that activates an environment.

        Args:
            env: name or folder.
            shell: `bash`, `zsh`, `fish` or `powershell`; None: the one in `$SHELL`.
            prefix: where it is installed; None: found.
        """
        from envforge.forge import entering

        return entering.activate(self._workplace, env, shell=shell, prefix=prefix)

    def plan_removal(
        self, env: str, *, prefix: Path | None = None, folder: bool = False
    ) -> tuple[Path, ...]:
        """What `remove` would delete."""
        from envforge.forge import installing

        return installing.plan_removal(self._workplace, env, prefix=prefix, folder=folder)

    def remove(self, env: str, *, prefix: Path | None = None, folder: bool = False) -> None:
        """Delete what was installed, and with `folder` the lock's folder too.

        Raises:
            BrokenPrefix: the directory is no environment of ours.
        """
        from envforge.forge import installing

        installing.remove(self._workplace, env, prefix=prefix, folder=folder)

    # --- knowledge --------------------------------------------------------------------------

    def templates(self) -> tuple[Template, ...]:
        """The environments to start from."""
        from envforge.forge import starting

        return tuple(starting.load_template(name) for name in starting.template_names())

    def template(self, name: str) -> Template:
        """One of them.

        Raises:
            InvalidValue: there is none of this name.
        """
        from envforge.forge import starting

        return starting.load_template(name)
