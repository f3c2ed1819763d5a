// The list of a thread's buffers.
#include "scratch.hpp"

#include "exact_math.hpp"

namespace featcodec {
namespace {

thread_local ScratchBytes* first = nullptr;

}  // namespace

ScratchBytes::ScratchBytes() noexcept : next_(first) { first = this; }

ScratchBytes::~ScratchBytes() {
    ScratchBytes** at = &first;
    while (*at != this) at = &(*at)->next_;
    *at = next_;
}

void* ScratchBytes::get(std::size_t wanted) {
    if (wanted > size_) {
        data_.reset();  // not both at once
        size_ = 0;
        data_ = std::make_unique_for_overwrite<std::byte[]>(wanted);
        size_ = wanted;
    }
    return data_.get();
}

void trim_scratch() noexcept {
    for (;;) {
        std::size_t total = 0;
        ScratchBytes* largest = first;
        for (ScratchBytes* one = first; one != nullptr; one = one->next_) {
            total += one->size_;
            if (one->size_ > largest->size_) largest = one;
        }
        if (total <= kKeptScratch) return;
        largest->data_.reset();
        largest->size_ = 0;
    }
}

}  // namespace featcodec
