// The wire format between host and device, version 1; harness/agent/wire.py and frames.py document it.
//
//     offset  size
//          0     4  magic: byte 0x89, then "HIL"
//          4     2  version: 1
//          6     2  reserved: 0
//          8     4  H, the header's length in bytes
//         12     8  P, the payload's length in bytes
//         20     H  header: a JSON object in UTF-8; "tensors" lists [dtype, [size, ...]] of each tensor
//       20+H     P  payload: the tensors' elements, each tensor at a multiple of 64 bytes from the payload's start
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <vector>

#include "tensor.hpp"

namespace hilgate {

using Json = nlohmann::json;

inline constexpr std::size_t alignment = 64;
inline constexpr std::uint64_t max_header = std::uint64_t{1} << 26;
inline constexpr std::uint64_t max_payload = std::uint64_t{1} << 36;

// The bytes are not a frame.
class FrameError : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Frame {
    Json header;
    std::vector<Tensor> tensors;  // all of them share one buffer
};

// Returns memory for a tensor's elements, aligned as in a frame.
std::shared_ptr<std::byte> aligned_buffer(std::size_t size);

// Fills a buffer with exactly so many bytes, or throws.
using Read = std::function<void(std::byte*, std::size_t)>;
// Writes all of a buffer, or throws.
using Write = std::function<void(const std::byte*, std::size_t)>;

// Reads one frame. Throws FrameError, and whatever `read` throws.
Frame read_frame(const Read& read, std::uint64_t largest_payload = max_payload);

// Writes one frame. Throws whatever `write` throws.
void write_frame(const Write& write, Json header, const std::vector<Tensor>& tensors);

}  // namespace hilgate
