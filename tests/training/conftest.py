"""The small network, trained once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.training.net import Net, toy


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    """Tiny tensors."""


@pytest.fixture(scope="module")
def trained_once() -> dict[str, Tensor]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in `one_thread`
    torch.manual_seed(0)
    net = Net()
    x, y = toy()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    torch.set_num_threads(threads)
    return net.state_dict()


@pytest.fixture
def trained_state(trained_once) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trained_once.items()}


@pytest.fixture
def net(trained_state) -> Net:
    net = Net()
    net.load_state_dict(trained_state)
    return net.eval()
