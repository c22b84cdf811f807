// An aligned vector for keys and masks: its memory is wiped before it goes back to the allocator.
#pragma once

#include "base/aligned.hpp"
#include "base/block.hpp"

namespace deepreduce {

template <class T>
struct WipingAllocator : CacheLineAllocator<T> {
    WipingAllocator() = default;
    template <class U>
    WipingAllocator(const WipingAllocator<U>&) {}

    void deallocate(T* data, std::size_t count) {
        wipe(data, count * sizeof(T));
        CacheLineAllocator<T>::deallocate(data, count);
    }
};

template <class T>
using SecretVector = std::vector<T, WipingAllocator<T>>;

}  // namespace deepreduce
