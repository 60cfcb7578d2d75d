#include "frame.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <new>
#include <string>

namespace hilgate {
namespace {

constexpr std::array<unsigned char, 4> magic{0x89, 'H', 'I', 'L'};
constexpr std::uint16_t version = 1;
constexpr std::size_t preamble_size = 20;
// A frame below this size is joined in one buffer: a copy costs less than a system call for each tensor.
constexpr std::size_t join_below = std::size_t{1} << 20;

template <typename Number>
Number number_at(const std::byte* place) {
    Number value{};
    std::memcpy(&value, place, sizeof value);
    return value;
}

std::size_t aligned(std::size_t offset) { return (offset + alignment - 1) / alignment * alignment; }

DType dtype_named(const std::string& name) {
    const auto* found = std::find_if(dtypes.begin(), dtypes.end(), [&](const auto& one) { return one.name == name; });
    if (found == dtypes.end()) throw FrameError("no element type of ours: " + name.substr(0, 80));
    return found->dtype;
}

// The size in bytes; a forged shape may make it anything, and overflow.
std::size_t checked_bytes(const Tensor& tensor) {
    std::size_t size = info(tensor.dtype).bytes;
    bool empty = false;
    for (const auto length : tensor.shape) {
        if (length < 0) throw FrameError("a tensor has a negative size");
        if (length == 0) {
            empty = true;  // the other sizes may still be beyond all limits
        } else if (__builtin_mul_overflow(size, static_cast<std::size_t>(length), &size) || size > max_payload) {
            throw FrameError("a tensor is larger than any of ours");
        }
    }
    return empty ? 0 : size;
}

// Lays the tensors of a header out in the payload, which they must fill exactly; `offsets` receives where they are.
std::vector<Tensor> laid_out(const Json& shapes, std::uint64_t payload_size, std::vector<std::size_t>& offsets) {
    std::vector<Tensor> tensors;
    std::size_t end = 0;
    try {
        for (const auto& described : shapes) {
            if (!described.is_array() || described.size() != 2 || !described[1].is_array()) {
                throw FrameError("a tensor is not described as [dtype, [size, ...]]");
            }
            Tensor tensor;
            tensor.dtype = dtype_named(described.at(0).get_ref<const std::string&>());
            for (const auto& length : described.at(1)) {
                if (!length.is_number_integer()) throw FrameError("a tensor's size is no whole number");
                tensor.shape.push_back(length.get<std::int64_t>());
            }
            offsets.push_back(aligned(end));
            end = offsets.back() + checked_bytes(tensor);
            if (end > payload_size) break;
            tensors.push_back(std::move(tensor));
        }
    } catch (const Json::exception& error) {
        throw FrameError(std::string("the header's tensors are none: ") + error.what());
    }
    if (end != payload_size) {
        throw FrameError("the header's tensors do not fit its payload of " + std::to_string(payload_size) + " bytes");
    }
    return tensors;
}

Json parsed_header(const std::string& text) {
    try {
        auto header = Json::parse(text);
        if (header.is_object() && header.contains("tensors") && header["tensors"].is_array()) return header;
    } catch (const Json::exception& error) {
        throw FrameError(std::string("wanted a header in JSON; found ") + error.what());
    }
    throw FrameError("wanted a header in JSON, an object with tensors; found " + text.substr(0, 80));
}

}  // namespace

std::shared_ptr<std::byte> aligned_buffer(std::size_t size) {
    constexpr auto align = std::align_val_t{alignment};
    auto* memory = static_cast<std::byte*>(::operator new(std::max<std::size_t>(size, 1), align));
    return {memory, [](std::byte* held) { ::operator delete(held, align); }};
}

Frame read_frame(const Read& read, std::uint64_t largest_payload) {
    std::array<std::byte, preamble_size> preamble{};
    read(preamble.data(), preamble.size());
    if (std::memcmp(preamble.data(), magic.data(), magic.size()) != 0) {
        throw FrameError("wanted a frame that starts with 0x89 HIL; found something else");
    }
    const auto found_version = number_at<std::uint16_t>(&preamble[4]);
    const auto header_size = number_at<std::uint32_t>(&preamble[8]);
    const auto payload_size = number_at<std::uint64_t>(&preamble[12]);
    if (found_version != version) {
        throw FrameError("wanted frames of version 1; found version " + std::to_string(found_version));
    }
    if (header_size > max_header || payload_size > largest_payload) {
        throw FrameError("a frame of " + std::to_string(header_size) + " + " + std::to_string(payload_size) +
                         " bytes is larger than any of ours");
    }
    std::string text(header_size, '\0');
    // Any object may be accessed as bytes.
    read(reinterpret_cast<std::byte*>(text.data()), text.size());  // NOLINT(*-reinterpret-cast)
    Frame frame{parsed_header(text), {}};
    std::vector<std::size_t> offsets;
    frame.tensors = laid_out(frame.header["tensors"], payload_size, offsets);
    frame.header.erase("tensors");
    const auto payload = aligned_buffer(payload_size);
    read(payload.get(), payload_size);
    for (std::size_t index = 0; index < frame.tensors.size(); ++index) {
        frame.tensors[index].data = payload.get() + offsets[index];
        frame.tensors[index].owner = payload;
    }
    return frame;
}

void write_frame(const Write& write, Json header, const std::vector<Tensor>& tensors) {
    auto shapes = Json::array();
    std::size_t payload_size = 0;
    for (const auto& tensor : tensors) {
        shapes.push_back({info(tensor.dtype).name, tensor.shape});
        payload_size = aligned(payload_size) + tensor.bytes();
    }
    header["tensors"] = std::move(shapes);
    // A library's message may hold any bytes; those that are not UTF-8 are replaced.
    const auto text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
    std::vector<std::byte> head(preamble_size + text.size());
    const auto text_size = static_cast<std::uint32_t>(text.size());
    const auto size = static_cast<std::uint64_t>(payload_size);
    std::memcpy(head.data(), magic.data(), magic.size());
    std::memcpy(&head[4], &version, sizeof version);
    std::memcpy(&head[8], &text_size, sizeof text_size);
    std::memcpy(&head[12], &size, sizeof size);
    std::memcpy(&head[preamble_size], text.data(), text.size());
    const bool joined = payload_size < join_below;
    std::size_t offset = 0;
    for (const auto& tensor : tensors) {
        const std::size_t gap = aligned(offset) - offset;
        head.resize(head.size() + gap);  // with zeros
        if (joined) {
            head.insert(head.end(), tensor.data, tensor.data + tensor.bytes());
        } else {
            write(head.data(), head.size());
            write(tensor.data, tensor.bytes());
            head.clear();
        }
        offset += gap + tensor.bytes();
    }
    if (!head.empty()) write(head.data(), head.size());
}

}  // namespace hilgate
