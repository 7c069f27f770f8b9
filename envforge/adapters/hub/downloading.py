"""huggingface_hub's own download into a cache tree, for programs that may go online."""

from __future__ import annotations

from pathlib import Path

from envforge.adapters.hub import failures
from envforge.adapters.hub.client import HubClient
from envforge.errors import Unreachable
from envforge.model.found import ModelPath
from envforge.model.models import ModelRequest
from envforge.model.settings import Settings
from envforge.version import __version__


def download(settings: Settings, request: ModelRequest, cache: Path) -> ModelPath:
    """The newest commit of what is asked for; what the cache lacks of it is fetched.

    Raises:
        NoSuchModel, HostileRepo: see `HubClient.snapshot`.
        Unreachable: the hub cannot be asked, or the transfer ended early.
    """
    from huggingface_hub import snapshot_download

    client = HubClient(settings)
    snapshot = client.snapshot(request)
    allow, ignore = request.patterns
    try:
        folder = Path(
            snapshot_download(
                request.repo.id,
                repo_type=request.repo.kind,
                revision=request.revision,
                cache_dir=cache,
                allow_patterns=list(allow) or None,
                ignore_patterns=list(ignore) or None,
                endpoint=client.endpoint,
                library_name="envforge",
                library_version=__version__,
            )
        )
    except Exception as error:
        said = failures.explain(error, request.repo, request.revision, endpoint=client.endpoint)
        if said is None:
            raise
        raise said from error
    _check(folder, snapshot.commit, [item.path for item in snapshot.files], client.endpoint)
    return ModelPath(
        str(folder), source="online", commit=folder.name, cache=str(cache), complete=True
    )


def _check(folder: Path, commit: str, names: list[str], endpoint: str) -> None:
    """Where the hub goes away meanwhile, the library answers with what it had before."""
    missing = next((name for name in names if not (folder / name).is_file()), None)
    if folder.name != commit or missing is not None:
        lacks = f"`{missing}`" if missing else f"commit {commit[:7]}"
        raise Unreachable(
            url=endpoint,
            reason=f"the download ended before {lacks} was there",
            remedy="run it again: it goes on where it stopped",
        )
