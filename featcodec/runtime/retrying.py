"""When a request that failed is sent again: after growing, scattered waits, within its deadline."""

from __future__ import annotations

import random

from featcodec.errors import EdgeError

FIRST_S = 0.05
MOST_S = 2.0
SCATTER = 0.5  # of a wait, at random: clients that lost a server together do not come back together


def wait_before_retry(error: EdgeError, attempts: int) -> float | None:
    """Return how many seconds to wait before a request is sent again; None where that would not help.

    Parameters
    ----------
    attempts
        How often it was sent, at least once.
    """
    if error.retry_after_s is not None:
        return error.retry_after_s * (1 + SCATTER * random.random())
    if error.cause != "lost":
        return None
    wait = min(FIRST_S * 2.0 ** min(attempts - 1, 16), MOST_S)
    return wait * (1 - SCATTER * random.random())
