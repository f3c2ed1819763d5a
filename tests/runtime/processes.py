"""A server in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class ServerProcess:
    """``featcodec serve`` with these options; the address once it listens."""

    def __init__(self, *options: object) -> None:
        self._command = [sys.executable, "-m", "featcodec.cli", "serve", *map(str, options), "--threads", "1", "--log", "error"]
        self._address = ""
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True, env={**os.environ, **ONE_THREAD})

    @property
    def address(self) -> str:
        """Waits until it listens; of one that is started again, where it listened before."""
        if not self._address:
            line = self.process.stdout.readline()
            assert line.startswith("listening at "), f"the server left with {self.process.wait(10)}"
            self._address = line.split()[2].rstrip(",")
        return self._address

    def kill(self) -> None:
        """As a machine that loses its power."""
        self.process.kill()
        self.process.wait(10)
        self.process.stdout.close()
