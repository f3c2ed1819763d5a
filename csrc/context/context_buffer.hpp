// A scratch buffer for one thread. Not for the ISA files: they share no inline function with others.
#pragma once

#include <cstddef>
#include <memory>

namespace featcodec {

// Grows, never shrinks, never initialises.
template <class T>
struct Buffer {
    std::unique_ptr<T[]> data;
    std::size_t size = 0;
    T* get(std::size_t wanted) {
        if (wanted > size) {
            data = std::make_unique_for_overwrite<T[]>(wanted);
            size = wanted;
        }
        return data.get();
    }
};

}  // namespace featcodec
