// A fuzz test of fills, valid and corrupted, and of the random words that arrays are made from.
//
//     fuzz_expand SEED COUNT [FIRST]
//
// Each iteration makes a fill, expects an array of its type and shape with elements in the fill's range, then corrupts
// the fill. A corrupted one may yield an array or std::invalid_argument. Anything else ends the program with status 1,
// after printing the command that repeats that iteration alone. Sanitizers (HILGATE_SANITIZE) detect accesses beside a
// buffer, shifts that are too far, and allocations that are too large.

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <iostream>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../src/expand.hpp"
#include "../src/philox.hpp"

namespace {

using hilgate::DType;
using hilgate::Json;
using hilgate::Tensor;

constexpr std::uint64_t mebibyte = std::uint64_t{1} << 20;
constexpr std::uint64_t largest_word = std::numeric_limits<std::uint64_t>::max();
constexpr std::size_t deepest = 50'000;  // recursion to this depth overflows the stack under sanitizers

class Random {
public:
    explicit Random(std::uint64_t seed) : engine_(seed) {}

    std::uint64_t bits() { return engine_(); }
    // A number of any magnitude, small ones as often as large ones.
    std::uint64_t any() { return engine_() >> below(64); }
    std::size_t below(std::size_t limit) { return static_cast<std::size_t>(engine_() % limit); }
    bool once_in(std::size_t times) { return below(times) == 0; }
    template <typename Items>
    auto& of(Items& items) {
        return items[below(std::size(items))];
    }

private:
    std::mt19937_64 engine_;
};

void want(bool held, const char* what) {
    if (!held) throw std::logic_error(what);
}

// An element's bits, and its value where the type is an integer.
std::uint64_t bits_of(const Tensor& tensor, std::size_t index) {
    const auto bytes = hilgate::info(tensor.dtype).bytes;
    std::uint64_t found = 0;
    std::memcpy(&found, tensor.data + index * bytes, bytes);
    return found;
}

// The rank of a bit pattern among all numbers of its type.
std::int64_t place_of(DType dtype, std::uint64_t bits) {
    const auto width = 8 * hilgate::info(dtype).bytes;
    if (dtype == DType::boolean || dtype == DType::uint8) return static_cast<std::int64_t>(bits);
    const auto sign = std::uint64_t{1} << (width - 1);
    if (dtype >= DType::float16) {
        const auto size = static_cast<std::int64_t>(bits & (sign - 1));
        return (bits & sign) != 0 ? -size : size;
    }
    return static_cast<std::int64_t>((bits ^ sign) - sign);
}

std::uint64_t largest_bits(DType dtype) {
    return dtype == DType::boolean ? 1 : largest_word >> (64 - 8 * hilgate::info(dtype).bytes);
}

struct Made {
    Json fill;
    DType dtype = DType::boolean;
    std::vector<Tensor> kept;
};

void make_values(Random& random, Made& made) {
    made.fill["values"] = Json::array();
    for (auto left = 1 + random.below(5); left > 0; --left) {
        made.fill["values"].push_back(random.bits() & largest_bits(made.dtype));
    }
}

void make_range(Random& random, Made& made) {
    auto most = static_cast<std::int64_t>(largest_bits(made.dtype) / 2);
    auto least = -most - 1;
    if (made.dtype == DType::boolean || made.dtype == DType::uint8) {
        least = 0;
        most = static_cast<std::int64_t>(largest_bits(made.dtype));
    } else if (made.dtype >= DType::float16) {
        constexpr std::array<std::pair<int, int>, 3> formats{{{10, -14}, {23, -126}, {52, -1022}}};
        const auto [fraction, lowest] = formats.at(static_cast<std::size_t>(made.dtype) - 6);
        const bool counted = random.once_in(2);
        most = counted ? std::int64_t{3 - 2 * lowest} << fraction : std::int64_t{2} << fraction;
        least = -most;
        made.fill["scale"] = nullptr;
        if (!counted) {
            const auto scales = static_cast<std::size_t>(1 - 2 * lowest);
            made.fill["scale"] = lowest - fraction + static_cast<int>(random.below(scales));
        }
    }
    const auto room = static_cast<std::uint64_t>(most) - static_cast<std::uint64_t>(least);
    const auto limited = [&](std::uint64_t limit) {
        if (random.once_in(8)) return limit;
        return limit == largest_word ? random.any() : random.any() % (limit + 1);
    };
    const auto start = limited(room);
    made.fill["first"] = static_cast<std::int64_t>(static_cast<std::uint64_t>(least) + start);
    made.fill["last"] = limited(room - start);
}

Made fill(Random& random) {
    static const std::array<const char*, 3> orders{"random", "ascending", "descending"};
    const auto& known = random.of(hilgate::dtypes);
    Made made{Json::object(), known.dtype, {}};
    made.fill["dtype"] = known.name;
    std::vector<std::uint64_t> shape(random.below(4));
    for (auto& length : shape) length = random.below(random.once_in(4) ? 40 : 5);
    made.fill["shape"] = shape;
    made.fill["order"] = random.of(orders);
    made.fill["key"] = random.any();
    made.fill["set"] = Json::array();
    if (random.once_in(3)) {
        make_values(random, made);
    } else {
        make_range(random, made);
    }
    std::uint64_t count = 1;
    for (const auto length : shape) count *= length;
    for (auto left = count > 0 ? random.below(3) : 0; left > 0; --left) {
        made.fill["set"].push_back({random.below(count), random.bits() & largest_bits(made.dtype)});
    }
    if (random.once_in(3)) {
        for (auto left = 1 + random.below(2); left > 0; --left) {
            made.kept.push_back(hilgate::expand({{"dtype", known.name},
                                                 {"shape", {count}},
                                                 {"values", {0, 1}},
                                                 {"order", "random"},
                                                 {"key", random.any()},
                                                 {"set", Json::array()}},
                                                {}));
        }
        made.fill["base"] = random.below(made.kept.size());
        made.fill["changed"] = random.any() % ((std::uint64_t{1} << 32) + 1);
    }
    return made;
}

bool is_kept(const Made& made, std::size_t index, std::uint64_t bits) {
    return made.fill.contains("base") && bits_of(made.kept.at(made.fill["base"].get<std::size_t>()), index) == bits;
}

// Whether an element could have been made from the fill's numbers.
bool is_drawn(const Made& made, std::uint64_t bits) {
    if (made.fill.contains("values")) {
        const auto& values = made.fill["values"];
        return std::find(values.begin(), values.end(), Json(bits)) != values.end();
    }
    const auto first = made.fill["first"].get<std::int64_t>();
    const auto last = static_cast<std::int64_t>(static_cast<std::uint64_t>(first) +
                                                made.fill["last"].get<std::uint64_t>());
    const auto found = place_of(made.dtype, bits);
    const bool scaled = made.fill.contains("scale") && !made.fill["scale"].is_null();
    // Only the sign is checked: everything else is compared with harness/agent/expand.py.
    if (scaled) return (first < 0 || found >= 0) && (last > 0 || found <= 0);
    return first <= found && found <= last;
}

void want_sound(const Made& made) {
    const auto found = hilgate::expand(made.fill, made.kept, mebibyte);
    want(found.dtype == made.dtype && Json(found.shape) == made.fill["shape"], "another type or shape came");
    const auto count = found.bytes() / hilgate::info(found.dtype).bytes;
    std::vector<bool> is_set(count);
    const auto& pairs = made.fill["set"];
    for (auto pair = pairs.rbegin(); pair != pairs.rend(); ++pair) {
        const auto index = pair->at(0).get<std::size_t>();
        want(is_set[index] || bits_of(found, index) == pair->at(1), "an element is not what it was set to");
        is_set[index] = true;
    }
    for (std::size_t index = 0; index < count; ++index) {
        const auto bits = bits_of(found, index);
        want(is_set[index] || is_kept(made, index, bits) || is_drawn(made, bits), "an element lies outside its range");
    }
}

void spoil(Json& fill, Random& random) {
    static const std::array<const char*, 29> forged{
        "-1", "0", "1", "2", "1.5", "1e3", "-0.0", "255", "256", "65536", "4294967295", "4294967296", "68719476737",
        "4611686018427387904", "9223372036854775807", "-9223372036854775808", "18446744073709551615",
        "18446744073709551616", "-1075", "1024", "true", "null", R"("float32")", R"("random")", "[]", "[3]", "{}",
        "[[0,0],[1]]", "[4611686018427387904,0,4]",
    };
    const std::vector<std::string> keys{"dtype", "shape", "values", "first", "last", "scale",
                                        "order", "key",   "set",    "base",  "changed"};
    auto* place = &fill[random.of(keys)];
    for (auto level = random.below(3); level > 0 && place->is_array() && !place->empty(); --level) {
        place = &random.of(*place);  // a size, a pair, an index
    }
    *place = Json::parse(random.of(forged));
    if (random.once_in(8)) fill.erase(random.of(keys));
    if (random.once_in(100)) fill[random.of(keys)] = std::string("\xFF, which is no text");
    if (random.once_in(2000)) {
        const auto depth = 1 + random.below(deepest);
        fill[random.of(keys)] = Json::parse(std::string(depth, '[') + std::string(depth, ']'));
    }
    if (random.once_in(2000)) fill = Json::parse(random.of(forged));
}

// Known answers of Philox4x64-10, from Random123.
void want_known_words() {
    constexpr hilgate::Block pi{0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89};
    constexpr hilgate::Block of_zeros{0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B};
    constexpr hilgate::Block of_ones{0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0};
    constexpr hilgate::Block of_pi{0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6};
    constexpr auto ones = largest_word;
    want(hilgate::philox({0, 0, 0, 0}, {0, 0}) == of_zeros, "other words came of zeros");
    want(hilgate::philox({ones, ones, ones, ones}, {ones, ones}) == of_ones, "other words came of ones");
    want(hilgate::philox(pi, {0x452821E638D01377, 0xBE5466CF34E90C6C}) == of_pi, "other words came of pi");
}

void want_same_products(Random& random) {
    const auto left = random.any();
    const auto right = random.once_in(8) ? largest_word : random.any();
    const auto found = hilgate::product(left, right);
    const auto of_halves = hilgate::product_of_halves(left, right);
    want(found.high == of_halves.high && found.low == of_halves.low, "another product came of halves");
}

struct Counts {
    std::size_t made = 0;
    std::size_t refused = 0;
};

void iterate(Random& random, Counts& counts) {
    want_same_products(random);
    auto made = fill(random);
    try {
        want_sound(made);
        ++counts.made;
    } catch (const std::invalid_argument&) {
        // Only a scale can be too large for the numbers that it was generated with.
        want(made.fill.contains("scale") && !made.fill["scale"].is_null(), "a fill was refused");
        ++counts.refused;
    }
    spoil(made.fill, random);
    try {
        const auto found = hilgate::expand(made.fill, made.kept, mebibyte);
        want(found.bytes() <= mebibyte, "an array is larger than was allowed");
        volatile unsigned sum = 0;  // forces each byte to be read
        for (std::size_t at = 0; at < found.bytes(); ++at) sum = sum + std::to_integer<unsigned>(found.data[at]);
        ++counts.made;
    } catch (const std::invalid_argument&) {
        ++counts.refused;
    }
}

}  // namespace

int main(int count, char** words) {
    const std::vector<std::string> arguments(words, words + count);
    if (arguments.size() < 3) {
        std::cerr << "wanted fuzz_expand SEED COUNT [FIRST]\n";
        return 2;
    }
    std::uint64_t seed = 0;
    std::uint64_t iteration = 0;
    try {
        seed = std::stoull(arguments[1]);
        iteration = arguments.size() > 3 ? std::stoull(arguments[3]) : 0;
        want_known_words();
        Counts counts;
        for (const auto end = iteration + std::stoull(arguments[2]); iteration < end; ++iteration) {
            Random random(seed ^ (iteration * 0x9E3779B97F4A7C15));  // each iteration can be repeated alone
            iterate(random, counts);
        }
        std::cout << counts.made << " made, " << counts.refused << " refused\n";
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "fuzz_expand: " << error.what() << ": again with fuzz_expand " << seed << " 1 " << iteration
                  << '\n';
    } catch (...) {
        std::cerr << "fuzz_expand: no std::exception: again with fuzz_expand " << seed << " 1 " << iteration << '\n';
    }
    return 1;
}
