// Arrays that host and device make alike, bit for bit, from a few numbers; harness/agent/expand.py writes down how.
#pragma once

#include <cstdint>
#include <vector>

#include "frame.hpp"
#include "tensor.hpp"

namespace hilgate {

// The array of one fill. What its "base" chooses from is `kept`: this input's arrays.
//
// Throws std::invalid_argument where it is no fill, or one of more than so many bytes.
Tensor expand(const Json& fill, const std::vector<Tensor>& kept, std::uint64_t largest = max_payload);

}  // namespace hilgate
