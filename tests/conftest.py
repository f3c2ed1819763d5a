"""Fixtures: the embedded network and images."""

from __future__ import annotations

import gc
import os

import pytest
import torch

from featcodec import _core

os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(scope="session")
def resnet20() -> torch.nn.Module:
    from featcodec.bench.models import resnet20

    return resnet20()


@pytest.fixture(scope="session")
def images() -> tuple[torch.Tensor, torch.Tensor]:
    """The first 40 test images, normalised, and their labels."""
    from featcodec.bench.data import embedded

    return next(embedded().head(40).batches(40, "cifar10"))


@pytest.fixture(autouse=True, scope="module")
def _small_heap():
    """What earlier modules left, imports above all, is looked through once: each collection would take a second in the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _core_as_it_was():
    """A test may choose the core's instruction set, whose kernels it takes, and its number of threads."""
    level, amd, threads = _core.isa(), _core.is_amd(), _core.num_threads()
    yield
    _core.set_isa(level)
    _core.set_amd(amd)
    _core.set_num_threads(threads)


@pytest.fixture
def one_thread():
    """On tiny tensors threads cost more than they give."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
