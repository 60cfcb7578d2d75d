// Tensors: an element type, a shape, and bytes with shared ownership.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace hilgate {

enum class DType : std::uint8_t { boolean, uint8, int8, int16, int32, int64, float16, float32, float64 };

struct DTypeInfo {
    DType dtype;
    std::string_view name;  // numpy's, as in a frame's header
    std::size_t bytes;      // of one element
};

inline constexpr std::array<DTypeInfo, 9> dtypes{{
    {DType::boolean, "bool", 1},
    {DType::uint8, "uint8", 1},
    {DType::int8, "int8", 1},
    {DType::int16, "int16", 2},
    {DType::int32, "int32", 4},
    {DType::int64, "int64", 8},
    {DType::float16, "float16", 2},
    {DType::float32, "float32", 4},
    {DType::float64, "float64", 8},
}};

// The table is in the order of the enumeration.
inline const DTypeInfo& info(DType dtype) { return dtypes.at(static_cast<std::size_t>(dtype)); }

// Elements in C order, of this machine's byte order, which is the wire's: little-endian.
struct Tensor {
    DType dtype = DType::float32;
    std::vector<std::int64_t> shape;
    const std::byte* data = nullptr;
    std::shared_ptr<const void> owner;  // keeps the bytes alive

    [[nodiscard]] std::size_t bytes() const {
        std::size_t size = info(dtype).bytes;
        for (const auto length : shape) size *= static_cast<std::size_t>(length);
        return size;
    }
};

struct NamedTensor {
    std::string name;
    Tensor tensor;
};

}  // namespace hilgate
