"""Feature accuracy against channel quality: LDPC-protected packets at several code rates beside bare ones; a feature's cost.

The network is the embedded ResNet-20, cut after one layer; every packet meets the channel, the tail classifies what arrives. A
sample that cannot be decoded is concealed with the mean of each map. Headers are taken to arrive; the ledger counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import featcodec as fc
from featcodec.accounting import ledger
from featcodec.bench.data import embedded
from featcodec.bench.models import resnet20
from featcodec.channel import Channel, get_channel
from featcodec.codecs.ldpc import LdpcCodec
from featcodec.fec.block_codes import CRC_BYTES, BlockCode, decode_blocks, ldpc_of, with_crcs
from featcodec.ops.soft_bits import SURE

RATES = ("1/2", "2/3", "3/4", "5/6")
FAMILIES = ("nr", "wifi")
INNER = "huffman:bits=4"
BARE = (INNER, "bitpack:bits=4")
GRACEFUL = "nr 5/6, bitpack in it"  # a block that fails erases bits, not the sample: only ranges need the head's lower rate
COUNTED = ("payload_bits", "side_bits", "table_bits", "frame_bits", "fec_bits", "channel_bits", "complex_uses")
FAILURE = 1e-3  # the share of features that rate=auto may lose

Row = dict[str, Any]


@dataclass(frozen=True)
class CliffSettings:
    """What is measured: images, channels, and the trials of a feature's cost.

    Attributes
    ----------
    trials
        Features sent, by payload bytes.
    whole
        Of these, how many go through the codec's own protect and recover, one by one.
    """

    layer: str
    images: int
    erasures: tuple[float, ...]
    snrs_db: tuple[float, ...]
    rates: tuple[str, ...]
    families: tuple[str, ...]
    trials: Mapping[int, int]
    costs: tuple[float, ...] = (0.01, 0.1, 0.2)
    whole: int = 200


def settings(quick: bool) -> CliffSettings:
    """Return the sizes of a quick and of a full run."""
    if quick:
        return CliffSettings("layer3", 16, (0.05, 0.4), (1.0, 5.0), ("1/2",), ("nr",), {128: 500}, (0.1,), 10)
    erasures = (0.01, 0.05, 0.1, 0.125, 0.15, 0.175, 0.2, 0.225, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
    snrs_db = (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 10.0)
    return CliffSettings("layer2", 500, erasures, snrs_db, RATES, FAMILIES, {128: 100_000, 4096: 20_000})


def measure_features(setting: CliffSettings, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the baseline, a row for every codec on every channel, a row for every feature's cost, and what was left out."""
    cut = Cut(setting.layer, setting.images)
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    channels = [("bec", p, f"bec:p={p}") for p in setting.erasures] + [("awgn", q, f"awgn:snr_db={q}") for q in setting.snrs_db]
    fixed = [(f"{code} {rate}", protected(code, rate)) for code in setting.families for rate in setting.rates]
    graceful = {**protected("nr", "5/6"), "inner": BARE[1], "head_bytes": 8}
    for label, spec in [*((spec, spec) for spec in BARE), *fixed, (GRACEFUL, graceful)]:
        say(f"features: {label}")
        codec = cut.calibrated(spec)
        packets = codec.encode(cut.features)
        rows += [cut.row(label, codec, packets, kind, quality, get_channel(channel)) for kind, quality, channel in channels]
    for code in setting.families:
        say(f"features: {code} auto")
        for kind, quality, channel in channels:
            try:
                codec = cut.calibrated({**protected(code, "auto"), "channel": channel})
            except fc.FeatcodecError as e:
                left_out[f"{code} auto on {channel}"] = str(e)
                continue
            rows.append(cut.row(f"{code} auto", codec, codec.encode(cut.features), kind, quality, get_channel(channel)))
    costs = []
    for code in FAMILIES:
        for size, trials in setting.trials.items():
            for p in setting.costs:
                say(f"features: cost of {size} B on bec p={p} with {code}")
                try:
                    costs.append(feature_cost(code, size, p, trials, setting.whole))
                except fc.FeatcodecError as e:
                    left_out[f"cost of {size} B, {code}, p={p}"] = str(e)
    return {"baseline": cut.baseline, "elements": cut.elements, "rows": rows, "costs": costs, "left_out": left_out}


def protected(code: str, rate: str) -> dict[str, Any]:
    """Return the config of the protected codec."""
    return {"id": "ldpc", "inner": INNER, "code": code, "rate": rate, "on_loss": "conceal"}


class Cut:
    """The embedded network cut after a layer, with the features of the first images; the others calibrate."""

    def __init__(self, layer: str, images: int) -> None:
        data = embedded()
        model = resnet20()
        pixels, labels = next(data.batches(len(data.images), "cifar10"))
        head, self.tail = fc.split(model, layer, pixels[:2])
        with torch.no_grad():
            features = head(pixels[: images + max(16, images)])
        self.features, self.calibration = features[:images], features[images:]
        self.labels = labels[:images]
        self.means = self.calibration.mean(dim=(0, 2, 3))[:, None, None]
        self.elements = int(self.features[0].numel())
        self.baseline = self.accuracy(self.features)

    def accuracy(self, features: Tensor) -> float:
        """Return the share of images that the tail classifies correctly."""
        with torch.no_grad():
            return float((self.tail(features).argmax(dim=1) == self.labels).float().mean())

    def calibrated(self, spec: fc.Spec) -> fc.Codec:
        """Build a codec; one that conceals learns its means."""
        codec = fc.get_codec(spec)
        return codec.calibrate(self.calibration)

    def row(self, label: str, codec: fc.Codec, packets: list[fc.Packet], kind: str, quality: float, channel: Channel) -> Row:
        """Send the packets over a channel and classify what arrives."""
        received, _ = codec.carry(packets, channel)
        features, lost = self._decode(codec, received)
        counted = _counted(packets, codec, channel)
        if isinstance(codec, LdpcCodec):  # what the message was before its protection
            inner = _counted(codec.inner.encode(self.features), codec.inner, channel)
            fec = counted["channel_bits"] - inner["channel_bits"]
            counted = {**inner, "fec_bits": fec, **{name: counted[name] for name in ("channel_bits", "complex_uses")}}
        where = {"codec": label, "channel": kind, "quality": quality, "config": channel.config()}
        return {**where, "accuracy": self.accuracy(features), "lost": lost, "samples": len(packets), **counted}

    def _decode(self, codec: fc.Codec, packets: list[fc.Packet]) -> tuple[Tensor, int]:
        """The features, and how many samples were lost: concealed by the codec, or here where it refuses them."""
        if isinstance(codec, LdpcCodec):
            features, losses = codec.decode_counted(packets)
            return features, losses.concealed_elements // self.elements
        features, lost = torch.empty_like(self.features), 0
        for i, packet in enumerate(packets):
            try:
                features[i] = codec.decode([packet])[0]
            except fc.FeatcodecError:
                features[i], lost = self.means, lost + 1
        return features, lost


def _counted(packets: Sequence[fc.Packet], codec: fc.Codec, channel: Channel) -> dict[str, float]:
    books = [ledger(packet, codec, modulation=channel.modulation or "bpsk").to_dict() for packet in packets]
    return {name: float(np.mean([book[name] for book in books])) for name in COUNTED}


# ---- what one feature costs ------------------------------------------------------------------------------------------------


def feature_cost(family: str, size: int, p: float, trials: int, whole: int) -> Row:
    """Measure what a payload of so many bytes costs over erasures with rate="auto", and how often it is lost.

    Most trials decode the message's blocks many at once: a message is lost where one of them is, or is not what was sent. The
    codec's interleaving does not matter to independent erasures. `whole` more go through protect and recover.
    """
    codec = fc.get_codec({"id": "ldpc", "inner": "bitpack:bits=8", "code": family, "rate": "auto", "channel": f"bec:p={p}"})
    assert isinstance(codec, LdpcCodec)
    coder = codec._blocks
    blocks = coder.blocks(size)
    code = ldpc_of(family, 8 * (blocks.data_bytes + 4), blocks.sent_bits)
    rng = np.random.default_rng([size, round(1e4 * p), len(family)])
    done = lost = 0
    while done < trials:
        messages = min(trials - done, max(1, 4_000_000 // (blocks.count * code.n)))
        info = with_crcs(rng.integers(0, 256, (messages * blocks.count, blocks.data_bytes), dtype=np.uint8))
        sent = np.unpackbits(code.encode_packed(info), axis=1, count=code.n)
        llr = np.where(sent == 1, np.int8(-SURE), np.int8(SURE))
        llr[rng.random(llr.shape, dtype=np.float32) < p] = 0
        data, good = decode_blocks(code, llr)
        wrong = ~good | (data != info[:, :-CRC_BYTES]).any(axis=1)
        lost += int(wrong.reshape(messages, blocks.count).any(axis=1).sum())
        done += messages
    return {
        "family": family,
        "bytes": size,
        "p": p,
        "blocks": blocks.count,
        "k": code.k,
        "n": blocks.sent_bits,
        "channel_bits": 8 * blocks.coded_bytes,
        "ratio": blocks.coded_bytes / size,
        "trials": trials,
        "lost": lost,
        "failure": lost / trials,
        "whole_trials": whole,
        "whole_lost": sum(not _arrives(coder, size, p, rng) for _ in range(whole)),
    }


def _arrives(coder: BlockCode, size: int, p: float, rng: np.random.Generator) -> bool:
    message = rng.integers(0, 256, size, dtype=np.uint8)
    llr = np.array([127, -127], np.int8)[np.unpackbits(coder.protect(message))]
    llr[rng.random(llr.size) < p] = 0
    found = coder.recover(llr)
    return found.failed == 0 and found.data is not None and np.array_equal(found.data, message)


def cliff_labels(rows: Sequence[Row]) -> list[str]:
    """Return what the rows call their codecs, in order."""
    return list(dict.fromkeys(row["codec"] for row in rows))
