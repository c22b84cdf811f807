// One function per C++ folder adds what the folder offers to the module; and the conversions that they share.
#pragma once

#include <stdexcept>
#include <string>
#include <type_traits>

#include "base/block.hpp"
#include "bind/arrays.hpp"

namespace deepreduce::bind {

void register_base(nb::module_& m);
void register_ring(nb::module_& m);
void register_ot(nb::module_& m);
void register_comparison(nb::module_& m);
void register_gc(nb::module_& m);
void register_he(nb::module_& m);

// Sixteen bytes as a block; std::invalid_argument otherwise.
inline Block block_of(const In<std::uint8_t>& bytes, const char* what) {
    if (bytes.size() != 16) {
        throw std::invalid_argument(std::string(what) + " must be 16 bytes, not " + std::to_string(bytes.size()));
    }
    Block block;
    std::memcpy(&block, bytes.data(), 16);
    return block;
}

// The array's memory as blocks; std::invalid_argument unless it is aligned (numpy's own arrays are).
template <class Array>
auto* blocks_of(Array& bytes) {
    if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(Block)) {
        throw std::invalid_argument("arrays of blocks must be aligned to 16 bytes");
    }
    using Byte = std::remove_pointer_t<decltype(bytes.data())>;
    using Target = std::conditional_t<std::is_const_v<Byte>, const Block, Block>;
    return reinterpret_cast<Target*>(bytes.data());
}

// Throws std::invalid_argument unless the array has exactly `count` elements.
template <class Array>
void expect_size(const Array& array, std::size_t count, const char* what) {
    if (array.size() != count) {
        throw std::invalid_argument(std::string(what) + " must have " + std::to_string(count) + " elements, not " +
                                    std::to_string(array.size()));
    }
}

}  // namespace deepreduce::bind
