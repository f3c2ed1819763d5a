// libFuzzer target over the decoders of LDPC blocks: `make fuzz`.
#include "decode_any.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    decode_ldpc(data, size);
    return 0;
}
