// What each Status means, in words.
#include "featcodec.hpp"

namespace featcodec {

const char* describe(Status status) noexcept {
    switch (status) {
        case Status::ok: return "no error";
        case Status::truncated: return "the stream ends before its last symbol";
        case Status::trailing: return "bytes are left over after the last symbol";
        case Status::bad_mode: return "the mode byte names no coding mode";
        case Status::bad_table: return "the code table is not one that an encoder writes";
        case Status::bad_code: return "its codes are not ones that an encoder writes";
        case Status::bad_range: return "a range is not finite, has its minimum above its maximum, or is not one that an encoder writes";
    }
    return "unknown status";
}

}  // namespace featcodec
