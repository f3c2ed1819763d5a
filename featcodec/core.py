"""The compiled core as users see it: what runs, and on how many threads."""

from __future__ import annotations

from collections.abc import Callable

from featcodec import _core


def core_info() -> dict[str, str | int]:
    """Return the instruction set in use, the best this machine has, and the number of threads.

    FEATCODEC_ISA (scalar; avx2, avx512, avx512vbmi on x86-64; neon on AArch64) lowers the instruction set of a process; the
    bytes are the same on all.
    """
    return {"isa": _core.isa(), "best_isa": _core.best_isa(), "threads": _core.num_threads()}


_chosen = False  # whether a user has set the number of threads


def set_num_threads(count: int) -> None:
    """Set how many threads the core uses for the samples of a batch, or for the parts of one large sample.

    Unless set it is torch's, asked for at each large call: a worker of a DataLoader, for which torch has one, uses one.

    Raises
    ------
    ValueError
        `count` is below 1.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"the number of threads must be an integer of at least 1, got {count!r}")
    global _chosen
    _chosen = True
    _core.set_num_threads(count)


def follow_num_threads(counter: Callable[[], int]) -> None:
    """Let the core ask for its number of threads, unless a user has set it."""
    if not _chosen:
        _core.set_num_threads_by(counter)
