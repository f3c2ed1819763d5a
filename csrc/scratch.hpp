// Memory of one thread beside its stack, of which a thread of ours may have as little as 64 KB. Not for the ISA files: they share no
// inline function with others.
#pragma once

#include <memory>

namespace featcodec {

// The thread's own T, a struct of some KB for one use, its values anything; made when first asked for and kept while the thread lives.
template <class T>
T& thread_room() {
    thread_local const std::unique_ptr<T> own = std::make_unique_for_overwrite<T>();
    return *own;
}

}  // namespace featcodec
