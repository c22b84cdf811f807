// Memory for keys and masks: aligned for any vector width, wiped before it goes back to the allocator.
#pragma once

#include <cstddef>
#include <new>
#include <string.h>
#include <vector>

namespace deepreduce {

// A store the compiler may not remove, unlike memset before free.
inline void wipe(void* data, std::size_t bytes) {
    volatile unsigned char* p = static_cast<volatile unsigned char*>(data);
    memset(data, 0, bytes);
    if (bytes) p[0] = 0;
    asm volatile("" : : "r"(data) : "memory");
}

template <class T, bool wiped>
struct AlignedAllocator {
    using value_type = T;
    template <class U>
    struct rebind {
        using other = AlignedAllocator<U, wiped>;
    };
    AlignedAllocator() = default;
    template <class U>
    AlignedAllocator(const AlignedAllocator<U, wiped>&) {}
    T* allocate(std::size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t{64})); }
    void deallocate(T* data, std::size_t count) {
        if (wiped) wipe(data, count * sizeof(T));
        ::operator delete(data, std::align_val_t{64});
    }
    bool operator==(const AlignedAllocator&) const { return true; }
};

template <class T>
using Aligned = std::vector<T, AlignedAllocator<T, false>>;
template <class T>
using Secret = std::vector<T, AlignedAllocator<T, true>>;

}  // namespace deepreduce
