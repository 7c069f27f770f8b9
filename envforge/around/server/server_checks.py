"""What of a machine is in the way of everybody who works on it: the table of checks of facts.

Each looks at what was seen and yields what is wrong, with what mends it; its docstring is the
claim. The driver, the GPUs and the model store have checks of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from envforge.around.server.checks import clock_and_modes, disks, package_caches, servers
from envforge.around.server.server_facts import ServerFacts
from envforge.model.finding import Finding

Check = Callable[[ServerFacts], Iterator[Finding]]

TOPICS: Final[Mapping[str, Mapping[str, Check]]] = {
    "disks": {
        "disk-room": disks.room,
        "disk-files": disks.inodes,
        "disk-writable": disks.writable,
        "disk-executable": disks.executable,
        "disk-lasting": disks.lasting,
        "disk-linked": disks.linked,
        "tmp-sticky": disks.sticky,
    },
    "quotas": {"quota": disks.quota, "quota-remote": disks.remote_quota},
    "package cache": {
        "cache-entered": package_caches.entered,
        "cache-safe": package_caches.safe,
        "cache-group": package_caches.of_a_group,
        "cache-open": package_caches.open_to_all,
        "cache-linkable": package_caches.linkable,
        "cache-clean": package_caches.clean,
    },
    "network": {"channels": servers.channels, "wheel-indexes": servers.indexes, "hub": servers.hub},
    "clock": {"clock-right": clock_and_modes.clock_right, "clock-kept": clock_and_modes.clock_kept},
    "umask": {"umask-own": clock_and_modes.own_umask, "umask-login": clock_and_modes.login_umask},
}
"""Topic to its checks."""
