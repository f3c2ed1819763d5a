// libFuzzer target over all decoders: `make fuzz`.
#include "decode_any.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    decode_any(data, size);
    return 0;
}
