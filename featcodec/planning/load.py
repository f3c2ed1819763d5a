"""A machine that has other things to do: processes that compute beside what is timed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from featcodec.errors import PlanError

_BUSY = "import sys\nsys.stdout.write('.')\nsys.stdout.flush()\nwhile True: pass"
MOST = 256


@contextmanager
def busy(processes: int) -> Iterator[tuple[subprocess.Popen[bytes], ...]]:
    """Keep so many processes computing inside; they have begun when the body does, and are gone after it.

    Raises
    ------
    PlanError
        Not 0..256 processes.
    """
    if isinstance(processes, bool) or not isinstance(processes, int) or not 0 <= processes <= MOST:
        raise PlanError(f"busy is a number of processes, 0..{MOST}, got {processes!r}")
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(processes):
            started.append(subprocess.Popen([sys.executable, "-S", "-c", _BUSY], stdout=subprocess.PIPE))
        for process in started:
            assert process.stdout is not None
            process.stdout.read(1)
        yield tuple(started)
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.communicate()
