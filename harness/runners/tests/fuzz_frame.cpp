// A fuzz test of the frames' parser, with valid and corrupted frames.
//
//     fuzz_frame SEED COUNT [FIRST]
//
// Each iteration makes a frame, expects it back bit for bit, then corrupts it. A corrupted one may yield a Frame whose
// tensors fill its payload, FrameError, or our own Ended. Anything else ends the program with status 1, after printing
// the command that repeats that iteration alone. Sanitizers (HILGATE_SANITIZE) detect accesses beside a buffer.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <exception>
#include <iostream>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../src/frame.hpp"

namespace {

using hilgate::Frame;
using hilgate::Json;
using hilgate::Tensor;
using Bytes = std::vector<std::byte>;

// Offsets in a frame's preamble, and its size.
constexpr std::size_t header_size_at = 8;
constexpr std::size_t payload_size_at = 12;
constexpr std::size_t preamble_size = 20;
// The largest payload that a forged length may ask for; and the size from which on a frame is written in parts.
constexpr std::size_t mebibyte = std::size_t{1} << 20;
constexpr std::size_t deepest = 50'000;  // recursion to this depth overflows the stack under sanitizers

// The bytes have ended.
class Ended : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Random {
public:
    explicit Random(std::uint64_t seed) : engine_(seed) {}

    std::uint64_t bits() { return engine_(); }
    std::size_t below(std::size_t limit) { return static_cast<std::size_t>(engine_() % limit); }
    bool once_in(std::size_t times) { return below(times) == 0; }
    template <typename Items>
    auto& of(Items& items) {
        return items[below(std::size(items))];
    }

private:
    std::mt19937_64 engine_;
};

Json value(Random& random, int depth) {
    static const std::array<const char*, 5> texts{"", "x", "zwei\n\"\\", "\xC3\xA9\xE2\x82\xAC", "tensors"};
    const auto kind = random.below(depth > 0 ? 8 : 6);
    if (kind == 0) return nullptr;
    if (kind == 1) return random.once_in(2);
    if (kind == 2) return random.bits();
    if (kind == 3) return static_cast<std::int64_t>(random.bits());
    if (kind == 4) return std::ldexp(static_cast<double>(random.bits()), static_cast<int>(random.below(1000)) - 500);
    if (kind == 5) return random.of(texts);
    auto made = kind == 6 ? Json::array() : Json::object();
    for (auto left = random.below(4); left > 0; --left) {
        if (kind == 6) {
            made.push_back(value(random, depth - 1));
        } else {
            made[random.of(texts) + std::to_string(left)] = value(random, depth - 1);
        }
    }
    return made;
}

Tensor tensor(Random& random) {
    Tensor made{random.of(hilgate::dtypes).dtype, {}, nullptr, nullptr};
    made.shape.resize(random.below(5));
    for (auto& length : made.shape) length = static_cast<std::int64_t>(random.below(5));
    if (random.once_in(1000)) made.shape = {static_cast<std::int64_t>(mebibyte + random.below(100))};
    const auto held = std::make_shared<Bytes>(made.bytes());
    std::generate(held->begin(), held->end(), [&] { return static_cast<std::byte>(random.bits()); });
    made.data = held->data();
    made.owner = held;
    return made;
}

Frame frame(Random& random) {
    Frame made{Json::object(), {}};
    for (auto left = random.below(4); left > 0; --left) made.header["k" + std::to_string(left)] = value(random, 3);
    for (auto left = random.below(4); left > 0; --left) made.tensors.push_back(tensor(random));
    return made;
}

Bytes written(const Frame& frame) {
    Bytes bytes;
    const auto append = [&](const std::byte* data, std::size_t size) { bytes.insert(bytes.end(), data, data + size); };
    hilgate::write_frame(append, frame.header, frame.tensors);
    return bytes;
}

// Reads a frame from the beginning of some bytes; returns it and how many bytes are left.
std::pair<Frame, std::size_t> read(const Bytes& bytes, std::uint64_t largest_payload) {
    std::size_t place = 0;
    const auto take = [&](std::byte* target, std::size_t size) {
        if (size > bytes.size() - place) throw Ended("no more bytes");
        std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(place), size, target);
        place += size;
    };
    auto found = hilgate::read_frame(take, largest_payload);
    return {std::move(found), bytes.size() - place};
}

void want(bool held, const char* what) {
    if (!held) throw std::logic_error(what);
}

void want_same(const Frame& sent, const Bytes& bytes) {
    const auto [found, left] = read(bytes, hilgate::max_payload);
    want(left == 0, "not all of a frame was read");
    want(found.header == sent.header, "another header came back");
    want(found.tensors.size() == sent.tensors.size(), "another number of tensors came back");
    for (std::size_t index = 0; index < sent.tensors.size(); ++index) {
        const auto& one = found.tensors[index];
        const auto& other = sent.tensors[index];
        want(one.dtype == other.dtype && one.shape == other.shape, "another dtype or shape came back");
        want(std::equal(one.data, one.data + one.bytes(), other.data), "other elements came back");
    }
}

template <typename Number>
Number number_at(const Bytes& bytes, std::size_t place) {
    Number number{};
    std::memcpy(&number, &bytes.at(place), sizeof number);
    return number;
}

template <typename Number>
void put(Bytes& bytes, std::size_t place, Number number) {
    std::memcpy(&bytes.at(place), &number, sizeof number);
}

// Corrupts the bytes.

void flip_bits(Bytes& bytes, Random& random) {
    // The payload may hold anything: preamble and header are the more interesting parts.
    const auto head = preamble_size + number_at<std::uint32_t>(bytes, header_size_at);
    const auto limit = random.once_in(4) ? bytes.size() : head;
    for (auto left = 1 + random.below(8); left > 0; --left) {
        bytes[random.below(limit)] ^= std::byte{1} << random.below(8);
    }
}

void cut(Bytes& bytes, Random& random) { bytes.resize(random.below(bytes.size())); }

void insert(Bytes& bytes, Random& random) {
    const auto place = bytes.begin() + static_cast<std::ptrdiff_t>(random.below(bytes.size()));
    bytes.insert(place, 1 + random.below(16), static_cast<std::byte>(random.bits()));
}

void forge_length(Bytes& bytes, Random& random) {
    const bool of_payload = random.once_in(2);
    const std::uint64_t old = of_payload ? number_at<std::uint64_t>(bytes, payload_size_at)
                                         : number_at<std::uint32_t>(bytes, header_size_at);
    const std::array<std::uint64_t, 7> numbers{0, old + 1, old - 1, old + 64, mebibyte, ~0ULL, random.bits()};
    const auto number = random.of(numbers);
    if (of_payload) {
        put(bytes, payload_size_at, number);
    } else {
        put(bytes, header_size_at, static_cast<std::uint32_t>(number));
    }
}

// Corrupts the header, and corrects its length.

std::string text_of(const Bytes& bytes) {
    std::string text(number_at<std::uint32_t>(bytes, header_size_at), '\0');
    std::memcpy(text.data(), &bytes[preamble_size], text.size());
    return text;
}

void replace_text(Bytes& bytes, std::string_view text) {
    const auto begin = bytes.begin() + preamble_size;
    const auto after = bytes.erase(begin, begin + number_at<std::uint32_t>(bytes, header_size_at));
    const auto place = bytes.insert(after, text.size(), std::byte{});
    std::memcpy(&*place, text.data(), text.size());
    put(bytes, header_size_at, static_cast<std::uint32_t>(text.size()));
}

std::size_t aligned(std::size_t offset) {
    return (offset + hilgate::alignment - 1) / hilgate::alignment * hilgate::alignment;
}

// The tensors' size as a parser without checks would compute it: sums and products may overflow.
std::size_t unchecked_size(const Json& tensors) {
    std::size_t end = 0;
    for (const auto& one : tensors) {
        const auto* dtype = std::find_if(hilgate::dtypes.begin(), hilgate::dtypes.end(),
                                        [&](const auto& known) { return one.at(0) == known.name; });
        std::size_t size = dtype == hilgate::dtypes.end() ? 1 : dtype->bytes;
        for (const auto& length : one.at(1)) size *= length.get<std::size_t>();
        end = aligned(end) + size;
    }
    return end;
}

// Makes the payload as long as such a parser would expect it.
void fit_payload(Bytes& bytes, const Json& tensors) {
    try {
        const auto size = unchecked_size(tensors);
        if (size > mebibyte) return;
        bytes.resize(preamble_size + number_at<std::uint32_t>(bytes, header_size_at) + size);
        put(bytes, payload_size_at, static_cast<std::uint64_t>(size));
    } catch (const Json::exception&) {
        return;  // not even such a parser would take them for tensors
    }
}

void forge_tensors(Bytes& bytes, Random& random) {
    static const std::array<const char*, 25> forged{
        "-1", "0", "1", "2", "1.5", "1e3", "-0.0", "4294967296", "68719476736", "4611686018427387904",
        "9223372036854775807", "-9223372036854775808", "18446744073709551615", "true", "null", "\"float32\"",
        "\"complex64\"", "\"\"", "[]", "[3]", "{}", R"(["int8",{"a":1}])", R"(["float64",[4611686018427387904,0,4]])",
        R"(["float64",[2305843009213693952,2]])", R"([["int8",[-64]],["int8",[64]]])",
    };
    auto header = Json::parse(text_of(bytes));
    auto* place = &header["tensors"];
    for (auto level = random.below(4); level > 0 && place->is_array() && !place->empty(); --level) {
        place = &random.of(*place);  // a tensor, its dtype or shape, a size
    }
    *place = Json::parse(random.of(forged));
    replace_text(bytes, header.dump());
    if (random.once_in(2)) fit_payload(bytes, header["tensors"]);
}

void nest(Bytes& bytes, Random& random) {
    const auto depth = random.below(deepest);
    const auto closed = random.once_in(4) ? random.below(depth + 1) : depth;
    const std::array<std::string, 2> keys{R"({"deep":)", R"({"tensors":)"};
    const std::string tensors = R"(,"tensors":[]})";
    replace_text(bytes, random.of(keys) + std::string(depth, '[') + std::string(closed, ']') + tensors);
    put(bytes, payload_size_at, std::uint64_t{0});
}

// Checks that a frame that was read agrees with its header and fills the payload.
void want_sound(const Frame& found, const Bytes& bytes) {
    const auto payload_size = number_at<std::uint64_t>(bytes, payload_size_at);
    auto described = Json::array();
    std::size_t end = 0;
    volatile unsigned sum = 0;  // forces each byte to be read
    for (const auto& one : found.tensors) {
        described.push_back({hilgate::info(one.dtype).name, one.shape});
        const auto offset = static_cast<std::size_t>(one.data - static_cast<const std::byte*>(one.owner.get()));
        want(offset == aligned(end), "a tensor is not where it belongs");
        const auto size = one.bytes();
        want(offset <= payload_size && size <= payload_size - offset, "a tensor lies outside the payload");
        for (std::size_t at = 0; at < size; ++at) sum = sum + std::to_integer<unsigned>(one.data[at]);
        end = offset + size;
    }
    want(end == payload_size, "the tensors do not fill the payload");
    want(payload_size <= mebibyte, "the payload is larger than was allowed");
    want(described == Json::parse(text_of(bytes))["tensors"], "other tensors came than the header describes");
}

struct Counts {
    std::size_t read = 0;
    std::size_t refused = 0;
    std::size_t ended = 0;
};

void iterate(Random& random, Counts& counts) {
    // The corruptions that exercise the parser most are the most frequent.
    static constexpr std::array spoil{flip_bits,     cut,           insert,       forge_length,
                                      forge_tensors, forge_tensors, forge_tensors};
    const auto sent = frame(random);
    auto bytes = written(sent);
    want_same(sent, bytes);
    const auto nested = random.once_in(500);  // rarely, for it takes longer than all others
    (nested ? nest : random.of(spoil))(bytes, random);
    try {
        const auto [found, left] = read(bytes, mebibyte);
        want_sound(found, bytes);
        ++counts.read;
    } catch (const hilgate::FrameError&) {
        ++counts.refused;
    } catch (const Ended&) {
        ++counts.ended;
    }
}

}  // namespace

int main(int count, char** words) {
    const std::vector<std::string> arguments(words, words + count);
    if (arguments.size() < 3) {
        std::cerr << "wanted fuzz_frame SEED COUNT [FIRST]\n";
        return 2;
    }
    std::uint64_t seed = 0;
    std::uint64_t iteration = 0;
    try {
        seed = std::stoull(arguments[1]);
        iteration = arguments.size() > 3 ? std::stoull(arguments[3]) : 0;
        Counts counts;
        for (const auto end = iteration + std::stoull(arguments[2]); iteration < end; ++iteration) {
            Random random(seed ^ (iteration * 0x9E3779B97F4A7C15));  // each iteration can be repeated alone
            iterate(random, counts);
        }
        std::cout << counts.read << " read, " << counts.refused << " refused, " << counts.ended << " cut short\n";
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "fuzz_frame: " << error.what() << ": again with fuzz_frame " << seed << " 1 " << iteration << '\n';
    } catch (...) {
        std::cerr << "fuzz_frame: no std::exception: again with fuzz_frame " << seed << " 1 " << iteration << '\n';
    }
    return 1;
}
