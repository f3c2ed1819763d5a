"""Where to cut a network, and which codec to put there, for a device and a link: measured rows, and the best of them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import featcodec as fc
from featcodec.bench.data import Images, load
from featcodec.bench.frames import NORMALIZATIONS
from featcodec.bench.measure import (
    CALIBRATION_IMAGES,
    DEFAULT_LAYERS,
    choose_trained,
    features,
    load_model,
    progress_bar,
    table_width,
)
from featcodec.bench.options import Collect, check_out
from featcodec.bench.plan_measured import Run, compared, lines, link_of_runs, read_run
from featcodec.bench.report import machine
from featcodec.bench.tables import row_name
from featcodec.layers import evaluating, find_layer
from featcodec.planning import (
    Candidate,
    Choice,
    ChoiceMap,
    Limits,
    Link,
    ModelProfile,
    candidates_of,
    changes,
    choice_lines,
    choice_map,
    draw_map,
    get_link,
    map_lines,
    profile,
    relaxed,
    select,
)
from featcodec.planning.candidates import check_slowdown
from featcodec.planning.cost import cost
from featcodec.planning.links import milliseconds
from featcodec.planning.text import broken, duration

CODECS = (
    *("half", "bitpack:bits=8", "bitpack:bits=4", "rans:bits=6"),
    *("context:bits=8", "context:bits=6", "context:bits=5", "context:bits=4"),
)
MOST_LAYERS = 6
BATCH = 50
TIMED = 17  # images that are encoded one by one
LESS_ACCURACY = 1.0  # points more that are asked about


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parser().parse_args(argv)
    try:
        check_out(args.out)
        runs = [read_run(path) for path in args.measured]
        link, kept = link_of(args, runs), limits(args)
        check(args, link)
        model = load_model(args.model).eval()
        found = candidates(args, model, load(args.data, args.image_size))
        choice = select(found, link, objective=args.objective, load=args.load, **dataclasses.asdict(kept))
        cells = choice_map(found, link, objective=args.objective, limits=kept)
        beside = compared(runs, found, link, args.load)
        write(args, found, choice, cells, beside)
    except (fc.FeatcodecError, OSError, ValueError, ImportError, AttributeError, KeyError) as e:
        print(f"featcodec plan: {e}", file=sys.stderr)
        return 2
    width = table_width()
    print("\n".join([*choice_lines(choice, changes(choice), width), *accuracy_lines(found, choice, args, width)]))
    if beside:
        print("\n".join(lines(beside, width)))
    print("\n".join(["", *map_lines(cells, width)]))
    print(f"written: {args.out / 'plan.json'}, {args.out / 'plan.png'}")
    return 0


def write(
    args: argparse.Namespace, found: Sequence[Candidate], choice: Choice, cells: ChoiceMap, beside: Sequence[dict[str, Any]]
) -> None:
    """Write the answer as JSON, and the map, finer than the printed one, as a picture."""
    rates = [choice.link.rate_bps * 10 ** (i / 15 - 2) for i in range(61)]
    loads = [2 ** (i / 4) for i in range(21)]
    drawn = choice_map(found, choice.link, objective=choice.objective, rates_bps=rates, loads=loads, limits=limits(args))
    result = {"machine": machine(), "link": dataclasses.asdict(choice.link), **answer(choice), "map": cells.to_dict()}
    result |= {"measured": beside} if beside else {}
    args.out.mkdir(parents=True, exist_ok=True)
    draw_map(drawn, args.out / "plan.png")
    (args.out / "plan.json").write_text(json.dumps(result, indent=1) + "\n")


def parser() -> argparse.ArgumentParser:
    """Return the options' parser."""
    p = argparse.ArgumentParser(prog="featcodec plan", description=__doc__)
    p.add_argument("--model", help="package.module:function that returns an nn.Module (default: the embedded ResNet-20)")
    p.add_argument("--link", help="3g, 4g, wifi (default), 10Mbit/s, shannon:snr_db=14.5,bandwidth_hz=1e6")
    p.add_argument(
        "--measured",
        nargs="+",
        default=[],
        type=Path,
        metavar="RUN",
        help="what featcodec infer --json printed: measured beside predicted, and the link unless --link is given",
    )
    p.add_argument("--rtt", default=None, help="round trip, such as 5ms")
    p.add_argument("--loss", type=float, default=None, help="share of what is sent that is sent again")
    p.add_argument("--load", type=float, default=1.0, help="how many times as long as idle the server takes")
    p.add_argument("--objective", default="latency", choices=("latency", "energy"))
    p.add_argument("--max-drop", type=float, default=None, help="points of accuracy that may be lost")
    p.add_argument("--max-share", type=float, default=None, help="of the MACs that may be the device's, 0..1")
    p.add_argument("--max-memory", type=float, default=None, help="MB that the device has")
    p.add_argument("--slowdown", type=float, default=None, help="how many times as long as this machine the device takes")
    p.add_argument("--device-profile", nargs="+", default=[], type=Path, help="files that featcodec.device profile wrote")
    p.add_argument("--device-mw", type=float, default=None, help="the device's power while it computes")
    p.add_argument("--layer", nargs="+", action=Collect, help="cuts to measure (default: those that send less than all before)")
    p.add_argument("--codec", nargs="+", action=Collect, help=f"specs (default: {' '.join(CODECS)}, and trained codecs)")
    p.add_argument("--rows", type=Path, help="results.json of featcodec bench, in place of a measurement")
    p.add_argument("--data", default="embedded", help="embedded, cifar10, a .npz file, or a folder of class folders")
    p.add_argument("--normalize", choices=sorted(NORMALIZATIONS), default=None)
    p.add_argument("--image-size", type=int, default=224, help="side that pictures of class folders are brought to")
    p.add_argument("--samples", type=int, default=200, help="images (default: 200)")
    p.add_argument("--out", type=Path, default=Path("out"), help="folder for plan.json and plan.png")
    return p


def limits(args: argparse.Namespace) -> Limits:
    """Return the limits that the options name."""
    memory = None if args.max_memory is None else 1e6 * args.max_memory
    return Limits(max_drop=args.max_drop, max_share=args.max_share, max_memory_bytes=memory)


def check(args: argparse.Namespace, link: Link) -> None:
    """Raise what would be raised once everything is measured: of the load, a power that is not known, the codecs."""
    cost(Candidate("every split", 1.0, 1.0, 1.0, device_mw=args.device_mw), link, args.objective, args.load)
    if args.slowdown is not None:
        check_slowdown(args.slowdown)
    if args.rows is None and args.samples < 1:
        raise ValueError(f"--samples must be at least 1, got {args.samples}")
    for spec in args.codec or ():
        fc.get_codec(spec)


def link_of(args: argparse.Namespace, runs: Sequence[Run] = ()) -> Link:
    """Return the link that the options name, or that runs measured: --rtt and --loss win over what that says of them."""
    link = link_of_runs(runs) if runs and args.link is None else get_link(args.link or "wifi")
    rtt_ms = link.rtt_ms if args.rtt is None else milliseconds(args.rtt)
    return dataclasses.replace(link, rtt_ms=rtt_ms, loss=link.loss if args.loss is None else args.loss)


def candidates(args: argparse.Namespace, model: nn.Module, images: Images) -> list[Candidate]:
    """Measure the model's cuts and the codecs there, or read the rows, and return what can be chosen among."""
    normalization = args.normalize or ("cifar10" if images.name.startswith("CIFAR-10") else "imagenet")
    inputs, _ = next(images.batches(1, normalization))
    found = profile(model, inputs, device_profile=args.device_profile)
    is_measured = args.rows is None
    result = measured(args, model, images, normalization, found) if is_measured else json.loads(args.rows.read_text())
    size, encode_ms, decode_ms = picture(images)
    return candidates_of(
        [{**row, "name": row_name(row)} for row in result["rows"]],
        result["baseline"],
        picture_bytes=size,
        picture_encode_ms=encode_ms,
        picture_decode_ms=decode_ms,
        profile=found,
        slowdown=args.slowdown,
        device_mw=args.device_mw,
    )


def measured(
    args: argparse.Namespace, model: nn.Module, images: Images, normalization: str, found: ModelProfile
) -> dict[str, Any]:
    """Evaluate every codec at every layer; its times are those of one image at a time, as requests come."""
    named = args.layer or (DEFAULT_LAYERS if args.model in (None, "embedded") else narrow_layers(found))
    layers = [find_layer(model, layer)[0] for layer in named]
    shown, others = images.head(args.samples), images.part(args.samples, args.samples + CALIBRATION_IMAGES)
    options = argparse.Namespace(model=None if args.model == "embedded" else args.model, codec=args.codec)
    trained = {layer: choose_trained(options, layer) for layer in layers}
    rounds = 1 + sum(len(args.codec or CODECS) + len(here) for here in trained.values())
    rows: list[dict[str, Any]] = []
    with progress_bar(rounds * len(shown.images)) as (progress, task):

        def evaluated(label: str, **cut: Any) -> dict[str, Any]:
            progress.update(task, description=label)
            step = partial(progress.advance, task)
            return fc.evaluate(model, shown.batches(BATCH, normalization), progress=step, **cut).to_dict()

        baseline = evaluated("without a codec")
        for layer in layers:
            timed = features(model, layer, shown.head(TIMED), normalization)
            for spec in args.codec or CODECS:
                codec = fc.get_codec(spec)
                if codec.needs_calibration:
                    calibration = others if len(others.images) else shown
                    codec.calibrate(features(model, layer, calibration, normalization))
                rows.append(with_times(evaluated(f"{layer} {spec}", layer=layer, codec=codec), codec, timed))
            for one in trained[layer]:
                codec = one.codec()
                row = with_times(evaluated(f"{layer} {one.name}", layer=layer, codec=codec), codec, timed)
                rows.append({**row, "trained": one.name.removeprefix(f"{layer}-")})
    return {"baseline": baseline, "rows": rows}


def with_times(row: dict[str, Any], codec: fc.Codec, x: Tensor) -> dict[str, Any]:
    """Return a row with the median milliseconds in which the codec encodes and decodes a sample by itself."""
    encoding, decoding = [], []
    with evaluating(codec), torch.no_grad():
        for i in range(len(x)):
            start = perf_counter()
            packets = codec.encode(x[i : i + 1])
            written = perf_counter()
            codec.decode(packets)
            encoding.append(1e3 * (written - start))
            decoding.append(1e3 * (perf_counter() - written))
    times = {"encode_ms": float(np.median(encoding[1:])), "decode_ms": float(np.median(decoding[1:]))}
    return {**row, "stats": {**row["stats"], **times}}


def narrow_layers(found: ModelProfile) -> list[str]:
    """Return the layers behind which less crosses than behind all before them, the last `MOST_LAYERS`."""
    layers: list[str] = []
    least = float("inf")
    for cut in found.main_cuts():
        floats = all(tensor.dtype in ("float32", "float16", "bfloat16") for tensor in cut.crossing)
        if cut.layer is not None and cut.call is None and floats and cut.elements < least:
            least = cut.elements
            layers.append(cut.layer)
    if not layers:
        raise ValueError(f"no layer of {found.model} is a cut: give --layer")
    return layers[-MOST_LAYERS:]


def picture(images: Images) -> tuple[float, float, float]:
    """Return mean bytes of the pictures as PNG, which changes nothing, and the median milliseconds to write and read one."""
    sizes, writing, reading = [], [], []
    for pixels in images.images[:CALIBRATION_IMAGES]:
        start = perf_counter()
        file = BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        written = perf_counter()
        np.asarray(Image.open(BytesIO(file.getvalue())))
        sizes.append(len(file.getvalue()))
        writing.append(1e3 * (written - start))
        reading.append(1e3 * (perf_counter() - written))
    return float(np.mean(sizes)), float(np.median(writing)), float(np.median(reading))


def accuracy_lines(found: Sequence[Candidate], choice: Choice, args: argparse.Namespace, width: int) -> list[str]:
    """Return what more lost accuracy would buy, as lines."""
    if args.max_drop is None:
        return []
    other = relaxed(found, choice, LESS_ACCURACY, limits(args))
    if other is None:
        return [f"  {LESS_ACCURACY:g} point of accuracy more to lose would change nothing"]
    saved = f"{duration(choice.cost - other.cost)} {choice.unit} less"
    return broken(f"  {LESS_ACCURACY:g} point of accuracy more to lose: {other.best.name}, {saved}", width)


def answer(choice: Choice) -> dict[str, Any]:
    """Return a choice as JSON."""
    ranking = [{**_plain(candidate), "cost": value} for candidate, value in choice.ranking]
    return {
        "objective": choice.objective,
        "load": choice.load,
        "best": choice.best.name,
        "cost": choice.cost,
        "unit": choice.unit,
        "parts": dataclasses.asdict(choice.parts),
        "changes": [{**dataclasses.asdict(change), "candidate": change.candidate.name} for change in changes(choice)],
        "ranking": ranking,
        "left_out": choice.left_out,
    }


def _plain(candidate: Candidate) -> Mapping[str, Any]:
    return {**dataclasses.asdict(candidate), "codec": None if candidate.codec is None else dict(candidate.codec)}
