"""`ModelCache`: what can be done with models, one method a task."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from envforge.forge.workplace import Workplace

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from envforge.adapters.store.store import Store
    from envforge.cache.collect_plan import Collected
    from envforge.cache.dedupe_plan import Proof
    from envforge.cache.usage import Usage
    from envforge.model.compile_cache import CompileCache, CompileChange, CompileTrial
    from envforge.model.deduping import DedupeResult, UndoResult
    from envforge.model.fetching import Prefilled
    from envforge.model.found import ModelPath, Policy
    from envforge.model.health import Diagnosis, StoreHealth, StoreMade
    from envforge.model.models import ModelChange
    from envforge.model.proof import LoadProof
    from envforge.model.results import ModelsResult, ModelsState
    from envforge.model.views import ViewResult, ViewVariables


class ModelCache:
    """Reached as `Forge().cache`; methods import what they need when they are called."""

    def __init__(self, workplace: Workplace) -> None:
        self._workplace = workplace

    @cached_property
    def store(self) -> Store:
        """The store of the settings.

        Raises:
            NoStore: there is none yet.
            UntrustedStore: others may write into it.
        """
        from envforge.adapters.store.store import Store

        return Store.open(self._workplace.settings.store)

    # --- the store --------------------------------------------------------------------------

    def init(self, *, group: str | None = None) -> StoreMade:
        """Make the store of the settings; with `group`, one that only its members can read.

        A store that is there is kept; with `group`, its folders are opened to that group.

        Raises:
            InvalidValue: no such group, or none of ours; the folder holds something else.
            UntrustedStore: others could put files into it.
            FileNotUsable: it cannot be made.
        """
        from envforge.forge.caching import founding

        return founding.found(self._workplace, group)

    def serve(self, stop: threading.Event) -> None:
        """Make hardlinks for other users until `stop` is set.

        Raises:
            NoStore, UntrustedStore: there is none that could be served.
            ServiceRefused: it is somebody else's, or another process serves it.
            FileNotUsable: no socket can be made in it.
        """
        from envforge.forge.caching import serving

        serving.serve(self._workplace, self.store, stop)

    def doctor(self, *, speed: bool = True) -> Diagnosis:
        """What about the disk and its settings is in the way; works before there is a store, too.

        With `speed`, up to 64 MB are written, and read for up to three seconds.
        """
        from envforge.forge.caching import doctoring

        return doctoring.diagnose(self._workplace, speed=speed)

    def verify(
        self, names: Sequence[str] = (), *, deep: bool = False, repair: bool = False
    ) -> StoreHealth:
        """Compare every file with its lock, and every view with the store; no network.

        Args:
            names: environments, repositories (`org/name`) or folders of views; empty: everything.
            deep: read all bytes, and compare their hashes.
            repair: put aside what is damaged, fetch it again (over the network, unless
                `settings.offline`), and make the views anew that had it.

        Raises:
            NoStore, UntrustedStore: there is none that can be looked at.
            NoSuchEnvironment: a name is that of no environment, repository or view.
            NotStoreOwner: only its owner can mend a store.
        """
        from envforge.forge.caching import checking

        return checking.verify(self, self._workplace, names, deep=deep, repair=repair)

    # --- locks ------------------------------------------------------------------------------

    def lock(
        self, env: str, *, models: Sequence[str] = (), keep: bool = False, dry_run: bool = False
    ) -> ModelsResult:
        """Pin the models of an environment: models.yml becomes models-lock.yml.

        Args:
            env: name or folder.
            models: added to models.yml first: `org/name`, `org/name@revision`,
                `dataset:org/name`, `org/name:tokenizer-only`.
            keep: what is locked already stays at its commit; only what is new is looked up.
            dry_run: write nothing.

        Raises:
            InvalidFile: models.yml cannot be read, or there is none and nothing to put into it.
            NoSuchModel, HostileRepo, WrongBytes, Unreachable: nothing was written.
        """
        from envforge.forge.caching import locking

        return locking.lock(self._workplace, env, models=models, keep=keep, dry_run=dry_run)

    def check(self, envs: Sequence[str] = ()) -> tuple[ModelsState, ...]:
        """Whether models.yml and models-lock.yml agree; no network.

        Args:
            envs: names or folders; empty: all environments that have models.

        Raises:
            InvalidFile, HostileRepo: a file that cannot be used.
        """
        from envforge.forge.caching import locking

        return locking.check(self._workplace, envs)

    def diff(self, env: str, other: str | None = None) -> tuple[ModelChange, ...]:
        """What moved from one lock to another; each an environment, a lock file or `-`.

        Without `other`, from the lock to what the hub has now.

        Raises:
            InvalidFile, HostileRepo, NoSuchModel, Unreachable
        """
        from envforge.forge.caching import locking

        return locking.diff(self._workplace, env, other)

    # --- compiled code ---------------------------------------------------------------------

    def compiled(self, env: str, *, prefix: Path | None = None) -> CompileCache:
        """What torch.compile, Triton and the driver keep for an environment, on this machine.

        Raises:
            BrokenPrefix: it is not installed, or keeps none.
        """
        from envforge.forge.activation import compiling

        return compiling.show(self._workplace, env, prefix)

    def try_compile(self, env: str, *, prefix: Path | None = None) -> CompileTrial:
        """Compile a small function in a fresh process of the environment: hit or miss.

        Raises:
            BrokenPrefix, ToolFailed
        """
        from envforge.forge.activation import compiling

        return compiling.attempt(self._workplace, env, prefix)

    def share_compiled(self, env: str, *, prefix: Path | None = None) -> CompileChange:
        """Copy what we compiled into the environment: others link it at their next activation.

        Raises:
            BrokenPrefix, FileNotUsable: only who may write the environment can.
        """
        from envforge.forge.activation import compiling

        return compiling.share(self._workplace, env, prefix)

    def pack_compiled(self, env: str, output: Path, *, prefix: Path | None = None) -> CompileChange:
        """Put it into one tar, for machines of the same kind; equal files give equal bytes.

        Raises:
            BrokenPrefix, FileNotUsable
        """
        from envforge.forge.activation import compiling

        return compiling.pack(self._workplace, env, output, prefix)

    def unpack_compiled(
        self, env: str, source: Path, *, prefix: Path | None = None
    ) -> CompileChange:
        """Verify such a tar, and take what is not here yet. It is code, and will be run.

        Raises:
            BrokenPack: for another environment, lock or machine, or changed by a bit.
            BrokenPrefix, FileNotUsable
        """
        from envforge.forge.activation import compiling

        return compiling.unpack(self._workplace, env, source, prefix)

    def collect_compiled(
        self,
        env: str,
        *,
        limit: int,
        older_than: float = 3600.0,
        prefix: Path | None = None,
        dry_run: bool = False,
    ) -> CompileChange:
        """Remove the least recently used until `limit` bytes are left, for all kinds of machine.

        Args:
            env: name or folder.
            limit: bytes. The driver limits its own part by CUDA_CACHE_MAXSIZE.
            older_than: seconds; what was used since then stays.
            prefix: where it is installed; None: found.
            dry_run: remove nothing.

        Raises:
            BrokenPrefix, FileNotUsable
        """
        from envforge.forge.activation import compiling

        return compiling.collect(
            self._workplace,
            env,
            limit=limit,
            older_than=older_than,
            prefix=prefix,
            dry_run=dry_run,
        )

    # --- space ------------------------------------------------------------------------------

    def scan(self, caches: Sequence[Path] = ()) -> Usage:
        """Who uses which bytes, counted by inode; nothing is written or hashed.

        Args:
            caches: other cache trees of huggingface_hub to look at, besides the store's views.

        Raises:
            NoStore: there is none yet.
            InvalidValue: one of `caches` is no folder.
        """
        from envforge.forge.caching import scanning

        return scanning.scan_store(self._workplace, self.store, caches)

    def collect(
        self,
        *,
        older_than: float = 30 * 86400.0,
        keep_free: int | None = None,
        views: bool = False,
        dry_run: bool = False,
    ) -> Collected:
        """Remove what no view links to, no lock names, no lease holds, and is old enough.

        Args:
            older_than: seconds for which nothing must have happened to a file.
            keep_free: remove the oldest only until so many bytes are free; None: all that may go.
            views: remove the views of environments that are gone, first.
            dry_run: only say what would go.

        Raises:
            NoStore, NotStoreOwner: there is none, or it is somebody else's.
            InvalidFile, HostileRepo: a lock, lease or registered view cannot be read.
            FileNotUsable: read-only, or the disk refuses.
        """
        from envforge.forge.caching import collecting

        return collecting.collect(
            self._workplace,
            self.store,
            older_than=older_than,
            keep_free=keep_free,
            views=views,
            dry_run=dry_run,
        )

    # --- files ------------------------------------------------------------------------------

    def prefill(
        self,
        names: Sequence[str] = (),
        *,
        jobs: int = 8,
        view: bool = True,
        dry_run: bool = False,
    ) -> Prefilled:
        """Bring the files of models into the store, and show them in the environments' views.

        Args:
            names: environments, or repositories that no environment locks; empty: every
                environment that has models.
            jobs: files that are fetched at once.
            view: make, or refresh, the environments' views as well.
            dry_run: only say what would be fetched.

        Raises:
            NoStore, UntrustedStore: there is no store to fill.
            StaleLock: a lock is not what its models.yml asks for.
            StoreFull: there is no room; nothing was fetched.
            NotCached: files are missing, and we are offline or may not write the store.
            WrongBytes, NoSuchModel: one file was refused; all others are there.
            Unreachable: what has come is kept, and the next call goes on with it.
        """
        from envforge.forge.caching import prefilling

        return prefilling.prefill(
            self, self._workplace, names, jobs=jobs, view=view, dry_run=dry_run
        )

    # --- views ------------------------------------------------------------------------------

    def view(
        self,
        target: str,
        *,
        environments: Sequence[str] = (),
        models: Sequence[str] = (),
        user: str | None = None,
        flat: bool | None = None,
    ) -> tuple[ViewResult, ...]:
        """Make, or refresh, a cache tree of hardlinks; what its user added to it stays.

        Args:
            target: an environment (name or folder), the path of a folder for the view itself, or
                the name of a user.
            environments: whose models a folder or a user gets; empty: those of all that have any.
                Where two mean different commits by one branch, the later one wins.
            models: what a folder or a user gets besides, or, without `environments`, alone:
                `org/name`, `org/name@revision`, at the commit that the hub has now.
            user: whom it is for, by name or number; None: us, the user that is the target, or who
                owns the folder.
            flat: also one for transformers before 4.22; None: where the environment has such, or
                it is there; False: one that is there goes.

        Returns:
            The view, and the flat one where there is or was one.

        Raises:
            StaleLock: a lock of models is not what models.yml asks for.
            NotCached: files are missing in the store.
            ViewRefused: something is in the way there, or copies do not fit.
            HostileRepo: the lock names files that would leave their folder.
        """
        from envforge.forge.caching import viewing

        return viewing.view(
            self._workplace,
            self.store,
            target,
            environments=environments,
            models=models,
            user=user,
            flat=flat,
        )

    def remove_view(self, target: str, *, user: str | None = None) -> tuple[ViewResult, ...]:
        """Take a view away; what its user added to it stays, and the store is as before.

        Args:
            target: as for `view`.
            user: whose view; None: ours.

        Raises:
            NotCached: there is no such view.
        """
        from envforge.forge.caching import viewing

        return viewing.remove(self._workplace, self.store, target, user=user)

    def variables(
        self, target: str, *, user: str | None = None, offline: bool = False
    ) -> ViewVariables:
        """What makes clients use a view.

        Args:
            target: as for `view`.
            user: whose view; None: ours.
            offline: also have clients ask no hub.

        Raises:
            NotCached: there is no such view.
        """
        from envforge.forge.caching import viewing

        return viewing.variables(self._workplace, target, user=user, offline=offline)

    # --- proof ------------------------------------------------------------------------------

    def prove(
        self,
        env: str,
        repo: str,
        *,
        revision: str | None = None,
        command: Sequence[str] = (),
        prefix: Path | None = None,
        once: bool = False,
        timeout: float = 1800.0,
    ) -> LoadProof:
        """Load a model in an environment, offline and watched: did it come from the store?

        Args:
            env: name or folder.
            repo: a model of its lock.
            revision: branch, tag or commit, where several are locked.
            command: loads in its own way; empty: transformers' AutoModel, or huggingface_hub.
            prefix: where `env` is installed; None: found.
            once: run once, not a second time for the warm figure.
            timeout: seconds for one run.

        Raises:
            InvalidValue, StaleLock: the environment's lock has no such model, or is not current.
            BrokenPrefix, NotCached: the environment is not installed, or has no view.
            ToolMissing, ToolFailed: programs cannot be watched here, or it took too long.
        """
        from envforge.forge.caching import proving

        return proving.prove(
            self._workplace,
            self.store,
            env,
            repo,
            revision=revision,
            command=command,
            prefix=prefix,
            once=once,
            timeout=timeout,
        )

    def path(
        self,
        repo: str,
        *,
        revision: str | None = None,
        allow: Sequence[str] = (),
        ignore: Sequence[str] = (),
        policy: Policy = "local-first",
        cache: Path | None = None,
    ) -> ModelPath:
        """The folder of a snapshot, for a program: see `envforge.models.path`.

        Raises:
            NotCached, NoSuchModel, Unreachable, InvalidValue
        """
        from envforge.forge.caching import finding

        return finding.path(
            self._workplace,
            repo,
            revision=revision,
            allow=allow,
            ignore=ignore,
            policy=policy,
            cache=cache,
        )

    # --- caches that are there already ------------------------------------------------------

    def dedupe(
        self,
        paths: Sequence[Path],
        *,
        proof: Proof = "default",
        any_owner: bool = False,
        any_mode: bool = False,
        dry_run: bool = False,
    ) -> DedupeResult:
        """Make equal model files of existing caches links of one.

        Refs, listings, locks, unfinished downloads and hub's own shared store are left alone. A
        kill at any moment loses nothing; the run can be taken back with `undo_dedupe`.

        Args:
            paths: folders with caches, of any number of users.
            proof: `default`: the copy that is kept is read wholly, of the others samples;
                `compare`: all are read; `trust-names`: none is.
            any_owner: link files of different owners, too; each can then change it for all.
            any_mode: ... of different permissions, access lists and labels.
            dry_run: change nothing. Files that no cache names are read, as their gain is unknown.

        Raises:
            FileNotUsable: a path cannot be read, or the journal not be written.
        """
        from envforge.cache.dedupe_plan import Rules
        from envforge.forge.caching import deduping

        rules = Rules(any_owner=any_owner, any_mode=any_mode)
        return deduping.dedupe(self._workplace, paths, proof=proof, rules=rules, dry_run=dry_run)

    def undo_dedupe(self, paths: Sequence[Path] = (), *, journal: Path | None = None) -> UndoResult:
        """Give the names that a run made links a file of their own again.

        Args:
            paths: only names below these folders; empty: all.
            journal: of the run; None: the last that was not undone.

        Raises:
            InvalidValue: there is no such run.
            InvalidFile: the journal cannot be read.
            StoreFull: the copies would not fit; nothing was changed.
        """
        from envforge.forge.caching import deduping

        return deduping.undo(self._workplace, paths, journal)

    def adopt(self, paths: Sequence[Path], *, dry_run: bool = False) -> DedupeResult:
        """Take the model files of existing caches into the store, and link the caches to it.

        Files become read-only, and the store owner's. On another filesystem they are copied into
        the store, and the caches stay as they are.

        Raises:
            NoStore, UntrustedStore: there is no store to take them.
            NotOwner: the store, or the files, belong to somebody else, and we are not root.
            FileNotUsable: a path cannot be read, or the disk is full.
        """
        from envforge.forge.caching import adopting

        return adopting.adopt(self._workplace, self.store, paths, dry_run=dry_run)
