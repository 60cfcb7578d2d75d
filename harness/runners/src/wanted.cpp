#include "wanted.hpp"

#include <stdexcept>

namespace hilgate {

void refuse(const std::string& wanted, const Json& found) {
    // A nested value is not written out: dump() is recursive, and the text could be long.
    const auto text = found.is_structured() ? std::string("an ") + found.type_name()
                                            : found.dump(-1, ' ', false, Json::error_handler_t::replace);
    throw std::invalid_argument("wanted " + wanted + "; found " + text.substr(0, 80));
}

const Json& member(const Json& fill, const char* name) {
    const auto found = fill.find(name);
    if (found == fill.end()) throw std::invalid_argument(std::string("wanted a fill with '") + name + "'; found none");
    return *found;
}

const Json& list(const Json& found, const char* wanted) {
    if (!found.is_array()) refuse(wanted, found);
    return found;
}

std::uint64_t whole(const Json& found, std::uint64_t largest, const char* what) {
    const bool negative = !found.is_number_unsigned() && found.is_number_integer() && found.get<std::int64_t>() < 0;
    if (!found.is_number_integer() || negative || found.get<std::uint64_t>() > largest) {
        refuse(std::string(what) + ", a whole number 0 … " + std::to_string(largest), found);
    }
    return found.get<std::uint64_t>();
}

std::int64_t whole(const Json& found, std::int64_t smallest, std::int64_t largest, const char* what) {
    const bool large = found.is_number_unsigned() && found.get<std::uint64_t>() > static_cast<std::uint64_t>(largest);
    if (!found.is_number_integer() || large || found.get<std::int64_t>() < smallest ||
        found.get<std::int64_t>() > largest) {
        refuse(std::string(what) + ", a whole number " + std::to_string(smallest) + " … " + std::to_string(largest),
               found);
    }
    return found.get<std::int64_t>();
}

}  // namespace hilgate
