"""Profiles, choices and maps as tables for a terminal."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from featcodec.planning.candidates import Candidate
from featcodec.planning.choices import Change, Choice, ChoiceMap
from featcodec.planning.cost import parts
from featcodec.planning.cuts import Cut, ModelProfile
from featcodec.planning.text import WIDTH, broken, columns, count, duration, rate, size

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def profile_lines(profile: ModelProfile, width: int = WIDTH, everything: bool = False) -> list[str]:
    """Return a profile as lines of at most `width`: what it is of, and a row a cut (`ModelProfile.main_cuts`, or all)."""
    inputs = ", ".join(f"{tensor.name} {shape(tensor.shape)} {tensor.dtype}" for tensor in profile.inputs)
    shown = list(profile.cuts) if everything else profile.main_cuts()
    has_device = any(cut.device_ms is not None for cut in profile.cuts)
    headings = ["cut behind", "crosses", "x input", "head MACs", "", "params", "memory", "head ms", "tail ms"]
    rows = [_cells(cut, profile, has_device) for cut in shown]
    whole = [
        count(profile.total_macs),
        "100%",
        count(profile.total_parameters),
        size(profile.weight_bytes + profile.peak_bytes),
    ]
    rows.append(["(the whole model)", "-", "-", *whole, duration(profile.total_ms), "-", *["-"] * has_device])
    load = f", {profile.busy_processes} other processes computing" if profile.busy_processes else ""
    kind = "means" if profile.busy_processes else "medians"
    lines = [
        f"{profile.model}: {inputs or 'no tensor'} in, {count(profile.total_macs)} MACs",
        f"{_where(profile)}{load}, {kind} of {profile.calls}",
        "",
        *columns([*headings, *["device ms"] * has_device], rows, width),
    ]
    hidden = len(profile.cuts) - len(shown)
    if not shown:
        lines += ["", f"No cut has at most {profile.max_tensors} tensor(s) crossing; --max-tensors allows more."]
    if hidden:
        lines += ["", f"--all shows {hidden} more cuts, which cost and send the same as one shown."]
    return lines


def _where(profile: ModelProfile) -> str:
    """What the model ran on; profiles written before GPUs were named are of the CPU."""
    device = profile.machine.get("device", "cpu")
    cpu = f"{profile.machine['cpu']}, {profile.machine['threads']} threads"
    return cpu if device == "cpu" else f"{device}, {cpu}"


def shape(sizes: tuple[int, ...]) -> str:
    """Return a shape as people write it: 3 x 32 x 32."""
    return " x ".join(map(str, sizes)) or "one number"


def _cells(cut: Cut, profile: ModelProfile, has_device: bool) -> list[str]:
    name = cut.name if cut.call is None else f"{cut.name} (call {cut.call})"
    shapes = ["x".join(map(str, tensor.shape)) for tensor in cut.crossing]
    crosses = shapes[0] if len(shapes) == 1 else f"{count(cut.elements)} in {len(shapes)}"
    device = ["-" if cut.device_ms is None else duration(cut.device_ms)] if has_device else []
    return [
        name,
        crosses,
        f"{cut.amplification:.2f}",
        count(cut.head_macs),
        f"{cut.head_macs / max(1, profile.total_macs):.0%}",
        count(cut.head_parameters),
        size(cut.memory_bytes),
        duration(cut.head_ms),
        duration(cut.tail_ms),
        *device,
    ]


def choice_lines(choice: Choice, found: Sequence[Change] = (), width: int = WIDTH, most: int = 8) -> list[str]:
    """Return a choice as lines of at most `width`: what is best, its milliseconds by part beside others', what would change it.

    Shown are the best candidate of each cut, the cheapest first, at most `most`, and those without a cut.
    """
    link, best = choice.link, choice.best
    power = "" if link.power_mw is None else f", {link.power_mw:,.0f} mW to send"
    lost = f", {link.loss:.1%} lost" if link.loss else ""
    busy = f", server {choice.load:g} times as slow as idle" if choice.load != 1 else ""
    headings = ["ms by part", "head", "encode", "upload", "RTT", "decode", "tail", "total", "bytes", "accuracy"]
    has_energy = choice.objective == "energy"
    rows = [_candidate_cells(candidate, choice, value) for candidate, value in _shown(choice, most)]
    lines = [
        *broken(f"{link.name}: {rate(link.rate_bps)}, round trip {duration(link.rtt_ms)} ms{lost}{power}{busy}", width),
        *broken(f"best by {choice.objective}: {best.name}, {duration(choice.cost)} {choice.unit}", width),
        "",
        *columns([*headings, *["mJ"] * has_energy], rows, width),
    ]
    if choice.left_out:
        lines += ["", f"{len(choice.left_out)} candidates do not keep the limits; {len(choice.ranking)} do."]
    if found:
        lines += [
            "",
            "What would change it:",
            *(line for change in found for line in broken(f"  {change_text(change)}", width)),
        ]
    return lines


def change_text(change: Change) -> str:
    """Return a change as a sentence."""
    value = rate(change.value) if change.what == "rate" else f"{change.value:.3g} times its time when idle"
    subject = "a link" if change.what == "rate" else "a server"
    verb = "" if change.what == "rate" else " that takes"
    return f"{subject}{verb} {change.direction} {value}: {change.candidate.name}"


def map_lines(found: ChoiceMap, width: int = WIDTH) -> list[str]:
    """Return a map as lines of at most `width`: a letter for the best at each load and rate, and what the letters are."""
    names = found.names()
    letters = dict(zip(names, _letters(len(names)), strict=True))
    rates = [rate(value).removesuffix("bit/s").replace(" ", "") for value in found.rates_bps]
    step = -(-len(rates) // max(1, (width - 8) // 7))
    rows = [
        [f"load {load:g}", *(letters[cell.name] for cell in row[::step])]
        for load, row in zip(found.loads, found.best, strict=True)
    ]
    legend = [line for name in names for line in broken(f"{letters[name]}  {name}", width)]
    return [f"best by {found.objective} at bit/s", *columns(["", *rates[::step]], rows, width), "", *legend]


def _letters(count: int) -> list[str]:
    """So many different letters, or pairs of them and so on where one is not enough."""
    digits = next(digits for digits in itertools.count(1) if len(_LETTERS) ** digits >= count)
    return ["".join(letters) for letters in itertools.islice(itertools.product(_LETTERS, repeat=digits), count)]


def _shown(choice: Choice, most: int) -> list[tuple[Candidate, float]]:
    """The best of each cut, and those without one; of more than `most` the dearest cuts are left out."""
    kept: dict[str, tuple[Candidate, float]] = {}
    for candidate, value in choice.ranking:
        kept.setdefault(candidate.layer or candidate.name, (candidate, value))
    bare = [pair for pair in kept.values() if pair[0].kind != "split"]
    splits = [pair for pair in kept.values() if pair[0].kind == "split"][: max(1, most - len(bare))]
    return sorted([*splits, *bare], key=lambda pair: pair[1])


def _candidate_cells(candidate: Candidate, choice: Choice, value: float) -> list[str]:
    found = parts(candidate, choice.link, choice.load)
    times = (found.head_ms, found.encode_ms, found.upload_ms, found.rtt_ms, found.decode_ms, found.tail_ms, found.total_ms)
    accuracy = "-" if candidate.accuracy is None else f"{candidate.accuracy:.4g}"
    energy = [f"{value:.3g}"] if choice.objective == "energy" else []
    return [candidate.name, *map(duration, times), f"{candidate.size_bytes:,.0f}", accuracy, *energy]
