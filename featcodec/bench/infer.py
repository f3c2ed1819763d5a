"""``featcodec infer``: a head on this machine, its tail on a server: predictions, and where the time went."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import featcodec as fc
from featcodec.bench.frames import NORMALIZATIONS, Frame, frames
from featcodec.device import Head
from featcodec.runtime.client import Client
from featcodec.runtime.link import Link
from featcodec.runtime.result import STAGES, Result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: 0 where every input was answered, 1 where one was not, 2 where none could be asked."""
    args = parser().parse_args(argv)
    try:
        head, tensor = _loaded(args.head)
        token = None if args.token_file is None else args.token_file.read_text().strip()
        found = frames(args.data, args.size or _picture_size(head), args.normalize)
        inputs = itertools.islice(found, args.samples)
        options = {"entry": args.entry, "deadline_s": args.deadline, "ca": args.ca, "cert": args.cert, "key": args.key}
        with Client(args.server, head=head, token=token, **options) as client:
            rows = list(_shown(_results(client, inputs, tensor, args.in_flight), args.json))
            summary = {**_about(head), **_summary(rows, client.link)}
    except (fc.FeatcodecError, OSError, ValueError) as e:
        print(f"featcodec infer: {e}", file=sys.stderr)
        return 2
    print(json.dumps(summary) if args.json else _table(summary))
    return int(any(row["error"] for row in rows))


def parser() -> argparse.ArgumentParser:
    """Return the options' parser."""
    p = argparse.ArgumentParser(prog="featcodec infer", description=__doc__.partition(": ")[2])
    p.add_argument("head", type=Path, help="a head: .fcz, or .onnx, which needs no torch")
    p.add_argument("--server", required=True, metavar="HOST:PORT")
    p.add_argument(
        "--data", nargs="+", required=True, metavar="DATA", help="pictures, folders of them, .npy files (N, ...), or embedded"
    )
    p.add_argument("--entry", default="", help="which of the server's tails; not needed where it serves one")
    p.add_argument("--samples", type=int, metavar="N", help="at most so many inputs")
    p.add_argument("--size", type=_size, metavar="HxW", help="of pictures (default: what the head takes)")
    p.add_argument("--normalize", choices=sorted(NORMALIZATIONS), default="cifar10", help="of pictures (default: cifar10)")
    p.add_argument("--in-flight", type=int, default=8, metavar="N", help="inputs on their way at a time (default: 8)")
    p.add_argument("--deadline", type=float, default=30.0, metavar="S", help="seconds for each input (default: 30)")
    p.add_argument("--token-file", type=Path, help="a file with the token that the server shares")
    p.add_argument("--ca", type=Path, help="certificates that sign the server's: asks for TLS")
    p.add_argument("--cert", type=Path, help="the client's own certificate")
    p.add_argument("--key", type=Path, help="and its key")
    p.add_argument("--json", action="store_true", help="a line of JSON for each input, and one for all of them")
    return p


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def _loaded(path: Path) -> tuple[Any, Any]:
    """The head, and what makes its inputs of arrays."""
    if path.suffix == ".onnx":
        return Head(path), np.asarray
    head: Any = fc.load_part(path)  # without torch this says so
    if head.kind != "head":
        raise ValueError(f"{path} is a {head.kind}, not a head: it goes to featcodec serve")
    return head, head.tensor_from


def _picture_size(head: Any) -> tuple[int, int] | None:
    """Height and width of the head's pictures, where it takes nothing but pictures of one size."""
    shapes: list[tuple[Any, ...]] = list(head.inputs.values())
    sizes = shapes[0][2:] if len(shapes) == 1 and len(shapes[0]) == 4 else ()
    if len(sizes) != 2 or not all(isinstance(size, int) for size in sizes):
        return None
    height, width = sizes
    return height, width


def _results(client: Client, inputs: Iterable[Frame], tensor: Any, in_flight: int) -> Iterator[tuple[Frame, Result]]:
    """Inputs beside their results."""
    given, sent = itertools.tee(inputs)
    yield from zip(given, client.map((tensor(frame.x) for frame in sent), in_flight=in_flight), strict=True)


def _shown(results: Iterator[tuple[Frame, Result]], as_json: bool) -> Iterator[dict[str, Any]]:
    """Rows, each printed as it comes."""
    for frame, result in results:
        row = _row(frame, result)
        print(json.dumps(row) if as_json else _line(row), flush=True)
        yield row


def _row(frame: Frame, result: Result) -> dict[str, Any]:
    timing = {stage: getattr(result.timing, stage) for stage in (*STAGES, "wall", "uncovered")}
    return {
        "name": frame.name,
        "label": frame.label,
        "prediction": None if result.failed else predicted(result.output),
        "source": result.source,
        "error": str(result.error) if result.failed else None,
        "bytes": result.size_bytes,
        "attempts": result.timing.attempts,
        "ms": {name: None if ms is None else round(ms, 4) for name, ms in timing.items()},
    }


def predicted(output: Any) -> Any:
    """Return the class of an output (1, classes): the largest number's place; of another output its shapes, as it lies."""
    if isinstance(output, Mapping):
        return {key: predicted(value) for key, value in output.items()}
    if isinstance(output, (tuple, list)):
        return [predicted(value) for value in output]
    if not hasattr(output, "shape"):
        return output
    shape = tuple(output.shape)
    return int(output.argmax()) if len(shape) == 2 and shape[0] == 1 else f"({', '.join(map(str, shape))})"


def _line(row: Mapping[str, Any]) -> str:
    if row["error"]:
        return f"{row['name']}: {row['error']}"
    times = " ".join(f"{stage} {ms:.2f}" for stage in STAGES if (ms := row["ms"][stage]) is not None)
    return f"{row['name']}: {row['prediction']}  {times} | {row['ms']['wall']:.2f} ms, {row['bytes']} bytes, {row['source']}"


def _about(head: Any) -> dict[str, Any]:
    """Where the head ends, and the configs of the codecs of what crosses; None for a tensor that is sent as it is."""
    codecs = [json.loads(outline.codec) if outline.codec else None for outline in head.outlines()]
    return {"layer": head.layer, "codecs": codecs}


def _summary(rows: Sequence[Mapping[str, Any]], link: Link) -> dict[str, Any]:
    """Median and 99th percentile of every stage, bytes, and what was measured of the link."""
    answered = [row for row in rows if not row["error"]]
    known = [row for row in answered if row["label"] is not None]
    stages = {}
    for stage in (*STAGES, "uncovered", "wall"):
        times = [row["ms"][stage] for row in answered if row["ms"][stage] is not None]
        stages[stage] = {"median": float(np.median(times)), "p99": float(np.percentile(times, 99))} if times else None
    right = sum(row["label"] == row["prediction"] for row in known)
    return {
        "inputs": len(rows),
        "answered": len(answered),
        "by_fallback": sum(row["source"] == "fallback" for row in answered),
        "accuracy": right / len(known) if known else None,
        "ms": stages,
        "bytes": float(np.median([row["bytes"] for row in answered])) if answered else None,
        "bytes_sent": link.bytes_sent,
        "bytes_received": link.bytes_received,
        "round_trip_ms": link.round_trip_ms,
        "rate_mbit_s": link.rate_mbit_s,
        "resent": link.resent,
    }


def _table(summary: Mapping[str, Any]) -> str:
    lines = ["", f"{'ms':<10} {'median':>9} {'p99':>9}"]
    for stage, of in summary["ms"].items():
        lines.append(f"{stage:<10} " + ("      not known" if of is None else f"{of['median']:9.3f} {of['p99']:9.3f}"))
    accuracy = "" if summary["accuracy"] is None else f", {summary['accuracy']:.1%} of them right"
    lines.append(f"{summary['answered']} of {summary['inputs']} inputs answered{accuracy}")
    size = "no message" if summary["bytes"] is None else f"{summary['bytes']:.0f} bytes a message in the median"
    lines.append(f"{size}, {summary['bytes_sent']} sent, {summary['bytes_received']} received, {summary['resent']} sent again")
    return "\n".join(lines)
