"""Protected messages: there and back at every block boundary, the receiver's guess of the sender's blocks, damage, refusals."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcodec._core import crc32c
from featcodec.errors import BitstreamError, ConfigError, FeatureError
from featcodec.fec import block_codes as fec
from featcodec.fec.block_codes import BlockCode, Blocks, ldpc_of, parse_rate, wifi_mother

SURE = 127
NR, WIFI = BlockCode("nr", Fraction(1, 2)), BlockCode("wifi", Fraction(3, 4))
CODES = {
    "nr 1/2": NR,
    "nr 1/20": BlockCode("nr", Fraction(1, 20)),
    "nr 9/10": BlockCode("nr", Fraction(9, 10)),
    "nr 99/100": BlockCode("nr", Fraction(99, 100)),
    "wifi 1/2": BlockCode("wifi", Fraction(1, 2)),
    "wifi 3/4": WIFI,
    "wifi 97/100": BlockCode("wifi", Fraction(97, 100)),
    "more parity for many": BlockCode("nr", lambda k, count: k + k // 4 + (40 if count == 1 else 90)),
    "more parity for one": BlockCode("nr", lambda k, count: 2 * k if count == 1 else k + k // 5),
}


def message_of(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def received(sent: np.ndarray, magnitude: int = SURE) -> np.ndarray:
    return (magnitude * (1 - 2 * np.unpackbits(sent).astype(np.int8))).astype(np.int8)


def assemble(code: BlockCode, blocks: Blocks, data: np.ndarray) -> np.ndarray:
    """The bytes to send for what the blocks hold, (B, data_bytes): the format written out."""
    crcs = np.array([crc32c(row.tobytes()) for row in data], "<u4").view(np.uint8).reshape(-1, 4)
    ldpc = ldpc_of(code.family, 8 * (blocks.data_bytes + 4), blocks.sent_bits)
    coded = np.unpackbits(ldpc.encode_packed(np.concatenate([data, crcs], 1)), axis=1)
    state, scrambling = [1] * 7, []
    for _ in range(127):
        scrambling.append(state[6] ^ state[3])
        state = [scrambling[-1], *state[:6]]
    bits = coded.T.reshape(-1)
    return np.packbits(bits ^ np.resize(np.array(scrambling, np.uint8), bits.size))


# ---- there and back --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_messages_around_every_block_boundary_come_back(code):
    most = code.most_bytes
    sizes = {1, 2, 3, 7, 8, 9, 50, most // 2} | {b * most + d for b in (1, 2, 3) for d in (-5, -4, -3, -1, 0, 1)}
    for size in sorted(sizes):
        message = message_of(size)
        sent = code.protect(message)
        assert sent.size == code.coded_bytes(size)
        found = code.recover(received(sent))
        assert found.failed == 0
        assert found.blocks == code.blocks(size).count
        assert np.array_equal(found.data, message)
        assert found.good.shape == (size,)
        assert found.good.all()
        assert found.failed_bits.size == 0


def test_the_format():
    for code, size in ((NR, 700), (NR, 3000), (WIFI, 40), (WIFI, 999)):
        blocks, message = code.blocks(size), message_of(size)
        framed = message if blocks.count == 1 else np.concatenate([np.array([size], "<u4").view(np.uint8), message])
        data = np.zeros(blocks.count * blocks.data_bytes, np.uint8)
        data[: framed.size] = framed
        assert np.array_equal(code.protect(message), assemble(code, blocks, data.reshape(blocks.count, -1)))


def test_the_scrambling_sequence_is_the_standards():
    # IEEE 802.11-2016, 17.3.5.5: all ones first
    wanted = "00001110111100101100100100000010001001100010111010110110000011001101010011100111101101000010101011111010"
    wanted += "01010001101110001111111"
    bits = np.unpackbits(fec._scrambling(400))
    assert "".join(map(str, bits[:127])) == wanted
    assert np.array_equal(bits[127:3000], bits[: 3000 - 127])


def test_sizes():
    assert NR.blocks(1) == Blocks(1, 1, 80)
    assert NR.most_bytes == 8448 // 8 - 4
    assert NR.blocks(1052) == Blocks(1, 1052, 16896)
    assert NR.blocks(1053) == Blocks(2, 529, 2 * 8 * 533)
    assert WIFI.blocks(100).sent_bits == 8 * -(-8 * 104 * 4 // 3 // 8)
    for code in CODES.values():
        for size in range(1, 4000, 37):
            blocks = code.blocks(size)
            assert blocks.count * blocks.data_bytes >= size + (4 if blocks.count > 1 else 0)
            assert blocks.count * (blocks.data_bytes - 1) < size + 4
            assert blocks.coded_bytes == code.coded_bytes(size)


@pytest.mark.parametrize("name", CODES)
def test_the_receiver_finds_the_senders_blocks(name):
    code, limit = CODES[name], 5000
    senders = defaultdict(set)
    for size in range(1, limit + 1):
        senders[code.coded_bytes(size)].add(code.blocks(size))
    # no message of more bytes is sent with `limit` bytes or fewer
    for coded_bytes in range(1, limit + 1, 1 if name == "nr 1/2" else 7):
        found = code._candidates(coded_bytes)
        assert len(found) == len(set(found))
        assert set(found) == senders.get(coded_bytes, set()), coded_bytes
    for size in (5_001, 65_537, 1_000_003, fec.MAX_MESSAGE_BYTES):
        assert code.blocks(size) in code._candidates(code.coded_bytes(size))


# ---- damage ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "size"),
    [(NR, 30), (NR, 1000), (NR, 4000), (WIFI, 60), (WIFI, 1500)],
    ids=["nr-30", "nr-1000", "nr-4000", "wifi-60", "wifi-1500"],
)
def test_erasures_flips_noise_and_bursts_are_corrected(code, size):
    message = message_of(size)
    clean = received(code.protect(message))
    rng = np.random.default_rng(1)
    erased = np.where(rng.random(clean.size) < 0.12, 0, clean).astype(np.int8)
    flipped = np.where(rng.random(clean.size) < 0.005, -clean, clean).astype(np.int8)
    both = np.where(rng.random(clean.size) < 0.05, 0, flipped).astype(np.int8)
    noisy = np.clip(np.rint(np.sign(clean) * 8.0 + 4 * rng.standard_normal(clean.size)), -31, 31).astype(np.int8)
    burst = clean.copy()
    burst[clean.size // 3 :][: clean.size // 8] = 0
    for llr in (erased, flipped, both, noisy, burst):
        found = code.recover(llr)
        assert found.failed == 0
        assert np.array_equal(found.data, message)


def test_failed_blocks_are_flagged_and_only_those():
    size = 5000
    message = message_of(size)
    blocks = NR.blocks(size)
    clean = received(NR.protect(message))
    rng = np.random.default_rng(2)
    for lost in ({3}, {1, 4}, {blocks.count - 1}, set(range(1, blocks.count))):
        for kind in ("erased", "any"):
            llr = clean.reshape(-1, blocks.count).copy()
            for block in lost:
                llr[:, block] = 0 if kind == "erased" else rng.integers(-128, 128, llr.shape[0])
            found = NR.recover(llr.reshape(-1))
            assert (found.blocks, found.failed) == (blocks.count, len(lost))
            block_of = (np.arange(size) + 4) // blocks.data_bytes
            assert np.array_equal(found.good, ~np.isin(block_of, list(lost)))
            assert np.array_equal(found.data[found.good], message[found.good])
            assert set(found.failed_bits % blocks.count) == lost
            assert found.failed_bits.size == len(lost) * blocks.sent_bits


def test_without_its_first_block_a_message_has_no_length():
    size = 3000
    blocks = NR.blocks(size)
    llr = received(NR.protect(message_of(size))).reshape(-1, blocks.count)
    llr[:, 0] = 0
    found = NR.recover(llr.reshape(-1))
    assert found.data is None
    assert found.good.size == 0
    assert found.failed == 1


def test_one_block_that_fails_gives_its_best_guess():
    llr = received(NR.protect(message_of(100)))
    llr[::3] = 0
    llr[1::2] = -llr[1::2]
    found = NR.recover(llr)
    assert (found.blocks, found.failed) == (1, 1)
    assert found.data.shape == (100,)
    assert not found.good.any()
    assert np.array_equal(found.failed_bits, np.arange(llr.size))


@pytest.mark.parametrize("claimed", [0, 2 * 529 - 4 + 1, 2**32 - 1])
def test_a_length_that_no_sender_writes_is_refused(claimed):
    blocks = NR.blocks(1053)
    data = np.zeros((blocks.count, blocks.data_bytes), np.uint8)
    data[0, :4] = np.array([claimed], "<u4").view(np.uint8)
    with pytest.raises(BitstreamError, match=f"says it has {claimed} bytes"):
        NR.recover(received(assemble(NR, blocks, data)))


@pytest.mark.parametrize("bits", [0, 1, 7, 9, 8, 16, 72, 81, 8 * 2115])
def test_numbers_of_bits_that_no_sender_sends_are_refused(bits):
    with pytest.raises(BitstreamError, match=f"no protected message is sent with {bits} bits"):
        NR.recover(np.zeros(bits, np.int8))


@settings(max_examples=15, deadline=None)
@given(
    size=st.integers(1, 3000),
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(["nr 1/2", "wifi 3/4", "nr 9/10"]),
    kind=st.integers(0, 3),
)
def test_hostile_llrs_give_failed_blocks(size, seed, name, kind):
    code = CODES[name]
    rng = np.random.default_rng(seed)
    bits = 8 * code.coded_bytes(size)
    llr = [rng.integers(-128, 128, bits), np.full(bits, -128), rng.integers(-1, 2, bits), np.zeros(bits)][kind].astype(np.int8)
    found = code.recover(llr)
    assert found.failed == found.blocks
    assert not found.good.any()
    assert np.array_equal(np.sort(found.failed_bits), np.arange(bits))


# ---- refusals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, -1, fec.MAX_MESSAGE_BYTES + 1])
def test_messages_of_no_size_are_refused(size):
    with pytest.raises(FeatureError, match=f"1..{fec.MAX_MESSAGE_BYTES} bytes, got {size}"):
        NR.blocks(size)


def test_a_wifi_code_has_no_lower_rate_than_a_half():
    with pytest.raises(ConfigError, match="at most two bits"):
        BlockCode("wifi", lambda k, count: 30 * k)
    with pytest.raises(ConfigError, match="no wifi code sends 100 bits as 2000"):
        ldpc_of("wifi", 100, 2000)


def test_a_wifi_block_takes_the_code_with_the_fewest_punctured_bits():
    assert wifi_mother(324, 648) == (648, "1/2", 0)
    assert wifi_mother(1620, 1944) == (1944, "5/6", 0)
    assert wifi_mother(320, 648) == (648, "1/2", 0)  # four bits of padding
    assert wifi_mother(100, 400) == (648, "1/2", 24)
    assert wifi_mother(1621, 1945) is None
    assert wifi_mother(100, 2000) is None
    for data_bytes in range(1, WIFI.most_bytes + 1):
        n = WIFI._blocks_of(1, data_bytes).sent_bits
        assert 0 <= n - ldpc_of("wifi", 8 * (data_bytes + 4), n).n < 8


@pytest.mark.parametrize(
    ("family", "value", "rate"),
    [
        ("nr", "1/2", Fraction(1, 2)),
        ("nr", 0.75, Fraction(3, 4)),
        ("wifi", "0.9", Fraction(9, 10)),
        ("nr", "1/20", Fraction(1, 20)),
        ("nr", 0.1, Fraction(1, 10)),
    ],
)
def test_rates(family, value, rate):
    assert parse_rate(family, value) == rate


@pytest.mark.parametrize(
    "value", ["", "half", "1/0", "1", 1, 2, 0, -0.5, "1/21", "199/200", True, None, [1, 2], float("nan"), float("inf"), "auto"]
)
def test_no_rates(value):
    with pytest.raises(ConfigError, match=r"rate of a nr code must be 1/20\.\.99/100"):
        parse_rate("nr", value)


def test_a_wifi_rate_is_at_least_a_half():
    with pytest.raises(ConfigError, match=r"1/2\.\.99/100, as in rate=3/4, got '1/3'"):
        parse_rate("wifi", "1/3")


# ---- the CRC as checks -----------------------------------------------------------------------------------------------------


def crc_blocks(code, count: int, erased: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of so many bytes before the CRC, and their LLRs with exactly so many erased."""
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (count, code.k // 8 - 4), dtype=np.uint8)
    llr = np.array([SURE, -SURE], np.int8)[np.unpackbits(code.encode_packed(fec.with_crcs(data)), axis=1, count=code.n)]
    np.put_along_axis(llr, rng.random(llr.shape).argsort(axis=1)[:, :erased], 0, axis=1)
    return data, llr


@pytest.mark.parametrize(("k", "n"), [(544, 568), (1056, 1080), (1056, 2000), (4128, 4200)])
def test_the_crc_fills_up_to_eight_more_erasures(k, n):
    code = ldpc_of("nr", k, n)
    for more, least in ((0, 36), (5, 28), (8, 6)):
        data, llr = crc_blocks(code, 40, n - k + more)
        plain = code.decode_packed(llr, algorithm="erasure").ok
        found, good = fec.decode_blocks(code, llr)
        assert good.sum() >= max(least, plain.sum() + 1)
        assert np.array_equal(found[good], data[good])
    _, llr = crc_blocks(code, 40, n - k + 9)
    assert not fec.decode_blocks(code, llr)[1].any()


def test_a_flipped_bit_is_not_hidden_by_filling():
    code = ldpc_of("nr", 1056, 1080)
    _, llr = crc_blocks(code, 300, 28)
    flips = np.random.default_rng(1).integers(0, code.n, len(llr))
    rows = np.arange(len(llr))
    flips = np.array(
        [next(j for j in range(f, f + code.n) if llr[i, j % code.n]) % code.n for i, f in zip(rows, flips, strict=True)]
    )
    llr[rows, flips] *= -1
    assert not fec.decode_blocks(code, llr)[1].any()


# ---- what is known of a block that failed ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nr 1/2", "nr 9/10", "wifi 3/4"])
def test_bits_of_a_failed_block_are_the_channel_s_and_the_decoder_s(name):
    code, message = CODES[name], message_of(3 * CODES[name].most_bytes)
    sent = code.protect(message)
    blocks = code.blocks(message.size)
    clean = code.recover(received(sent, 20))
    assert np.array_equal(clean.soft, received(message))
    rng = np.random.default_rng(4)
    llr = np.clip(received(sent, 20) + rng.normal(0, 40, 8 * sent.size), -120, 120).astype(np.int8)
    llr[rng.random(llr.size) < 0.2] = 0
    of_block = np.arange(llr.size) % blocks.count
    llr[of_block != 1] = received(sent, 20)[of_block != 1]
    found = code.recover(llr)
    assert found.failed == 1
    assert found.data is not None
    bad = np.repeat(~found.good, 8)
    truth = np.unpackbits(message)
    assert (np.abs(found.soft[~bad]) == SURE).all()
    assert np.array_equal(found.soft[~bad] < 0, truth[~bad] == 1)
    # in the failed block: erased ones are erased, no others; the sign is mostly right, more often than the decisions' alone
    ldpc = ldpc_of(code.family, 8 * (blocks.data_bytes + 4), blocks.sent_bits)
    erased = np.mean(found.soft[bad] == 0)
    assert 0.1 < erased < 0.25
    if ldpc.first_sent:
        assert found.soft[bad][: ldpc.first_sent].all()
    known = found.soft[bad] != 0
    assert ((found.soft[bad] < 0) == (truth[bad] == 1))[known].mean() > 0.55


@pytest.mark.parametrize("code", [ldpc_of("nr", 1056, 1200), ldpc_of("nr", 40, 90), ldpc_of("wifi", 972, 1944)], ids=str)
def test_information_bits_are_sent_in_order_from_the_first_sent_on(code):
    bits = np.random.default_rng(0).integers(0, 2, (3, code.k), dtype=np.uint8)
    first = code.first_sent
    assert np.array_equal(code.encode(bits)[:, : code.k - first], bits[:, first:])


def test_a_known_length_stands_in_for_the_first_block_s():
    message = message_of(3 * NR.most_bytes)
    llr = received(NR.protect(message))
    blocks = NR.blocks(message.size)
    llr[0 :: blocks.count] = 0
    assert NR.recover(llr).data is None
    found = NR.recover(llr, message.size)
    assert found.data is not None
    assert found.failed == 1
    assert found.data.size == message.size
    assert np.array_equal(found.data[found.good], message[found.good])
    with pytest.raises(BitstreamError, match="no protected message"):
        NR.recover(llr, message.size + 5000)
