// libFuzzer target over the decoders of streams: `make fuzz`.
#include "decode_any.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    decode_any(data, size);
    return 0;
}
