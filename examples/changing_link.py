"""A Selector under a link that fades and comes back: which cut and codec each request is for. Needs no torch.

    python examples/changing_link.py

The figures of the candidates are made up; `featcodec plan` measures real ones.
"""

from __future__ import annotations

from featcodec.planning import Candidate, Selector, latency_ms, measured

CANDIDATES = [
    Candidate("all on the device", 0, 60.0, 0.0, kind="local", accuracy=0.92),
    Candidate("layer1, 8 bits", 9800, 9.0, 1.3, 1.5, 0.2, "layer1", {"id": "context", "bits": 8}, accuracy=0.92),
    Candidate("layer2, 4 bits", 2100, 30.0, 0.8, 1.0, 0.1, "layer2", {"id": "context", "bits": 4}, accuracy=0.915),
]
MBIT_S = [20] * 4 + [6, 3, 2, 2, 2, 2] + [0.2] * 4 + [None] * 2 + [20] * 4


def main() -> None:
    """Decide for every request, and say what it would have cost to stay."""
    selector = Selector(CANDIDATES, max_drop=1, patience=2)
    for number, mbit_s in enumerate(MBIT_S):
        # a client measures: here two requests of a link of this rate, with 5 ms there and back
        link = None if mbit_s is None else measured([(n, 0.005 + 8 * n / (mbit_s * 1e6)) for n in (500, 4000)])
        before, now = selector.current, selector.decide(link)
        cost = "" if link is None else f"{latency_ms(now, link):7.1f} ms"
        stayed = f", {latency_ms(before, link):.1f} before" if link and before and before is not now else ""
        print(f"request {number:2}: {mbit_s or 'no link':>7} {'Mbit/s' if mbit_s else '      '}  {now.name:<18}{cost}{stayed}")


if __name__ == "__main__":
    main()
