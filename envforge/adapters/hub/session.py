"""The hub is reached as the site's channels are: with its certificates, and through its proxy.

huggingface_hub asks the environment alone, and since 1.0, with httpx, `SSL_CERT_FILE` alone. What
conda is configured with, and `REQUESTS_CA_BUNDLE`, is for it too. Xet's own transfers know
only what the system and the environment trust.
"""

from __future__ import annotations

import threading
from typing import Any, Final

from envforge.adapters.rattler_client import bundle, condas_proxies, surroundings, with_variables
from envforge.model.settings import Settings

_LOCK: Final = threading.Lock()
_prepared: dict[str, str] = {}
"""For what; making it so closes the clients that are there."""


def prepare(settings: Settings) -> None:
    """Make huggingface_hub's clients so; nothing where the environment says it all."""
    given = surroundings(settings)
    said = all(settings.environment.get(name) == value for name, value in given.items())
    with _LOCK:
        if said or given == _prepared:
            return
        _prepared.clear()
        _prepared.update(given)
        _set_factory(settings)


def _set_factory(settings: Settings) -> None:
    import huggingface_hub

    if hasattr(huggingface_hub, "set_client_factory"):
        huggingface_hub.set_client_factory(lambda: _client(settings))
    else:  # 0.x, with requests
        huggingface_hub.configure_http_backend(backend_factory=lambda: _session(settings))


def _client(settings: Settings) -> Any:
    """The library's own; httpx reads the variables while it is made."""
    from huggingface_hub.utils import _http

    with with_variables(surroundings(settings)):
        return _http.default_client_factory()


def _session(settings: Settings) -> Any:
    import requests

    session = requests.Session()
    session.verify = bundle(settings) or True
    session.proxies.update(condas_proxies(settings))
    return session
