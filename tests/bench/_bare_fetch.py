"""A plain parallel download: `_bare_fetch.py ADDRESS FOLDER [sync] [hash] < paths`.

Eight connections, the standard library, each body straight into a file. With `sync` every file is
flushed to disk, with `hash` its sha256 is computed as it comes.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import queue
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

CONNECTIONS = 8


def main() -> None:
    """Fetch every path that standard input names, the order kept."""
    address, folder, *options = sys.argv[1:]
    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    for line in sys.stdin:
        todo.put(line.strip())
    place = Path(folder)
    place.mkdir(parents=True)

    def work() -> None:
        connection = http.client.HTTPConnection(urlsplit(address).netloc)
        buffer = memoryview(bytearray(1 << 20))
        while True:
            try:
                path = todo.get_nowait()
            except queue.Empty:
                return
            _fetch(connection, path, place / path.rpartition("/")[2], buffer, options)

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sum(file.stat().st_size for file in place.iterdir()))


def _fetch(
    connection: http.client.HTTPConnection,
    path: str,
    target: Path,
    buffer: memoryview,
    options: list[str],
) -> None:
    connection.request("GET", path)
    answer = connection.getresponse()
    digest = hashlib.sha256()
    with target.open("wb", buffering=0) as file:
        while size := answer.readinto(buffer):
            file.write(buffer[:size])
            if "hash" in options:
                digest.update(buffer[:size])
        if "sync" in options:
            os.fsync(file.fileno())


if __name__ == "__main__":
    main()
