"""Runs one command and writes its time and peak memory: `python -I -S _launch.py RESULT COMMAND…`.

Linux counts the memory of the process that starts a program towards that program's peak
(`ru_maxrss` outlives exec), so the one who starts it must be small. This one is.
"""

import os
import sys
import time

begin = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - begin
with open(sys.argv[1], "w", encoding="utf-8") as result:  # noqa: PTH123 - pathlib is not small
    result.write(f"{seconds} {usage.ru_maxrss} {os.waitstatus_to_exitcode(status)}")
