"""Jobs: one codec at one cut over all pictures of a set, run in processes side by side, each on one thread."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

import featcodec as fc
from benchmarks.cut_networks import network
from benchmarks.cuts import Cut, crc_of, kl_divergence
from benchmarks.row_store import Row, RowStore, name_of
from benchmarks.transform_rivals import RIVALS
from featcodec.bench.pretrained import trained_codecs
from featcodec.bench.report import machine

PROBES = 16


@dataclass(frozen=True)
class Job:
    """What is measured.

    Attributes
    ----------
    network, layer
        Of `cut_networks.NETWORKS`, and where it is cut.
    pictures
        "train": what choices are made on; "test".
    series
        What the row's curve is called.
    config
        The codec's, as JSON; {"trained": name} for one that ships.
    state
        A file that `save` wrote, for a calibrated codec.
    quality
        Set at run time; None for a codec that has it in its config or has none.
    """

    network: str
    layer: str
    pictures: str
    series: str
    config: str
    state: str = ""
    quality: int | None = None


def job(where: tuple[str, str, str], series: str, config: fc.Spec | dict[str, Any], **more: Any) -> Job:
    """Return a job at (network, layer, pictures)."""
    return Job(*where, series, json.dumps(config, sort_keys=True), **more)


def build(wanted: Job) -> fc.Codec:
    """Make a job's codec."""
    config = json.loads(wanted.config)
    if isinstance(config, dict) and "trained" in config:
        return next(one for one in trained_codecs(wanted.layer) if one.name == config["trained"]).codec().eval()
    if wanted.state:
        codec: Any = fc.load_codec(wanted.state)
        if isinstance(config, dict):  # one calibration tells the maps' steps, whatever the finest is
            told, codec = codec, fc.get_codec(config)
            codec.load_state_dict(told.state_dict())
    elif isinstance(config, dict) and config["id"] in RIVALS:
        codec = RIVALS[config["id"]](**{key: value for key, value in config.items() if key != "id"})
    else:
        codec = fc.get_codec(config)
    if wanted.quality is not None:
        codec.quality = wanted.quality
    loaded: fc.Codec = codec.eval()
    return loaded


@dataclass(frozen=True)
class Place:
    """Where a run keeps what it makes, and how many pictures it takes.

    Attributes
    ----------
    scratch
        Features of pictures.
    rows
        Rows that were measured.
    samples
        Pictures by set and network ("train", "test"); None for all.
    """

    scratch: Path
    rows: Path
    samples: tuple[tuple[str, int | None], ...]

    def limit(self, pictures: str) -> int | None:
        """Return how many pictures of a set are taken."""
        return dict(self.samples).get(pictures)


@cache
def cut_of(place: Place, name: str, layer: str, pictures: str) -> tuple[Cut, np.ndarray]:
    """Open a cut, with the labels of its pictures: class numbers that count as right, (N, K), -1 for none."""
    found = network(name)
    inputs, labels = found.pictures(pictures, place.limit(pictures))
    model = found.model()
    path = place.scratch / f"{name}-{layer}-{pictures}-{len(inputs)}-{crc_of(model, inputs):08x}.npy"
    return Cut(model, layer, inputs, path, found.batch), labels


def right(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return which logits (N, classes) are largest at one of their labels (N, K)."""
    found: np.ndarray = (outputs.argmax(1)[:, None] == labels).any(1)
    return found


def run_job(place: Place, wanted: Job) -> Row:
    """Measure a job, or find the row of one that does the same to the probes: packets and values alike."""
    torch.set_num_threads(1)
    cut, labels = cut_of(place, wanted.network, wanted.layer, wanted.pictures)
    probes = next(cut_of(place, wanted.network, wanted.layer, "train")[0].batches())[:PROBES]
    codec = build(wanted)
    packets = codec.encode(probes)
    depends = {**asdict(wanted), "state": "", "samples": len(labels), "torch": torch.__version__}
    sent = b"".join(packet.to_bytes() for packet in packets)
    name = name_of(depends, sent, codec.decode(packets).numpy().tobytes(), cut.outputs.tobytes())
    store = RowStore(place.rows)
    found = store.find(name)
    if found is None:
        found = _measured(cut, labels, codec, wanted)
        store.keep(name, found)
    return found


def _measured(cut: Cut, labels: np.ndarray, codec: fc.Codec, wanted: Job) -> Row:
    start = perf_counter()
    measured = cut.measure(codec)
    seconds = perf_counter() - start
    bare, now = right(cut.outputs, labels), right(measured.outputs, labels)
    divergence = kl_divergence(measured.outputs, cut.outputs)
    figures = {
        **{key: getattr(wanted, key) for key in ("network", "layer", "pictures", "series", "quality")},
        "config": codec.config(),
        "samples": len(labels),
        "payload_bytes": float(measured.payload.mean()),
        "wire_bytes": float(measured.wire.mean()),
        "top1": float(now.mean()),
        "gained": int((now & ~bare).sum()),
        "lost": int((bare & ~now).sum()),
        "changed": float((cut.outputs.argmax(1) != measured.outputs.argmax(1)).mean()),
        "kl": float(divergence.mean()),
        "seconds": round(seconds, 1),
        "commit": machine()["commit"],
    }
    arrays = {"payload": measured.payload, "lost": bare.astype(np.int8) - now, "kl": divergence.astype(np.float32)}
    return Row(figures, arrays)


def run_jobs(
    place: Place, jobs: Sequence[Job], workers: int, say: Callable[[str], None], *, first: Sequence[str] = ()
) -> list[Row]:
    """Run jobs in processes of their own, those of the series `first` before the others; return the rows in the jobs' order."""
    rows: dict[Job, Row] = {}
    queue = sorted(dict.fromkeys(jobs), key=lambda wanted: wanted.series not in first)
    for wanted, row in _finished(place, queue, workers):
        rows[wanted] = row
        say(f"{len(rows)} of {len(queue)}: {line_of(row.figures)}")
    return [rows[wanted] for wanted in jobs]


def _finished(place: Place, jobs: Sequence[Job], workers: int) -> Iterable[tuple[Job, Row]]:
    if workers < 2:
        yield from ((wanted, run_job(place, wanted)) for wanted in jobs)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(partial(run_job, place), wanted): wanted for wanted in jobs}
        yield from ((waiting[done], done.result()) for done in as_completed(waiting))


def line_of(figures: dict[str, Any]) -> str:
    """Say a row in a line."""
    where = f"{figures['network']} {figures['layer']} {figures['pictures']}"
    quality = "" if figures["quality"] is None else f" at {figures['quality']}"
    change = 100 * (figures["gained"] - figures["lost"]) / figures["samples"]
    return (
        f"{where} {figures['series']}{quality}: {figures['payload_bytes']:.1f} B, {change:+.2f} points, "
        f"KL {figures['kl']:.4f}, {figures['seconds']} s"
    )
