// rANS streams: the optional table, then words and states.
#include <algorithm>

#include "order0.hpp"
#include "scratch.hpp"

namespace featcodec {
namespace {

void store_le32(std::uint8_t* to, std::uint32_t value) {
    for (unsigned i = 0; i < 4; ++i) to[i] = static_cast<std::uint8_t>(value >> (8 * i));
}

std::uint32_t load_le32(const std::uint8_t* from) {
    std::uint32_t value = 0;
    for (unsigned i = 0; i < 4; ++i) value |= std::uint32_t{from[i]} << (8 * i);
    return value;
}

Status decode_words(const Order0Kernels& kernels, std::span<const std::uint8_t> in, unsigned bits, const RansCode& code,
                    const std::uint32_t* slots, std::span<std::uint8_t> symbols) {
    const unsigned lanes = rans8_lanes(symbols.size());
    if (in.size() < std::size_t{4} * lanes) return Status::truncated;
    const std::uint8_t* const words_end = in.data() + in.size() - std::size_t{4} * lanes;
    std::uint32_t states[kRansMaxLanes];
    for (unsigned lane = 0; lane < lanes; ++lane) {
        states[lane] = load_le32(words_end + std::size_t{4} * lane);
        if (states[lane] < kRansLow || states[lane] >= kRansHigh) return Status::bad_code;
    }
    const std::uint8_t* const at = kernels.rans_decode(code, slots, bits, in.data(), words_end, lanes, states, symbols.data(), symbols.size());
    const bool clean = at == in.data() && std::all_of(states, states + lanes, [](std::uint32_t x) { return x == kRansLow; });
    return clean ? Status::ok : Status::bad_code;
}

}  // namespace

// Normative. Each lane costs about three bytes, and only many lanes keep a wide machine busy.
unsigned rans8_lanes(std::size_t count) {
    if (count < 256) return 1;
    if (count < 1024) return 2;
    if (count < 8192) return 4;
    if (count < 32768) return 8;
    if (count < 131072) return 16;
    return count < 262144 ? 32 : 64;
}

std::size_t rans8_encode_static(const Order0Kernels& kernels, std::span<const std::uint8_t> symbols, unsigned bits, const RansStatic& fixed,
                                std::span<std::uint8_t> out) {
    const unsigned lanes = rans8_lanes(symbols.size());
    const std::uint8_t* const end = out.data() + out.size();
    std::uint32_t states[kRansMaxLanes];
    std::fill_n(states, lanes, kRansLow);
    std::uint8_t* at = kernels.rans_encode(fixed.code, bits, symbols.data(), symbols.size(), lanes, states, out.data(), end);
    if (at == nullptr || end - at < static_cast<std::ptrdiff_t>(4 * lanes)) return 0;
    for (unsigned lane = 0; lane < lanes; ++lane, at += 4) store_le32(at, states[lane]);
    return static_cast<std::size_t>(at - out.data());
}

Status rans8_decode(const Order0Kernels& kernels, std::span<const std::uint8_t> in, unsigned bits, std::span<std::uint8_t> symbols) {
    RansCode code;
    std::size_t used = 0;
    if (const Status status = rans8_read_table(in, bits, code, used); status != Status::ok) return status;
    struct Room {
        RansSlots slots;
    };
    auto& slots = thread_room<Room>().slots;
    const bool needed = kernels.rans_needs_slots(bits, rans8_lanes(symbols.size()));
    if (needed) kernels.rans_slots(code, bits, slots);
    return decode_words(kernels, in.subspan(used), bits, code, needed ? slots : nullptr, symbols);
}

Status rans8_decode_static(const Order0Kernels& kernels, std::span<const std::uint8_t> in, unsigned bits, const RansStatic& fixed,
                           std::span<std::uint8_t> symbols) {
    const bool needed = kernels.rans_needs_slots(bits, rans8_lanes(symbols.size()));
    return decode_words(kernels, in, bits, fixed.code, needed ? fixed.slots : nullptr, symbols);
}

}  // namespace featcodec
