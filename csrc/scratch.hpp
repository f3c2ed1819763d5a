// Memory of one thread beside its stack, of which a thread of ours may have as little as 64 KB. Not for the ISA files: they share no
// inline function with others.
#pragma once

#include <cstddef>
#include <memory>

namespace featcodec {

// The thread's own T, a struct of some KB for one use, its values anything; made when first asked for and kept while the thread lives.
template <class T>
T& thread_room() {
    thread_local const std::unique_ptr<T> own = std::make_unique_for_overwrite<T>();
    return *own;
}

// What a thread keeps in buffers from one call to the next: memory that is there already need not be asked for. More is let go of.
inline constexpr std::size_t kKeptScratch = std::size_t{8} << 20;

// Bytes of one thread, for a thread_local: grows, never initialises.
class ScratchBytes {
public:
    ScratchBytes() noexcept;
    ~ScratchBytes();
    ScratchBytes(const ScratchBytes&) = delete;
    ScratchBytes& operator=(const ScratchBytes&) = delete;

    // What was in them is lost where they must grow.
    void* get(std::size_t wanted);

private:
    friend void trim_scratch() noexcept;
    std::unique_ptr<std::byte[]> data_;
    std::size_t size_ = 0;
    ScratchBytes* next_;  // of this thread's
};

template <class T>
class Buffer {
public:
    T* get(std::size_t wanted) { return static_cast<T*>(bytes_.get(wanted * sizeof(T))); }

private:
    ScratchBytes bytes_;
};

// Frees the largest of this thread's buffers until they hold kKeptScratch at most: what they lent is gone.
void trim_scratch() noexcept;

// Trims where a call ends, however it does.
struct TrimAtEnd {
    TrimAtEnd() = default;
    TrimAtEnd(const TrimAtEnd&) = delete;
    TrimAtEnd& operator=(const TrimAtEnd&) = delete;
    ~TrimAtEnd() { trim_scratch(); }
};

}  // namespace featcodec
