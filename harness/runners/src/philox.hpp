// Philox4x64-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011): random words that are the same
// on every machine, each block of four by itself.
#pragma once

#include <array>
#include <cstdint>

namespace hilgate {

struct Product {
    std::uint64_t high;
    std::uint64_t low;
};

// The product computed from halves, for compilers without 128-bit integers.
inline Product product_of_halves(std::uint64_t left, std::uint64_t right) {
    constexpr std::uint64_t mask = 0xFFFFFFFF;
    const auto left_high = left >> 32;
    const auto left_low = left & mask;
    const auto right_high = right >> 32;
    const auto right_low = right & mask;
    // None of these sums wraps round: (2³² − 1)² + 2·(2³² − 1) is 2⁶⁴ − 1.
    const auto middle = left_high * right_low + (left_low * right_low >> 32);
    const auto other = left_low * right_high + (middle & mask);
    return {left_high * right_high + (middle >> 32) + (other >> 32), left * right};
}

inline Product product(std::uint64_t left, std::uint64_t right) {
#ifdef __SIZEOF_INT128__
    // An extension of GCC and Clang on 64-bit machines: two instructions instead of a dozen.
    __extension__ using Wide = unsigned __int128;
    const auto wide = static_cast<Wide>(left) * right;
    return {static_cast<std::uint64_t>(wide >> 64), static_cast<std::uint64_t>(wide)};
#else
    return product_of_halves(left, right);
#endif
}

using Block = std::array<std::uint64_t, 4>;
using Key = std::array<std::uint64_t, 2>;

// The block of random words for a counter.
inline Block philox(Block counter, Key key) {
    for (int round = 0; round < 10; ++round) {
        const auto first = product(0xD2E7470EE14C6C93, counter[0]);
        const auto second = product(0xCA5A826395121157, counter[2]);
        counter = {second.high ^ counter[1] ^ key[0], second.low, first.high ^ counter[3] ^ key[1], first.low};
        key[0] += 0x9E3779B97F4A7C15;  // the golden ratio
        key[1] += 0xBB67AE8584CAA73B;  // √3 − 1
    }
    return counter;
}

}  // namespace hilgate
