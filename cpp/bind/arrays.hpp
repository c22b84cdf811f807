// Arrays that cross into Python: contiguous, typed, never copied on the way in.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <initializer_list>
#include <new>
#include <vector>

namespace deepreduce::bind {

namespace nb = nanobind;

template <class T>
using In = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;
template <class T>
using Out = nb::ndarray<T, nb::c_contig, nb::device::cpu>;
template <class T>
using Result = nb::ndarray<nb::numpy, T>;

// A new numpy array, 64-byte aligned, that owns its memory. The data are not initialized.
template <class T>
Result<T> make(std::initializer_list<std::size_t> shape) {
    std::size_t count = 1;
    for (std::size_t side : shape) count *= side;
#ifdef __SANITIZE_ADDRESS__
    constexpr std::size_t slack = 0;  // else the sanitizer would not see a write just behind the array
#else
    constexpr std::size_t slack = 64;
#endif
    T* data = static_cast<T*>(::operator new(count * sizeof(T) + slack, std::align_val_t{64}));
    nb::capsule owner(data, [](void* p) noexcept { ::operator delete(p, std::align_val_t{64}); });
    return Result<T>(data, shape.size(), shape.begin(), owner);
}

}  // namespace deepreduce::bind
