"""What a figure depends on besides the code: the machine, the versions, the commit."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

import featcodec
from featcodec.machine import cpu_name, package_version
from featcodec.ops.host import device_name


def machine(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return what a figure depends on besides the code: processor, threads, device, versions, commit."""
    packages = ("torch", "numpy", "pillow", "pillow-heif", "constriction")
    return {
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "device": device_name(device),
        "python": platform.python_version(),
        "featcodec": featcodec.__version__,
        "versions": {name: package_version(name) for name in packages},
        "commit": _commit(),
    }


def _commit() -> str | None:
    here = Path(__file__).resolve().parent
    try:
        found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
