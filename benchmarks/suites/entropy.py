"""The entropy core against its peers: bits, MB/s and microseconds per packet, over real features, beside what is possible.

Three parts, each can be run by itself: "coders" is that, and long; "calls" is what a crossing costs, large samples on one
thread and on all, features of tokens; "memory" is what decoding takes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import featcodec as fc
from benchmarks.coders import Coder, package_versions
from benchmarks.entropy_calls import measure_crossings, measure_large, measure_range_coder, measure_tokens
from benchmarks.entropy_goals import goals, goals_table
from benchmarks.entropy_measure import (
    FUSED_SIZE,
    Case,
    measure_batch,
    measure_bits,
    measure_features,
    measure_memory,
    measure_size,
)
from benchmarks.entropy_report import plot, storable, summary
from benchmarks.feature_sets import BITS, STEPS, FeatureSet, file_sets, most_elements, quantize, resnet_sets
from benchmarks.memory import cases, measure_decoding
from benchmarks.ours import core_coders, feature_codecs, threads
from benchmarks.peers import all_peers
from benchmarks.timing import Effort
from featcodec.bench.report import machine

PARTS = ("coders", "calls", "memory")
SIZES = (256, 4096, 65536, 1 << 20, 1 << 22)
BATCH = 128
BATCH_SIZES = (256, 4096)
QUICK_SETS = ("mid", "resnet20 layer2")
KINDS = ("bits", "speed", "batch", "packets", "crossings", "range_coder", "large", "tokens", "decoding")
QUANTIZERS = (*(f"n{bits}" for bits in BITS), *STEPS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parser().parse_args(argv)
    try:
        result = run(args)
    except (fc.FeatcodecError, FileNotFoundError, ValueError) as e:
        print(f"entropy benchmark: {e}", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    text = summary(result) + "\n## Goals\n\n" + goals_table(result["goals"])
    (args.out / "results.json").write_text(json.dumps(storable(result), separators=(",", ":")) + "\n")
    (args.out / "summary.md").write_text(text)
    written = ["results.json", "summary.md"]
    if result["speed"]:
        plot(result, args.out / "bits_speed.png")
        written.append("bits_speed.png")
    print(text)
    print(f"written: {', '.join(str(args.out / name) for name in written)}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the options' parser; what is None comes from --quick or full."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.suites.entropy", description=__doc__)
    p.add_argument("--features", type=Path, help="folder of .npz files with feature (B, maps, h, w), beside ResNet-20's layers")
    p.add_argument("--quick", action="store_true", help="under a minute: fewer quantisers, sizes, images and rounds")
    p.add_argument("--parts", type=_parts, help=f"comma-separated, of {','.join(PARTS)} (default: all; quick: no memory)")
    p.add_argument("--sets", nargs="+", help="only layers whose name contains one of these")
    p.add_argument("--quantizers", nargs="*", choices=QUANTIZERS, help="of the bits (all unless --quick); none: no bits")
    p.add_argument("--speed-quantizers", nargs="*", choices=QUANTIZERS, help="of the speeds (n2 n4 n8 unless --quick)")
    p.add_argument("--coders", nargs="+", help="only coders whose name contains one of these, and memcpy")
    p.add_argument("--sizes", nargs="+", type=int, help="symbols of a tensor whose speed is measured")
    p.add_argument("--images", type=int, help="images a layer whose bits are counted")
    p.add_argument("--rounds", type=int, help="rounds of a speed; a slow coder gets fewer")
    p.add_argument("--out", type=Path, default=Path("out/entropy"), help="folder for results.json, summary.md, bits_speed.png")
    return p


def _parts(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    if not set(chosen) <= set(PARTS):
        raise argparse.ArgumentTypeError(f"{text!r}: give some of {','.join(PARTS)}")
    return chosen


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the options, --quick and the defaults come to."""
    quick = bool(args.quick)
    chosen = {
        "quick": quick,
        "parts": list(args.parts or (PARTS[:2] if quick else PARTS)),
        "features": None if args.features is None else args.features.name,
        "sets": args.sets,
        "coders": args.coders,
        "quantizers": _given(args.quantizers, ["n4", "n8"] if quick else list(QUANTIZERS)),
        "speed_quantizers": _given(args.speed_quantizers, ["n4"] if quick else ["n2", "n4", "n8"]),
        "sizes": args.sizes or ([4096, 65536, 1 << 22] if quick else list(SIZES)),
        "batch": BATCH,
        "images": args.images or (2 if quick else 32),
        "resnet_images": [160, 64] if quick else [512, 128],  # measured, for calibration
        "rounds": args.rounds or (3 if quick else 9),
        "patience_s": 0.05 if quick else 0.25,
        "longest_s": 0.3 if quick else 1.5,
        "threads": 1,
        "symbol_rows": "one byte a symbol; table, counts and containers counted; the quantiser's range is not, for any coder",
        "packet_rows": "codec.encode on float32 features, quantiser included; wire: whole packets with header and range",
    }
    if min(chosen["images"], chosen["rounds"], *chosen["sizes"]) < 1:
        raise ValueError("--images, --rounds and --sizes must be at least 1")
    return chosen


def _given(option: list[str] | None, default: list[str]) -> list[str]:
    return default if option is None else option


def run(args: argparse.Namespace, say: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Measure the chosen parts; return the result: machine, settings, left_out, rows by what they are of, goals."""
    setting = settings(args)
    say = say or Console(stderr=True, highlight=False).print
    effort = Effort(setting["rounds"], setting["patience_s"], setting["longest_s"])
    rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    coders: list[Coder] = []
    left_out: dict[str, str] = {}
    most_threads = int(fc.core_info()["threads"])
    with threads(1):
        sources: list[FeatureSet] = []
        if "coders" in setting["parts"]:
            sources = choose_sets(args, setting)
            coders, left_out = choose_coders(args.coders, setting["quick"])
            for name, reason in left_out.items():
                say(f"left out: {name}: {reason}")
        memory = measure_memory()
        if "memory" in setting["parts"]:
            say("memory of decoding")
            rows["decoding"] = measure_decoding(cases())
        for source in sources:
            for quantizer in QUANTIZERS:
                if quantizer in {*setting["quantizers"], *setting["speed_quantizers"]}:
                    say(f"{source.name} {quantizer}")
                    measure_set(source, quantizer, coders, setting, effort, rows, left_out)
        if "calls" in setting["parts"]:
            say("crossings, large samples, tokens")
            rows["crossings"] = measure_crossings(effort)
            rows["range_coder"] = measure_range_coder(effort)
            rows["large"] = measure_large(effort, most_threads)
            rows["tokens"] = measure_tokens()
        described = {**machine(), "packages": package_versions(coders), "core": fc.core_info(), "memory": memory}
    result = {"machine": described, "settings": setting, "left_out": left_out, **rows}
    result["goals"] = goals(result)
    return result


def measure_set(
    source: FeatureSet,
    quantizer: str,
    coders: Sequence[Coder],
    setting: dict[str, Any],
    effort: Effort,
    rows: dict[str, list[dict[str, Any]]],
    left_out: dict[str, str],
) -> None:
    """Append everything that is measured on one layer under one quantiser to `rows`."""
    try:
        symbol_set = quantize(source, quantizer)
    except ValueError as e:
        left_out[f"{source.name} {quantizer}"] = str(e)
        return
    for coder in coders:
        coder.calibrate(symbol_set.calibration, symbol_set.bits)
    if quantizer in setting["quantizers"]:
        rows["bits"].append(measure_bits(symbol_set, coders, setting["images"]))
    if quantizer not in setting["speed_quantizers"]:
        return
    most = most_elements(symbol_set.all_symbols())
    sizes = [size for size in setting["sizes"] if size <= most]
    for size in set(setting["sizes"]) - set(sizes):
        left_out[f"{source.name}, {size:,} symbols"] = f"without repeats it makes tensors of {most:,}"
    slow: dict[str, float] = {}
    single = [Case.of(symbol_set, size) for size in sizes]
    batches = [Case.of(symbol_set, size, BATCH) for size in BATCH_SIZES if size in sizes]
    fused = [Case.of(symbol_set, FUSED_SIZE)] if most >= FUSED_SIZE else []
    for case in single:
        rows["speed"] += measure_size(case, coders, effort, slow)
    for case in batches:
        rows["batch"] += measure_batch(case, coders, effort, slow)
    codecs, missing = feature_codecs(symbol_set.params, torch.from_numpy(source.calibration), not setting["quick"])
    left_out.update({f"codec {name} on {quantizer}": reason for name, reason in missing.items()})
    for case in [*single, *batches, *fused]:
        rows["packets"] += measure_features(case, codecs, effort)


def choose_sets(args: argparse.Namespace, setting: dict[str, Any]) -> list[FeatureSet]:
    """Return the layers: those of --features, then ResNet-20's."""
    found = [] if args.features is None else file_sets(args.features)
    found += resnet_sets(*setting["resnet_images"])
    wanted = args.sets or (QUICK_SETS if setting["quick"] else [""])
    chosen = [source for source in found if any(part in source.name for part in wanted)]
    if not chosen:
        raise ValueError(f"{' '.join(wanted)} matches none of {', '.join(source.name for source in found)}")
    return chosen


def choose_coders(wanted: Sequence[str] | None, quick: bool) -> tuple[list[Coder], dict[str, str]]:
    """Return the coders that work here, memcpy first, and of the others the reason."""
    coders: list[Coder] = []
    left_out: dict[str, str] = {}
    for coder in [*all_peers(), *core_coders()]:
        if wanted is not None and coder.name != "memcpy" and not any(part in coder.name for part in wanted):
            continue
        if quick and coder.slow_start:
            left_out[coder.name] = "takes long to load: left out of quick runs"
            continue
        reason = coder.reason()
        if reason is None:
            coders.append(coder)
        else:
            left_out[coder.name] = reason
    if wanted is not None and len(coders) < 2 and not left_out:
        raise ValueError(f"--coders matches nothing: {', '.join(wanted)}")
    return coders, left_out


if __name__ == "__main__":
    sys.exit(main())
