// Arrays that host and device generate identically, bit for bit, from a few numbers; harness/agent/expand.py documents
// how.
#pragma once

#include <cstdint>
#include <vector>

#include "frame.hpp"
#include "tensor.hpp"

namespace hilgate {

// Makes the array that a fill describes. Its "base" chooses from `kept`, the arrays of this input.
//
// Throws std::invalid_argument where the fill is not valid, or its array has more than `largest` bytes.
Tensor expand(const Json& fill, const std::vector<Tensor>& kept, std::uint64_t largest = max_payload);

}  // namespace hilgate
