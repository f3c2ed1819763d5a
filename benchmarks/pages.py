"""``python -m benchmarks.pages``: writes docs/results from the committed results; --measure measures the default job first.

Measured is a commit and nothing else: a tree with changes is refused.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import (
    accelerator_report,
    channel_report,
    entropy_report,
    planning_report,
    runtime_report,
    training_report,
    transform_report,
)
from benchmarks.channel_goals import goals as channel_goals
from benchmarks.committed import measure_default
from benchmarks.entropy_goals import goals as entropy_goals
from benchmarks.entropy_goals import goals_table
from benchmarks.planning_goals import goals as planning_goals
from benchmarks.planning_goals import links_table, profiles_table
from benchmarks.runtime_goals import goals as runtime_goals
from featcodec.bench import pictures, search_picture
from featcodec.bench.pretrained import trained_codecs
from featcodec.bench.tables import by_layer, layer_title, markdown_table, rate_cell
from featcodec.planning.findings import Findings

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path("benchmarks/results")
PAGES = Path("docs/results")

Result = Mapping[str, Any]


_DEFAULT = """
# Every codec on the embedded network

Every codec's example configs, and the trained codecs that ship, at three layers of a network (`make bench`).

*wire B* is the mean size of a packet with its header, *payload B* without; *ratio* is against the float32 feature.
*change* is the difference of top-1 to the network without a codec on the same images, with the 95 % interval of paired
samples (Tango's score interval). The network's own top-1 has Wilson's. Analog codecs send symbols of a radio and no
bits: their rows say how many. Parameters that are not named have their defaults.
"""

_ENTROPY = """
# Entropy coding

Every mode of the core and every instruction set beside what a Python user picks today, on the same symbols in the same
run (`make bench-entropy`). The goals were set in GB/s on another machine; they are judged by what zstd -1 does on the
same symbols in the same run.
"""

_CHANNEL = """
# Channels and LDPC codes

Error rates beside the normal approximation of the best code of the same length and beside sum-product in float, speed
beside what PyPI has, and the accuracy of ResNet-20's features over erasures and noise (`make bench-channel`). The goals
were set on another machine. Eb/N0 is for BPSK; Mb/s count information bits, on one thread. Intervals of rates are
Wilson's, 95 %.
"""

_TRAINING = """
# Learned codecs

The trained codecs that ship with the benchmark (`featcodec/bench/assets/codecs`: weights, and the record of the
training with its command beside them), and trainings that do not ship (their records are in
`benchmarks/results/training/records`), measured on the whole test set through real bytes. *control* is the same
training without a bottleneck: where the codec alone was trained, the backbone as it was. Each was trained by `featcodec
train --config benchmarks/results/training/configs/NAME.json`, on a CPU, in minutes. The backbone was trained on all
50,000 training images, so that validation figures, unlike test figures, flatter it.

Intervals of top-1 are Wilson's, 95 %. The records hold each accuracy, but not which images were right. So the interval
of a change is that of two independent samples (Newcombe's).
"""


_ACCELERATOR = """
# A codec where the model is on a GPU

What a codec adds to a forward pass on a GPU, and where the time goes (`make bench-accelerator`). Coders run on the CPU:
the feature is copied there, encoded, decoded, and copied back, and the GPU waits. Milliseconds are a batch's. *to host*,
*encode*, *decode* and *to device* are timed by themselves, and *rest* is what they leave of *adds*: hooks, checks, waiting
for the GPU, and the count of crushed tokens. It is below zero where a part takes longer by itself than within the
pass.
ResNet-20 is the embedded one, on CIFAR-10 test images; ResNet-50 has random weights and the same images, enlarged to
224 x 224.
"""

_RUNTIME = """
# Two machines

What the service between a head and its tail costs, holds and loses (`make bench-runtime`). Server and client are processes on
a core each, with one thread of torch; Ray's processes and the server beside them share both cores. ResNet-20 is the embedded
one, cut after layer2, with `context:bits=4`.

*torch.save* and *JPEG picture* are what people send today, as codecs of the same service. Bytes are those of requests and
answers as protobuf writes them; HTTP/2 and TCP add theirs. Rates are shaped by `tc` between network namespaces; a proxy adds
the delay, and the time that a link takes for the bytes which `tc`'s bucket passes at once.
"""

_PLANNING = """
# Where to cut

Algorithm 1 of BottleNet on what the paper publishes, `select` beside trying every candidate, and whether `profile` finds
every legal cut: those of `torch.export`'s graph whose operation, taken away, parts the outputs from the inputs
(`make bench-planning`). [The guide](../guide/where_to_cut.md) says what these are for.
"""

_PREDICTED = """
ResNet-20 on embedded pictures, from the picture to the class, over links that `tc` shapes between two network namespaces, with
5 ms each way. *predicted* is `latency_ms`: the milliseconds of head, codec and tail and the client's own work, as a client on
plain loopback measured them, the bytes over the rate that was set, and the round trip, which the client measured on the link
with a request of ten numbers that come back. *measured* is the median of the client's requests, with the 10 % and 90 %
quantiles. What the prediction leaves out: the frames around TCP's segments, 5 % of what is sent.
"""


_PRUNE = """
The head of ResNet-20 up to `layer2`, pruned incrementally as the three-step framework has it, and in two steps, its baseline
(`make bench-prune`; [the guide](../guide/prune_and_search.md)). *MACs saved* counts channels that are not always zero up to
the cut; *dropped for good* is what `shrink` takes out, which a residual addition keeps it from doing where it adds something
else.
"""

_SEARCH = """
Twelve trials that TPE draws from 24 points of `dsc` at `layer2` of ResNet-20, and twelve at random, beside all of them
(`make bench-search`). A point is trained from cached features, in the end together with the tail, and measured once, whichever
studies try it. Training images are seen mirrored, too, for the network knows their answers less by heart. Points are validated
on test images: the network was trained on all training images, and forgets some of what it knows of them with any change.
"""

_REPLAYS = """
One seed may be lucky. With all points known, searches of other seeds cost nothing: in how many of them the bytes at a level are
within 1.1x of the fewest, with a tolerance of .3 points. *least_accuracy* has searches told that base -2 points, and that
tolerance, is the least they are wanted to have.
"""

_TRANSFORM = """
# transform

The transform beside codecs that need no training, and the trained ones (`make bench-transform`): how many bytes each takes
where all lose the same. ResNet-20 is the embedded one, on the 10,000 test pictures of CIFAR-10, and what is lost is top-1;
EfficientNet-lite0 has its ImageNet weights, on 153 labelled stamps of a drawing program, and what is lost is the KL divergence
of its output from the output without a codec. Codecs are calibrated, and settings to measure are chosen, on CIFAR-10's training
pictures and on crops of photographs.

*payload B* is the mean payload of real packets, *wire B* with headers. Bytes at a loss lie between the nearest measured rows:
the logarithm of the bytes is linear in the points, or in the logarithm of the divergence; rows in the wrong order are pooled
first. Intervals of changes are Tango's for pairs; those of ratios are percentiles of a bootstrap over the pictures, in which
every codec sees the same draw. A dash: no two rows enclose the loss.

- *transform*: tables of at most 2^18 numbers a side, calibrated on 1,024 unlabelled pictures and the tail's sensitivity to
  them (EfficientNet-lite0: crops of few photographs, and their mirror images); *2^20* and *2^22*: larger tables, and mirror
  images too.
- *PCA*: the same codec, calibrated on features alone.
- *context*: 1 to 6 bits, one range a sample or (*map*) a map. *jpeg*, *webp*, *heif*: the maps as one picture.
- *clip*: clipping and few levels (Cohen, Choi, Bajic); *top*: the largest values alone, 4 bits each (after SLICER); both
  coded by `context`. *fcm*: 10 bits, tiles, HEVC intra without HEIF's boxes (after MPEG's feature coding for machines).

Rows of test pictures were looked at while the codec was designed, although no figure of it was fitted to them: its own may be
flattered by a few per cent.

A row is taken from an earlier run where its codec does the same to training pictures, packets and values; the commits that rows
were measured at are named.
"""


def default_page(result: Result) -> str:
    """Return the page of `make bench`: each layer's front, all other rows folded."""
    machine, setting, baseline = result["machine"], result["setting"], result["baseline"]
    where = (
        f"{setting['model']}, {setting['data']}, {setting['samples']} images; without a codec "
        f"{rate_cell(baseline['metric'], baseline['samples'])} % top-1. {machine['cpu']}, {machine['threads']} threads, "
        f"torch {machine['versions']['torch']}, commit {machine['commit']}."
    )
    parts = [_DEFAULT, where, _picture("accuracy against bytes", "default/rate_accuracy.png")]
    parts.append(
        "Each table shows a layer's Pareto front, the rows that no other beats in bytes and accuracy; the others are folded."
    )
    for layer, (front, rest) in by_layer(result["rows"]).items():
        folded = ["<details><summary>all other rows</summary>", markdown_table(rest, baseline), "</details>"] if rest else []
        parts += [f"## {layer}", layer_title(front[0], baseline) + ".", markdown_table(front, baseline), *folded]
    return _page("default", parts)


def entropy_page(result: Result) -> str:
    """Return the page of `make bench-entropy`: the goals and every table, over the sets that everybody has."""
    shown = entropy_report.of_embedded_network(dict(result))
    sets, others = (list(dict.fromkeys(row["layer"] for row in found["bits"])) for found in (shown, result))
    found = entropy_goals(shown)
    note = f"Figures and goals are over features of the embedded ResNet-20: {_and(sets)}."
    brought = [name for name in others if name not in sets]
    if brought:
        note += (
            f" The run measured other features too, from a folder (`FEATURES=folder`: {_and(brought)}). No command gets that "
            f"folder, so its rows are not shown. {_other_verdicts(found, entropy_goals(dict(result)))}"
        )
    heading, _, tables = entropy_report.summary(shown).partition("\n\n")[2].partition("\n\n")
    picture = _picture("bits against speed", "entropy/bits_speed.png")
    return _page("entropy", [_ENTROPY, heading, note, picture, "## Goals", goals_table(found), tables])


def _other_verdicts(found: Sequence[Mapping[str, Any]], whole: Sequence[Mapping[str, Any]]) -> str:
    """Which goals are judged otherwise over all sets of a run."""
    met = {goal["what"]: goal["met"] for goal in found}
    other = [
        f"{goal['what']}: {goal['measured']}, {'met' if goal['met'] else 'not met'}"
        for goal in whole
        if goal["met"] != met.get(goal["what"])
    ]
    return (
        f"With them some goals are judged otherwise: {'; '.join(other)}." if other else "With them every goal is judged alike."
    )


def channel_page(result: Result) -> str:
    """Return the page of `make bench-channel`: the goals and every table."""
    shown = [
        _picture("frame error rates over noise", "channel/waterfall_awgn.png"),
        _picture("frame error rates over erasures", "channel/waterfall_bec.png"),
        _picture("accuracy of features over channels", "channel/cliff.png"),
    ]
    tables = channel_report.summary(dict(result)).partition("\n\n")[2]
    return _page("channel", [_CHANNEL, "## Goals", goals_table(channel_goals(dict(result))), *shown, tables])


def training_page(result: Result) -> str:
    """Return the page of `make bench-training`: the trained codecs, what a step costs, and the goals."""
    machine, settings = result["machine"], result["settings"]
    samples = max((row["samples"] for row in result["trained"]), default=0)
    steps = (
        f"Medians of {settings['rounds']} rounds, in brackets the least and the most. {machine['cpu']}, "
        f"{machine['threads']} threads, {machine['device']}, batches of {settings['batch_size']}, commit {machine['commit']}."
    )
    parts = [
        _TRAINING,
        f"{settings['model']}, CIFAR-10 test, {samples:,} images. Every record names machine and commit.",
        _picture("loss and accuracy over the epochs", "training/curves.png"),
        "## Bits",
        training_report.trained_table(dict(result)),
        "## Over the air",
        "Top-1 in % by channel.",
        _picture("accuracy over symbols of the analog codecs", "training/symbols.png"),
        training_report.symbols_table(dict(result)),
        "## A training step over the step without a codec",
        steps,
        training_report.steps_table(dict(result)),
        "## Goals",
        goals_table(result["goals"]),
    ]
    return _page("training", parts)


def accelerator_page(result: Result) -> str:
    """Return the page of `make bench-accelerator`: one table."""
    machine = result["machine"]
    where = (
        f"Medians of {result['settings']['rounds']} rounds. {machine['device']}; {machine['cpu']}, {machine['threads']} "
        f"threads, torch {machine['versions']['torch']}, commit {machine['commit']}."
    )
    return _page("accelerator", [_ACCELERATOR, where, accelerator_report.crossing_table(dict(result))])


def runtime_page(result: Result) -> str:
    """Return the page of `make bench-runtime`: goals, then part by part."""
    tables = runtime_report.summary(dict(result)).partition("\n\n")[2]
    shown = [_picture("latency over slow links", f"runtime/{runtime_report.PICTURE}")] if _has_links(result) else []
    return _page("runtime", [_RUNTIME, "## Goals", goals_table(runtime_goals(dict(result))), *shown, tables])


def _has_links(result: Result) -> bool:
    return bool(result.get("links", {}).get("rows"))


def planning_page(result: Result) -> str:
    """Return the page of `make bench-planning`: the goals, and what was profiled."""
    machine = result["machine"]
    where = f"{machine['cpu']}, {machine['threads']} threads, torch {machine['versions']['torch']}, commit {machine['commit']}."
    tables = ["## Goals", goals_table(planning_goals(dict(result))), "## Profiles", profiles_table(dict(result))]
    predicted = ["## Predicted and measured", _PREDICTED, links_table(dict(result))] if "links" in result else []
    return _page("planning", [_PLANNING, where, *tables, *predicted, *_prune_parts(result), *_search_parts(result)])


def _prune_parts(result: Result) -> list[str]:
    found = result.get("prune")
    if found is None:
        return []
    settings, commit = found["settings"], found["machine"]["commit"]
    how = (
        f"{settings['rounds']} rounds of an epoch and {settings['epochs']} epochs after them, of {settings['round_samples']:,} "
        f"training images each, others in each; measured on {settings['test_samples']:,} test images. Commit {commit}."
    )
    return ["## Pruning", _PRUNE, how, planning_report.prune_summary(found)]


def _search_parts(result: Result) -> list[str]:
    found = result.get("search")
    if found is None:
        return []
    settings, machine = found["settings"], found["machine"]
    best = max(trial["figures"]["accuracy"] for trial in found["studies"]["grid"]["trials"] if trial["state"] == "done")
    how = (
        f"{settings['train_samples']:,} training images, and each mirrored; outside the codec training is in "
        f"{'bfloat16' if settings['amp'] else 'float32'}; {settings['held_out']:,} test images to validate on, where the "
        f"network without a codec has {100 * found['base']:.2f} %; {settings['threads']} threads of {machine['cpu']}, commit "
        f"{machine['commit']}. *minutes* are those that measuring the study's points took. The most accurate point loses "
        f"{100 * (found['base'] - best):.2f} points."
    )
    return [
        "## Search",
        _SEARCH,
        how,
        goals_table(planning_report.search_goals(found)),
        planning_report.search_table(found),
        _REPLAYS,
        planning_report.replays_table(found),
        _picture("accuracy against bytes of the trials that TPE drew", "planning/search.png"),
        planning_report.points_table(found),
    ]


def transform_page(result: Result) -> str:
    """Return the page of `make bench-transform`: the goals, two figures and every table."""
    figures = [_picture("change of top-1 against bytes", "transform/change.png")]
    if any(row["network"] == "lite0" for row in result["rows"]):
        figures.append(_picture("KL divergence against bits", "transform/kl.png"))
    return _page(
        "transform", [_TRANSFORM, "## Goals", goals_table(result["goals"]), *figures, transform_report.summary(result)]
    )


SECTIONS: Mapping[str, Callable[[Result], str]] = {
    "default": default_page,
    "entropy": entropy_page,
    "channel": channel_page,
    "training": training_page,
    "accelerator": accelerator_page,
    "runtime": runtime_page,
    "planning": planning_page,
    "transform": transform_page,
}


def _page(name: str, parts: Sequence[str]) -> str:
    source = f"<!-- Written by python -m benchmarks.pages from {RESULTS / name / 'results.json'}. -->"
    text = "\n\n".join(part.strip("\n") for part in [source, *parts])
    if "-dirty" in text:
        text += "\n\nA commit that ends in -dirty is that commit with changes that were not committed."
    return text + "\n"


def _picture(what: str, path: str) -> str:
    return f"![{what}](../../{RESULTS / path})"


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def render(name: str, results: Path) -> str:
    """Return a suite's page, as the results in a folder have it."""
    return SECTIONS[name](_read(results / name))


def _read(folder: Path) -> Result:
    """A suite's results.json, and what lies beside it by its name: planning's longer parts, prune.json and search.json."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    if "results" not in found:
        raise FileNotFoundError(f"{folder} holds no results.json")
    return {**found, **found.pop("results")}


def draw(results: Path) -> None:
    """Draw every suite's pictures from the results and records in a folder."""
    found = {name: _read(results / name) for name in SECTIONS}
    pictures.plot(found["default"], results / "default/rate_accuracy.png")
    entropy_report.plot(entropy_report.of_embedded_network(found["entropy"]), results / "entropy/bits_speed.png")
    channel_report.plot(found["channel"], results / "channel")
    trained = [*trained_codecs(), *trained_codecs(folder=results / "training/records")]
    training_report.curves(trained, results / "training/curves.png")
    training_report.symbols_plot(found["training"]["trained"], results / "training/symbols.png")
    runtime_report.plot(found["runtime"], results / "runtime")
    if "search" in found["planning"]:
        search_picture.plot(Findings.from_dict(found["planning"]["search"]["studies"]["tpe"]), results / "planning/search.png")
    transform_report.plot(found["transform"], results / "transform")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    p.add_argument("--measure", action="store_true", help="measure the default job anew, which the other suites do themselves")
    p.add_argument("--pictures", action="store_true", help="draw every suite's pictures anew from its results")
    args = p.parse_args(argv)
    try:
        if args.measure:
            measure_default(ROOT, ROOT / RESULTS)
        if args.pictures:
            draw(ROOT / RESULTS)
        pages = {name: render(name, ROOT / RESULTS) for name in SECTIONS}
    except (FileNotFoundError, ValueError) as e:
        print(f"results: {e}", file=sys.stderr)
        return 2
    (ROOT / PAGES).mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (ROOT / PAGES / f"{name}.md").write_text(text)
    print(f"written: {', '.join(str(PAGES / f'{name}.md') for name in pages)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
