"""Journal: Optuna's journal in a file, which notices that the file is gone, and mends a last line that was never finished."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend


class Journal(JournalFileBackend):
    """A file, made with its folder where it is missing; a lock that a dead worker left is taken over after 30 seconds."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(str(path))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append lines, all of them or none.

        Raises
        ------
        FileNotFoundError
            The file is gone: what is appended to nothing is no study.
        """
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        self._lock.acquire()
        try:
            with open(self._file_path, "r+b") as file:
                end = _end_of_lines(file)
                file.seek(end)
                try:
                    file.write(lines)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:  # the disk is full, say
                    file.truncate(end)
                    raise
                file.truncate(end + len(lines))
        finally:
            self._lock.release()


def _end_of_lines(file: Any) -> int:
    """The place behind the last newline: what stands there was never finished, by a worker that was killed."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return int(start + found + 1)
        end = start
    return 0
