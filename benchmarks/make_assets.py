"""``python -m benchmarks.make_assets``: the embedded images, out of the CIFAR-10 that FEATCODEC_DATA holds."""

from __future__ import annotations

import numpy as np
from PIL import Image

from featcodec.bench.data import cifar10, data_root
from featcodec.bench.shipped import ASSETS

if __name__ == "__main__":
    chosen = cifar10(("test_batch",), data_root()).head(1000)
    mosaic = chosen.images.reshape(20, 50, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(20 * 32, 50 * 32, 3)
    Image.fromarray(np.ascontiguousarray(mosaic)).save(ASSETS / "cifar10_test_1000.webp", lossless=True, quality=100, method=6)
    (ASSETS / "cifar10_test_1000.labels").write_bytes(chosen.labels.astype(np.uint8).tobytes())
