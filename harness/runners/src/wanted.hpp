// Checked access to JSON: anything unexpected is a std::invalid_argument that says what was wanted and what was found.
#pragma once

#include <cstdint>
#include <string>

#include "frame.hpp"

namespace hilgate {

[[noreturn]] void refuse(const std::string& wanted, const Json& found);

// A member of a fill.
const Json& member(const Json& fill, const char* name);

const Json& list(const Json& found, const char* wanted);

// A whole number from 0, or from the smallest, to the largest; `what` names it in the message.
std::uint64_t whole(const Json& found, std::uint64_t largest, const char* what);
std::int64_t whole(const Json& found, std::int64_t smallest, std::int64_t largest, const char* what);

}  // namespace hilgate
