"""What a figure depends on besides the code: the machine, the versions, the commit."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import featcodec


def machine(device: str = "cpu") -> dict[str, Any]:
    """Return what a figure depends on besides the code: processor, threads, device, versions, commit."""
    packages = ("torch", "numpy", "pillow", "pillow-heif", "constriction")
    return {
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if str(device).startswith("cuda") else str(device),
        "python": platform.python_version(),
        "featcodec": featcodec.__version__,
        "versions": {name: _version(name) for name in packages},
        "commit": _commit(),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    here = Path(__file__).resolve().parent
    try:
        found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
