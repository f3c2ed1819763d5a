"""``featcodec train``: trains a codec at a layer of a network; writes the codec, its history and its measured row."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import featcodec as fc
from featcodec.bench.data import CIFAR10_FOLDER, TRAIN_BATCHES, Images, cifar10, data_root, load
from featcodec.bench.frames import NORMALIZATIONS
from featcodec.bench.measure import load_model
from featcodec.bench.options import Collect, check_out
from featcodec.bench.report import machine
from featcodec.channel import get_channel
from featcodec.insertion import feature_shape
from featcodec.ops.host import usable_device
from featcodec.spec import format_spec, read_value
from featcodec.training import Batches, Phase, Schedule, fit, get_schedule, show_progress
from featcodec.training.phase import SCHEDULES

_MODEL_STATE = "model"  # suffix of the file with the model's weights, where a schedule trains them


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        args = settings(given)
        result = run(args, shlex.join(["featcodec", "train", *given]))
    except (fc.FeatcodecError, FileNotFoundError, ValueError, ImportError, AttributeError) as e:
        print(f"featcodec train: {e}", file=sys.stderr)
        return 2
    print(summary(result))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the options' parser."""
    p = argparse.ArgumentParser(prog="featcodec train", description=__doc__)
    p.add_argument("--config", type=Path, help="a JSON file with these options by name; flags win over it")
    p.add_argument("--model", help="package.module:function that returns a trained nn.Module (default: the embedded ResNet-20)")
    p.add_argument("--layer", default="layer3", help="the split point")
    p.add_argument("--codec", default="dsc", help="a spec; sizes that the feature tells may be left out")
    p.add_argument("--channel", help="a channel spec to measure over, such as bec:p=0.01")
    p.add_argument("--over", nargs="*", action=Collect, default=[], metavar="CHANNEL", help="further channels to measure over")
    p.add_argument("--schedule", default="bottleneck-only", help=f"{', '.join(SCHEDULES)}; in a config also a list of phases")
    p.add_argument(
        "--set", nargs="*", action=Collect, default=[], metavar="NAME=VALUE", help="the schedule's arguments: epochs=8"
    )
    p.add_argument(
        "--weight", nargs="*", action=Collect, default=[], metavar="LOSS=VALUE", help="of the codec's losses: rate=0.1"
    )
    p.add_argument("--train-channel", help="a range that every training batch draws its channel from, such as bec:p=0..0.3")
    p.add_argument("--data", help="a folder with CIFAR-10, a .npz file or a folder of class folders (default: FEATCODEC_DATA)")
    p.add_argument("--test-data", help="what to measure on; CIFAR-10 has its own test set, else the training data's last tenth")
    p.add_argument("--normalize", choices=sorted(NORMALIZATIONS), help="default: cifar10 for CIFAR-10, else imagenet")
    p.add_argument("--image-size", type=int, default=224, help="side that pictures of class folders are brought to")
    p.add_argument("--train-samples", type=int, help="of what is not held out (default: all)")
    p.add_argument("--held-out", type=int, default=5000, help="samples of the training data, from the end, kept for validation")
    p.add_argument("--validation-samples", type=int, default=1000, help="of those, measured after every epoch; 0: none")
    p.add_argument("--test-samples", type=int, help="default: all")
    p.add_argument("--batch-size", type=int, default=128)
    p.add_argument("--augment", action="store_true", help="random crops and flips; not with --cache")
    p.add_argument("--cache", help="memory, or a folder for head features, which later runs find again")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", default="auto", help="cpu, cuda, ...; auto: a GPU where there is one")
    p.add_argument("--amp", action="store_true", help="bfloat16 outside the codec; always on a GPU")
    p.add_argument("--threads", type=int, help="of torch and of the core")
    p.add_argument("--out", type=Path, default=Path("out/training"), help="folder for NAME.safetensors and NAME.json")
    p.add_argument("--name", help="default: layer and codec")
    p.add_argument("--restart", action="store_true", help="do not go on from NAME.checkpoint")
    return p


def settings(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line and the config file it names.

    Raises
    ------
    ValueError
        The config is no JSON object of known options.
    FileNotFoundError
        There is no such file.
    """
    p = parser()
    first = p.parse_args(argv)
    if first.config is None:
        return first
    try:
        config = json.loads(first.config.read_text())
    except json.JSONDecodeError as e:
        raise ValueError(f"{first.config} is no JSON: {e}") from e
    known = {action.dest: action for action in p._actions}
    for name, value in config.items() if isinstance(config, dict) else [(str(config), None)]:
        if name.replace("-", "_") not in known:
            raise ValueError(f"{first.config} has {name!r}, which is no option of featcodec train")
        action: Any = known[name.replace("-", "_")]
        if isinstance(value, dict):  # {"epochs": 8} for epochs=8
            value = [f"{k}={json.dumps(v)}" for k, v in value.items()]
        p.set_defaults(**{action.dest: action.type(value) if action.type and value is not None else value})
    return p.parse_args(argv)


def run(args: argparse.Namespace, command: str) -> dict[str, Any]:
    """Train, measure and write; return the record."""
    if args.threads:
        torch.set_num_threads(args.threads)
        fc.set_num_threads(args.threads)
    check_out(args.out)
    for channel in args.over:
        get_channel(channel)
    device = usable_device(args.device)
    model = load_model(args.model).eval().to(device)
    training, held_out, test = datasets(args)
    normalization = args.normalize or ("cifar10" if training.name.startswith("CIFAR-10") else "imagenet")
    schedule = make_schedule(args)
    torch.manual_seed(args.seed)
    example = next(test.batches(1, normalization))[0].to(device)
    config = fc.fit_spec(args.codec, feature_shape(model, args.layer, example))
    name = args.name or f"{args.layer}-{format_spec(config)}".replace(":", "-").replace("/", "_")
    baseline = _measured(model, test, normalization, device)
    with fc.insert(model, args.layer, fc.get_codec(config), args.channel) as cut:
        history = fit(
            model,
            cut,
            batches(training, args.batch_size, normalization, args.seed, args.augment),
            schedule,
            validation=batches(held_out.head(args.validation_samples), 250, normalization) if args.validation_samples else None,
            cache=args.cache,
            checkpoint=args.out / f"{name}.checkpoint",
            resume=not args.restart,
            seed=args.seed,
            amp=args.amp or device.type == "cuda",
            progress=show_progress(),
        )
        codec = cut.codec

    def measured(channel: Any) -> dict[str, Any]:
        met = {"layer": args.layer, "codec": codec, "channel": channel, "device": str(device)}
        row = fc.evaluate(model, test.batches(250, normalization), **met).to_dict()
        return {key: row[key] for key in ("metric", "samples", "layer", "codec", "channel", "stats")}

    rows = []
    for level in range(len(getattr(codec, "bottlenecks", [None]))):
        if hasattr(codec, "level"):
            codec.level = level
        rows.append(measured(cut.channel))
    result = {
        "name": name,
        "command": command,
        "data": {"train": f"{training.name}, {len(training.images)}", "held_out": len(held_out.images), "test": test.name},
        "machine": machine(device),
        "time": time.strftime("%Y-%m-%d", time.gmtime()),
        "backbone": baseline,
        "row": rows[-1],
        **({"levels": rows} if len(rows) > 1 else {}),
        **({"over": [measured(channel) for channel in args.over]} if args.over else {}),
        "parameters": sum(p.numel() for p in codec.parameters()),
        **history.to_dict(),
    }
    _write(args.out, name, codec, model if any(phase.train != "bottleneck" for phase in schedule) else None, result)
    return result


def make_schedule(args: argparse.Namespace) -> Schedule:
    """Return the schedule of the options: by name, or phases as a config file has them."""
    if not isinstance(args.schedule, str):
        return [Phase.from_dict(fields) for fields in args.schedule]
    arguments: dict[str, Any] = _pairs(args.set)
    if args.weight:
        arguments["weights"] = _pairs(args.weight)
    if args.train_channel:
        arguments["channel"] = args.train_channel
    return get_schedule(args.schedule, **arguments)


def _pairs(items: Sequence[str]) -> dict[str, Any]:
    pairs = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"arguments are written NAME=VALUE, got {item!r}")
        pairs[key] = read_value(value)
    return pairs


def datasets(args: argparse.Namespace) -> tuple[Images, Images, Images]:
    """Return images to train on, held-out images, and the test set."""
    path = Path(args.data).expanduser() if args.data else data_root()
    if (path / CIFAR10_FOLDER).is_dir() or path.name == CIFAR10_FOLDER:
        whole = cifar10(TRAIN_BATCHES, path)
        test = load(args.test_data, 32) if args.test_data else cifar10(("test_batch",), path)
    else:
        whole = _shuffled(load(str(path), args.image_size))
        tenth = max(1, len(whole.images) // 10)
        test = load(args.test_data, args.image_size) if args.test_data else whole.part(-tenth, None)
        whole = whole if args.test_data else whole.part(0, -tenth)
    held_out = min(args.held_out, len(whole.images) // 2)
    training = whole.part(0, len(whole.images) - held_out)
    if args.train_samples is not None and not 1 <= args.train_samples <= len(training.images):
        raise ValueError(f"--train-samples must be 1..{len(training.images)}, got {args.train_samples}")
    training = training.head(args.train_samples or len(training.images))
    return training, whole.part(-held_out, None), test.head(args.test_samples)


def _shuffled(images: Images) -> Images:
    """Class folders come class by class."""
    order = np.random.default_rng(0).permutation(len(images.images))
    return Images(images.name, images.images[order], images.labels[order])


def batches(images: Images, size: int, normalization: str, seed: int = 0, augment: bool = False) -> Batches:
    """Return images as normalised batches for `fit`."""
    mean, std = (torch.tensor(v)[:, None, None] for v in NORMALIZATIONS[normalization])

    def normalised(pixels: Tensor) -> Tensor:
        return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std

    labels = torch.from_numpy(images.labels)
    return Batches(images.images, labels, size, seed=seed, transform=normalised, augment=crop_and_flip if augment else None)


def crop_and_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by up to an eighth of its side, edges reflected, and mirror every other one."""
    count, _, height, width = images.shape
    border = height // 8
    padded = nn.functional.pad(images, (border,) * 4, mode="reflect")
    tops, lefts = torch.randint(2 * border + 1, (2, count), generator=generator).tolist()
    mirrored = (torch.rand(count, generator=generator) < 0.5).tolist()
    rows = []
    for image, top, left, mirror in zip(padded, tops, lefts, mirrored, strict=True):
        crop = image[:, top : top + height, left : left + width]
        rows.append(crop.flip(-1) if mirror else crop)
    return torch.stack(rows)


def summary(result: Mapping[str, Any]) -> str:
    """Return a line: accuracy beside the backbone's, and the cost."""
    row, stats = result["row"], result["row"]["stats"]
    cost = f"{stats['bits_per_sample']:.1f} bits on the wire, {stats['payload_bits_per_sample']:.1f} without the header"
    if stats["real_symbols_per_sample"]:
        cost = f"{stats['real_symbols_per_sample']:.0f} symbols"
    return (
        f"{result['name']}: {100 * row['metric']:.2f} % ({100 * (row['metric'] - result['backbone']['metric']):+.2f}), {cost}, "
        f"{row['samples']} samples"
    )


def _measured(model: nn.Module, test: Images, normalization: str, device: torch.device) -> dict[str, Any]:
    report = fc.evaluate(model, test.batches(250, normalization), device=device)
    return {"metric": report.metric, "samples": report.samples}


def _write(folder: Path, name: str, codec: fc.Codec, model: nn.Module | None, result: Mapping[str, Any]) -> None:
    """Write codec (and model), then the record: where there is a record, all is there."""
    folder.mkdir(parents=True, exist_ok=True)
    codec.save(folder / f"{name}.safetensors")
    if model is not None:
        from safetensors.torch import save_file

        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / f"{name}.{_MODEL_STATE}.safetensors")
    scratch = folder / f"{name}.json.part"
    scratch.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    os.replace(scratch, folder / f"{name}.json")


if __name__ == "__main__":
    sys.exit(main())
