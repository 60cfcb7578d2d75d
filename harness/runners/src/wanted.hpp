// What is wanted of JSON: anything else is a std::invalid_argument that says what that was, and what was found.
#pragma once

#include <cstdint>
#include <string>

#include "frame.hpp"

namespace hilgate {

[[noreturn]] void refuse(const std::string& wanted, const Json& found);

// Of a fill.
const Json& member(const Json& fill, const char* name);

const Json& list(const Json& found, const char* wanted);

// Between 0, or the smallest, and the largest; `what` it is.
std::uint64_t whole(const Json& found, std::uint64_t largest, const char* what);
std::int64_t whole(const Json& found, std::int64_t smallest, std::int64_t largest, const char* what);

}  // namespace hilgate
