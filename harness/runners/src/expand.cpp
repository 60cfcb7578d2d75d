#include "expand.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

#include "philox.hpp"
#include "wanted.hpp"

namespace hilgate {
namespace {

using Words = std::vector<std::uint64_t>;

constexpr std::uint64_t half = std::uint64_t{1} << 32;
constexpr std::uint64_t largest_word = std::numeric_limits<std::uint64_t>::max();
// How many elements are made at a time: intermediate values stay in cache. A multiple of a block's eight half words.
constexpr std::size_t chunk = 1024;

// A format of IEEE 754: the bits of its fraction, and the exponent of its smallest normal number.
struct Format {
    int fraction;
    int lowest;

    [[nodiscard]] int bias() const { return 1 - lowest; }
    [[nodiscard]] std::int64_t infinity() const { return std::int64_t{2 * bias() + 1} << fraction; }
};

Format format_of(std::size_t bytes) {
    if (bytes == 2) return {10, -14};
    return bytes == 4 ? Format{23, -126} : Format{52, -1022};
}

bool is_float(DType dtype) { return dtype >= DType::float16; }

// All ones for a negative number, else 0: without a branch, for no processor predicts random signs.
std::uint64_t sign_of(std::uint64_t number) { return 0 - (number >> 63); }

std::uint64_t size_of(std::uint64_t number) { return (number ^ sign_of(number)) - sign_of(number); }

// At least one.
int bit_length(std::uint64_t number) { return 64 - __builtin_clzll(number | 1); }

// The bits of size·2^exponent, which the format can represent: in integers, so that no processor can round or flush.
std::uint64_t scaled(std::uint64_t size, int exponent, const Format& format) {
    if (size == 0) return 0;
    const int length = bit_length(size);
    // A normal number's first bit is moved above the fraction, where it adds one to the exponent; a denormal has none.
    const int left = std::min(format.fraction + 1 - length, exponent - format.lowest + format.fraction);
    const int above = std::max(length - 1 + exponent - format.lowest, 0);
    // Shifted by one more, and back: a power of two may have one bit more than a significand, and its last bit is zero.
    return (static_cast<std::uint64_t>(above) << format.fraction) + (size << (left + 1) >> 1);
}

// Turns numbers 0 … last into the bits of elements.
class Elements {
public:
    Elements(const Json& fill, DType dtype) : bytes_(info(dtype).bytes) {
        if (fill.contains("values")) {
            read_values(fill["values"], dtype);
        } else {
            read_range(fill, dtype);
        }
    }

    [[nodiscard]] std::uint64_t last() const { return last_; }

    // The largest pattern of bits that an element has.
    static std::uint64_t largest(DType dtype) {
        return dtype == DType::boolean ? 1 : largest_word >> (64 - 8 * info(dtype).bytes);
    }

    void make(Words& numbers) const {
        if (kind_ == Kind::values) {
            for (auto& number : numbers) number = values_[number];
        } else if (kind_ == Kind::whole) {
            for (auto& number : numbers) number += first_;
        } else if (kind_ == Kind::counted) {
            with_signs(numbers, [](std::uint64_t size) { return size; });
        } else {
            with_signs(numbers, [scale = scale_, format = format_](std::uint64_t size) {
                return hilgate::scaled(size, scale, format);
            });
        }
    }

private:
    enum class Kind : std::uint8_t { values, whole, scaled, counted };

    void read_values(const Json& values, DType dtype) {
        kind_ = Kind::values;
        for (const auto& bits : list(values, "a fill's 'values', a list")) {
            values_.push_back(whole(bits, largest(dtype), "one of a fill's 'values'"));
        }
        if (values_.empty()) throw std::invalid_argument("wanted at least one of a fill's 'values'; found none");
        last_ = values_.size() - 1;
    }

    void read_range(const Json& fill, DType dtype) {
        using Limits = std::numeric_limits<std::int64_t>;
        kind_ = Kind::whole;
        std::int64_t smallest = 0;
        auto most = static_cast<std::int64_t>(std::min<std::uint64_t>(largest(dtype), Limits::max()));
        if (is_float(dtype)) {
            format_ = format_of(bytes_);
            kind_ = member(fill, "scale").is_null() ? Kind::counted : Kind::scaled;
            most = kind_ == Kind::counted ? format_.infinity() : std::int64_t{2} << format_.fraction;
            smallest = -most;
        } else if (dtype != DType::boolean && dtype != DType::uint8) {
            most = static_cast<std::int64_t>(largest(dtype) / 2);
            smallest = -most - 1;
        }
        first_ = static_cast<std::uint64_t>(whole(member(fill, "first"), smallest, most, "a fill's 'first'"));
        const auto room = static_cast<std::uint64_t>(most) - first_;
        last_ = whole(member(fill, "last"), room, "a fill's 'last'");
        if (kind_ == Kind::scaled) {
            const auto end = first_ + last_;
            const int length = bit_length(std::max(size_of(first_), size_of(end)));
            const auto smallest_scale = format_.lowest - format_.fraction;
            const auto largest_scale = format_.bias() + 1 - length;
            scale_ = static_cast<int>(whole(fill["scale"], smallest_scale, largest_scale, "a fill's 'scale'"));
        }
    }

    template <typename Make>
    void with_signs(Words& numbers, Make make) const {
        const auto first = first_;  // a copy: for all that the compiler knows, `numbers` might alias the member
        const auto sign = std::uint64_t{1} << (8 * bytes_ - 1);
        for (auto& number : numbers) {
            const auto found = number + first;
            number = (sign_of(found) & sign) | make(size_of(found));
        }
    }

    std::size_t bytes_;
    Kind kind_ = Kind::values;
    Words values_;
    std::uint64_t first_ = 0;  // of two's complement
    std::uint64_t last_ = 0;
    int scale_ = 0;
    Format format_{0, 0};
};

// The generator's words from index `start` on, a multiple of four.
void whole_words(Key key, std::size_t start, Words& words) {
    for (std::size_t at = 0; at < words.size(); at += 4) {
        const auto block = philox({(start + at) / 4 + 1, 0, 0, 0}, key);
        std::copy_n(block.begin(), std::min<std::size_t>(4, words.size() - at), &words[at]);
    }
}

// The generator's 32-bit words from index `start` on, a multiple of eight: the halves of its words, lower half first.
void half_words(Key key, std::size_t start, Words& words) {
    for (std::size_t at = 0; at < words.size(); at += 8) {
        const auto block = philox({(start + at) / 8 + 1, 0, 0, 0}, key);
        std::array<std::uint64_t, 8> halves{};
        for (std::size_t index = 0; index < block.size(); ++index) {
            halves[2 * index] = block[index] & (half - 1);
            halves[2 * index + 1] = block[index] >> 32;
        }
        std::copy_n(halves.begin(), std::min<std::size_t>(8, words.size() - at), &words[at]);
    }
}

// For each element its number among 0 … last.
class Numbers {
public:
    Numbers(const Json& fill, std::uint64_t last, std::size_t count) : last_(last) {
        const auto& order = member(fill, "order");
        ascending_ = order == "ascending";
        random_ = order == "random";
        if (!ascending_ && !random_ && order != "descending") {
            refuse("a fill's 'order', random, ascending or descending", order);
        }
        if (random_) key_[0] = whole(member(fill, "key"), largest_word, "a fill's 'key'");
        const std::uint64_t steps = std::max<std::size_t>(count, 2) - 1;
        step_ = last / steps;
        rest_ = last % steps;
    }

    // Writes the numbers from index `start` on, a multiple of a chunk.
    void write(std::size_t start, Words& numbers) const {
        if (!random_) {
            for (std::size_t index = 0; index < numbers.size(); ++index) {
                const std::uint64_t place = start + index;
                const auto rising = place * step_ + std::min(place, rest_);
                numbers[index] = ascending_ ? rising : last_ - rising;
            }
        } else if (last_ < half) {
            half_words(key_, start, numbers);
            for (auto& number : numbers) number = (last_ + 1) * number >> 32;
        } else {
            whole_words(key_, start, numbers);
            if (last_ == largest_word) return;
            for (auto& number : numbers) number = product(number, last_ + 1).high;
        }
    }

private:
    bool ascending_ = false;
    bool random_ = false;
    Key key_{0, 0};
    std::uint64_t last_;
    std::uint64_t step_ = 0;
    std::uint64_t rest_ = 0;
};

// Calls a function with a number of an unsigned type of so many bytes.
template <typename Use>
void with_unsigned(std::size_t bytes, Use use) {
    if (bytes == 1) {
        use(std::uint8_t{});
    } else if (bytes == 2) {
        use(std::uint16_t{});
    } else if (bytes == 4) {
        use(std::uint32_t{});
    } else {
        use(std::uint64_t{});
    }
}

void put(std::uint64_t bits, std::byte* place, std::size_t bytes) {
    with_unsigned(bytes, [&](auto kind) {
        kind = static_cast<decltype(kind)>(bits);
        std::memcpy(place, &kind, sizeof kind);
    });
}

// Element type and shape; they must not exceed `largest` bytes, even where a size of 0 leaves no elements.
Tensor described(const Json& fill, std::uint64_t largest) {
    Tensor made;
    const auto& name = member(fill, "dtype");
    const auto* known = std::find_if(dtypes.begin(), dtypes.end(), [&](const auto& one) { return name == one.name; });
    if (known == dtypes.end()) refuse("a fill's 'dtype', one of ours", name);
    made.dtype = known->dtype;
    largest = std::min<std::uint64_t>(largest, std::numeric_limits<std::size_t>::max());
    std::uint64_t bytes = known->bytes;
    for (const auto& found : list(member(fill, "shape"), "a fill's 'shape', a list of sizes")) {
        const auto length = whole(found, largest / bytes, "one of a fill's sizes, all of them together no more");
        made.shape.push_back(static_cast<std::int64_t>(length));
        bytes *= std::max<std::uint64_t>(length, 1);
    }
    if (bytes > largest) throw std::invalid_argument("wanted a fill of at most " + std::to_string(largest) + " bytes");
    return made;
}

// Replaces the elements that are not chosen by those of the base.
void keep_base(const Json& fill, const Tensor& made, std::byte* data, const std::vector<Tensor>& kept) {
    const auto found = whole(fill["base"], largest_word, "a fill's 'base'");
    if (found >= kept.size()) {
        throw std::invalid_argument("wanted a fill's 'base' of " + std::to_string(kept.size()) +
                                    " arrays that were kept; found " + std::to_string(found));
    }
    const auto& base = kept[static_cast<std::size_t>(found)];
    const auto bytes = info(made.dtype).bytes;
    const auto count = made.bytes() / bytes;
    if (base.dtype != made.dtype || base.bytes() != made.bytes()) {
        throw std::invalid_argument("wanted a kept " + std::string(info(made.dtype).name) + " array of " +
                                    std::to_string(count) + " elements; found " +
                                    std::string(info(base.dtype).name) + " of " + std::to_string(base.bytes()) +
                                    " bytes");
    }
    const Key key{whole(member(fill, "key"), largest_word, "a fill's 'key'"), 1};
    const auto changed = whole(member(fill, "changed"), half, "a fill's 'changed'");
    Words words;
    for (std::size_t start = 0; start < count; start += chunk) {
        words.resize(std::min(chunk, count - start));
        half_words(key, start, words);
        for (std::size_t index = 0; index < words.size(); ++index) {
            const auto place = (start + index) * bytes;
            if (words[index] >= changed) std::memcpy(data + place, base.data + place, bytes);
        }
    }
}

void set_elements(const Json& fill, const Tensor& made, std::byte* data) {
    const auto bytes = info(made.dtype).bytes;
    const auto count = made.bytes() / bytes;
    for (const auto& pair : list(member(fill, "set"), "a fill's 'set', a list of [index, bits]")) {
        if (!pair.is_array() || pair.size() != 2) refuse("one of a fill's 'set', [index, bits]", pair);
        if (count == 0) throw std::invalid_argument("wanted an empty 'set', for a fill has no elements; found some");
        const auto index = whole(pair[0], std::uint64_t{count - 1}, "an index of a fill's 'set'");
        const auto bits = whole(pair[1], Elements::largest(made.dtype), "bits of a fill's 'set'");
        put(bits, data + static_cast<std::size_t>(index) * bytes, bytes);
    }
}

}  // namespace

Tensor expand(const Json& fill, const std::vector<Tensor>& kept, std::uint64_t largest) {
    if (!fill.is_object()) refuse("a fill, an object", fill);
    auto made = described(fill, largest);
    const auto bytes = info(made.dtype).bytes;
    const auto count = made.bytes() / bytes;
    const Elements elements(fill, made.dtype);
    const Numbers numbers(fill, elements.last(), count);
    const auto buffer = aligned_buffer(made.bytes());
    Words words;
    for (std::size_t start = 0; start < count; start += chunk) {
        words.resize(std::min(chunk, count - start));
        numbers.write(start, words);
        elements.make(words);
        with_unsigned(bytes, [&](auto kind) {
            auto* place = buffer.get() + start * bytes;
            for (const auto word : words) {
                kind = static_cast<decltype(kind)>(word);
                std::memcpy(place, &kind, sizeof kind);
                place += sizeof kind;
            }
        });
    }
    if (fill.contains("base")) keep_base(fill, made, buffer.get(), kept);
    set_elements(fill, made, buffer.get());
    made.data = buffer.get();
    made.owner = buffer;
    return made;
}

}  // namespace hilgate
