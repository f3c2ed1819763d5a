"""What BottleNet's tables 3 to 5 say, as candidates for its Algorithm 1 (Eshratifar et al., arXiv 1902.01000)."""

from __future__ import annotations

import dataclasses

from featcodec.planning import Candidate, Link, get_link

LINKS = {"3G": "3g", "4G": "4g", "Wi-Fi": "wifi"}
# Table 4: bytes that are sent behind each of ResNet-50's 16 residual blocks, milliseconds and mJ end to end
SENT_BYTES = (316, 317, 314, 166, 171, 168, 170, 96, 90, 98, 101, 101, 95, 52, 52, 53)
LATENCY_MS = {
    "3G": (3.1, 4.1, 4.9, 5.2, 6.3, 7.5, 8.2, 9.6, 10.7, 11.6, 12.8, 13.4, 14.8, 15.1, 16.0, 17.1),
    "4G": (1.8, 2.5, 3.3, 4.2, 5.0, 5.9, 6.9, 8.6, 9.4, 10.3, 11.9, 12.7, 14.1, 15.0, 15.7, 16.9),
    "Wi-Fi": (1.6, 2.4, 3.0, 4.1, 4.9, 5.8, 6.8, 8.5, 9.3, 10.1, 11.8, 12.6, 14.0, 14.9, 15.7, 16.9),
}
ENERGY_MJ = {
    "3G": (6.6, 7.6, 8.1, 9.7, 10.8, 11.9, 12.6, 13.9, 14.1, 15.8, 16.1, 17.6, 18.5, 19.8, 20.7, 21.9),
    "4G": (4.1, 6.8, 7.0, 8.9, 10.6, 11.3, 12.9, 13.1, 14.0, 15.6, 16.0, 17.1, 18.3, 19.1, 20.3, 21.2),
    "Wi-Fi": (3.5, 5.6, 6.1, 7.4, 9.5, 10.8, 12.3, 12.5, 13.8, 14.9, 15.6, 16.9, 18.1, 19.0, 20.1, 21.0),
}
# Table 5: all on the device; the JPEG file that is sent where all is on the server, and the milliseconds of that
DEVICE_MS, DEVICE_MJ = 15.7, 20.5
PICTURE_BYTES = 26766
PICTURE_MS = {"3G": 196.2, "4G": 37.9, "Wi-Fi": 13.1}


def link(name: str) -> Link:
    """Return a link by the name that the paper's tables give it."""
    return get_link(LINKS[name])


def computing_ms(name: str) -> list[float]:
    """Return TM_j + TC_j of each block: what a link's end-to-end times leave when 8 D_j / NB is taken from them."""
    rate = link(name).rate_bps
    return [total - 8 * sent / rate * 1e3 for total, sent in zip(LATENCY_MS[name], SENT_BYTES, strict=True)]


def candidates(times_of: str) -> list[Candidate]:
    """Return the paper's splits, RB1 to RB16, all on the device and all on the server.

    TM_j and TC_j are published as their sum alone: all of it is the device's here, with the power that the paper's energy and
    time of the network all on the device give.

    Parameters
    ----------
    times_of
        The link whose end-to-end times TM_j + TC_j are taken from.
    """
    power_mw = DEVICE_MJ / DEVICE_MS * 1e3
    splits = [
        Candidate(f"RB{j}", sent, ms, 0.0, head_macs=j, total_macs=17, device_mw=power_mw)
        for j, (sent, ms) in enumerate(zip(SENT_BYTES, computing_ms(times_of), strict=True), 1)
    ]
    server_ms = PICTURE_MS[times_of] - link(times_of).upload_ms(PICTURE_BYTES)
    local = Candidate("local", 0, DEVICE_MS, 0.0, kind="local", head_macs=17, total_macs=17, device_mw=power_mw)
    picture = Candidate("picture", PICTURE_BYTES, 0.0, server_ms, kind="picture", total_macs=17, device_mw=power_mw)
    return [local, picture, *splits]


def with_early_blocks_larger(found: list[Candidate], times: int, blocks: int = 3) -> list[Candidate]:
    """Return candidates of which the first blocks send so many times as much: a later one must win where that is dear."""
    early = {f"RB{j}" for j in range(1, blocks + 1)}
    return [dataclasses.replace(c, size_bytes=times * c.size_bytes) if c.name in early else c for c in found]
