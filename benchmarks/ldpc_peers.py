"""Peers of the LDPC decoder: what Python installs to decode an arbitrary parity-check matrix, each behind `Peer`.

Every peer gets the same matrix, the same LLRs and the same number of iterations. One that is not installed, or does not decode
what has hardly any noise, says why (`Peer.reason`) and is left out of the run.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcodec.fec.ldpc import LDPC

Bits = NDArray[np.uint8]
Llr = NDArray[np.float32]

NOT_TRIED = {
    "aff3ct": "its Python wrapper is not on PyPI",
    "pyldpcpp": "takes regular parity-check matrices only",
}


class Peer:
    """A decoder of any parity-check matrix, for one code and number of iterations at a time.

    Attributes
    ----------
    name
        What tables call it: package, algorithm, schedule.
    package
        The distribution whose version is stored with the result.
    stops_early
        True where it stops a frame once every check holds; it cannot be told not to.
    """

    name: str = ""
    package: str = ""
    stops_early: bool = True

    def load(self, code: LDPC, iterations: int) -> None:
        """Import and prepare; raise what goes wrong."""
        raise NotImplementedError

    def decode(self, llr: Llr) -> Bits:
        """Decode frames (B, n), nats, positive = 0, to all their bits (B, n)."""
        raise NotImplementedError

    def reason(self, code: LDPC) -> str | None:
        """Return why it cannot run here, or None where it loads and corrects a weak bit."""
        try:
            self.load(code, 10)
            bits = np.random.default_rng(0).integers(0, 2, (2, code.k), dtype=np.uint8)
            sent = code.encode(bits)
            llr = (4 - 8 * sent.astype(np.float32)) * np.float32(1)
            llr[:, 5] *= np.float32(-0.1)
            if not np.array_equal(self.decode(llr)[:, : code.k], bits):
                return "does not correct one weak bit"
        except Exception as e:  # a peer may fail in any way; whichever it is belongs in the result
            text = (str(e).strip() or repr(e)).splitlines()[-1]
            return f"{type(e).__name__}: {text[:200]}"
        return None


def all_peers() -> list[Peer]:
    """Return every peer, whether it works here or not."""
    return [
        PyPiLdpc("minimum_sum", "parallel"),
        PyPiLdpc("minimum_sum", "serial"),
        PyPiLdpc("product_sum", "parallel"),
        Sionna("offset-minsum"),
        Sionna("boxplus-phi"),
        CommPy(),
        PyLdpc(),
    ]


def peer_versions(peers: list[Peer]) -> dict[str, str | None]:
    """Return the version of every peer's package, None where it is not installed."""
    found: dict[str, str | None] = {}
    for package in sorted({peer.package for peer in peers}):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def dense_checks(code: LDPC) -> NDArray[np.int64]:
    """Return the parity-check matrix (checks, n) of 0 and 1."""
    pointers, columns, shape = code.parity_checks()
    if shape[1] != code.n:
        raise ValueError(f"peers take codes whose every bit is sent, got {code!r}")
    checks = np.zeros(shape, np.int64)
    checks[np.repeat(np.arange(shape[0]), np.diff(pointers)), columns] = 1
    return checks


class PyPiLdpc(Peer):
    """Package ldpc (C++), made for quantum codes: it decodes a syndrome, with a probability of error for every bit."""

    package = "ldpc"

    def __init__(self, method: str, schedule: str) -> None:
        self.name = f"ldpc {method}, {schedule}"
        self._method, self._schedule = method, schedule

    def load(self, code: LDPC, iterations: int) -> None:
        """Build the decoder."""
        from ldpc.bp_decoder import BpDecoder
        from scipy.sparse import csr_matrix

        self._decoder = BpDecoder(
            csr_matrix(dense_checks(code).astype(np.uint8)),
            error_rate=0.1,
            max_iter=iterations,
            bp_method=self._method,
            schedule=self._schedule,
            ms_scaling_factor=0.75,
            input_vector_type="received_vector",
        )

    def decode(self, llr: Llr) -> Bits:
        """Decode frame by frame: hard decisions, and how likely each of them is wrong."""
        hard = (llr < 0).astype(np.uint8)
        wrong = 1 / (1 + np.exp(np.abs(llr.astype(np.float64)).clip(0, 30)))
        out = np.empty_like(hard)
        for i in range(len(llr)):
            self._decoder.update_channel_probs(wrong[i])
            out[i] = self._decoder.decode(hard[i])
        return out


class Sionna(Peer):
    """Package sionna's decoder of any matrix, on torch: batches, flooding, always all iterations."""

    package = "sionna-no-rt"
    stops_early = False

    def __init__(self, update: str) -> None:
        self.name = f"sionna {update}"
        self._update = update

    def load(self, code: LDPC, iterations: int) -> None:
        """Build the decoder."""
        from scipy.sparse import csr_matrix
        from sionna.phy.fec.ldpc import LDPCBPDecoder

        checks = csr_matrix(dense_checks(code).astype(np.float32))
        self._decoder = LDPCBPDecoder(checks, cn_update=self._update, num_iter=iterations, device="cpu")

    def decode(self, llr: Llr) -> Bits:
        """Decode in batches of 64; its LLRs have the other sign."""
        import torch

        with torch.no_grad():
            parts = [self._decoder(torch.from_numpy(-llr[i : i + 64])) for i in range(0, len(llr), 64)]
        bits: Bits = torch.cat(parts).numpy().astype(np.uint8)
        return bits


class CommPy(Peer):
    """Package scikit-commpy, on NumPy and SciPy: sum-product by sparse matrices; its min-sum, a Python loop, is slower."""

    name = "commpy SPA"
    package = "scikit-commpy"

    def load(self, code: LDPC, iterations: int) -> None:
        """Give the matrix itself: the package's reader of code files fails on NumPy 2.4."""
        from commpy.channelcoding.ldpc import ldpc_bp_decode
        from scipy.sparse import csc_matrix

        checks = csc_matrix(dense_checks(code).astype(np.int8))
        self._params: dict[str, Any] = {"n_vnodes": code.n, "parity_check_matrix": checks}
        self._decode, self._iterations = ldpc_bp_decode, iterations

    def decode(self, llr: Llr) -> Bits:
        """Decode all frames in one call."""
        flat = llr.astype(np.float64).reshape(-1)
        words, _ = self._decode(flat, self._params, "SPA", self._iterations)
        bits: Bits = np.asarray(words).reshape(llr.shape[1], -1).T.astype(np.uint8)
        return bits


class PyLdpc(Peer):
    """Package pyldpc, on Numba: sum-product over dense matrices.

    Its `decode` fails on irregular codes, before it comes to the loop for them: that loop is called directly.
    """

    name = "pyldpc"
    package = "pyldpc"

    def load(self, code: LDPC, iterations: int) -> None:
        """Import; Numba compiles."""
        from pyldpc import decoder, utils

        self._checks, self._iterations = dense_checks(code), iterations
        self._lists = utils._bitsandnodes(self._checks)
        self._pass, self._holds = decoder._logbp_numba, utils.incode

    def decode(self, llr: Llr) -> Bits:
        """Decode frame by frame: together they would go on until the last is done."""
        return np.stack([self._decode_frame(frame.astype(np.float64)[:, None]) for frame in llr])

    def _decode_frame(self, llr: NDArray[np.float64]) -> Bits:
        to_checks, to_bits = np.zeros((2, *self._checks.shape, 1))
        for iteration in range(self._iterations):
            to_checks, to_bits, total = self._pass(*self._lists, llr, to_checks, to_bits, iteration)
            bits = (total <= 0).astype(np.int64)
            if self._holds(self._checks, bits):
                break
        found: Bits = bits[:, 0].astype(np.uint8)
        return found
