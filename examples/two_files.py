"""A model as two files, for two machines: python examples/two_files.py.

This process has the model, cuts it and writes the files. Two others run them: each has one file, and no model.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import torch

import featcodec as fc
from featcodec.bench.data import embedded
from featcodec.bench.models import resnet20

DEVICE = """
import sys, torch, featcodec as fc
head = fc.load_part("head.fcz")
sys.stdout.buffer.write(head.encode(torch.load("images.pt", weights_only=True)))
"""
SERVER = """
import sys, featcodec as fc
tail = fc.load_part("tail.fcz")
print(*tail.run(sys.stdin.buffer.read()).argmax(1).tolist())
"""


def main() -> None:
    """Cut, send, predict."""
    images, labels = next(embedded().head(8).batches(8, "cifar10"))
    model = resnet20()
    parts = fc.export(model, "layer2", images, codec="context:bits=4")
    print(parts)
    with tempfile.TemporaryDirectory() as folder:
        device, server = Path(folder, "device"), Path(folder, "server")
        device.mkdir()
        server.mkdir()
        parts.save(device / "head.fcz", server / "tail.fcz")
        torch.save(images, device / "images.pt")
        message = run(DEVICE, device, b"")
        print(f"{images.nbytes} bytes of images, a message of {len(message)} bytes")
        predicted = run(SERVER, server, message).decode()
    print(f"predicted {predicted.strip()}")
    print(f"true      {' '.join(map(str, labels.tolist()))}")


def run(code: str, folder: Path, sent: bytes) -> bytes:
    """Run another process in a folder."""
    return subprocess.run([sys.executable, "-c", code], cwd=folder, input=sent, capture_output=True, check=True).stdout


if __name__ == "__main__":
    main()
