// rANS streams: the optional table, then words and states.
#include <cstring>

#include "order0.hpp"

namespace featcodec {
namespace {

// Words and states are one kernel's business; it says only whether all of it was consistent.
Status decode_words(const Order0Kernels& kernels, std::span<const std::uint8_t> in, unsigned bits, const RansCode& code,
                    const std::uint32_t* slots, std::span<std::uint8_t> symbols) {
    const unsigned lanes = rans8_lanes(symbols.size());
    if (in.size() < std::size_t{4} * lanes) return Status::truncated;
    const bool good = kernels.rans_decode(code, slots, bits, in.data(), in.size(), lanes, symbols.data(), symbols.size());
    return good ? Status::ok : Status::bad_code;
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

std::size_t rans8_encode(const Order0Kernels& kernels, std::span<const std::uint8_t> symbols, unsigned bits, const RansCode& code,
                         std::span<const std::uint8_t> table, std::span<std::uint8_t> out) {
    const std::size_t at = table.size();
    if (at > out.size()) return 0;
    if (at > 0) std::memcpy(out.data(), table.data(), at);
    const std::size_t written = kernels.rans_encode(code, bits, symbols.data(), symbols.size(), rans8_lanes(symbols.size()),
                                                    out.data() + at, out.size() - at);
    return written == 0 ? 0 : at + written;
}

Status rans8_decode(const Order0Kernels& kernels, std::span<const std::uint8_t> in, unsigned bits, std::span<std::uint8_t> symbols) {
    RansCode code;
    std::size_t used = 0;
    if (const Status status = rans8_read_table(in, bits, code, used); status != Status::ok) return status;
    RansSlots slots;
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
