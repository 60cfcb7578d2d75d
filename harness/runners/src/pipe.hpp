// Frames over two descriptors of our own, away from 0 and 1, which libraries and children may use as they like.
#pragma once

#include <atomic>
#include <stdexcept>
#include <vector>

#include "descriptor.hpp"
#include "frame.hpp"

namespace hilgate {

// The host has gone: `inside` a frame, or between two.
class HostGone : public std::runtime_error {
public:
    explicit HostGone(bool inside) : std::runtime_error("the host has gone"), inside_frame(inside) {}
    bool inside_frame;
};

// No request came for too long.
class Idle : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Pipe {
public:
    // Throws std::system_error: there are no descriptors left.
    explicit Pipe(double idle_seconds);

    // Throws HostGone, Idle, FrameError, std::system_error.
    Frame receive();
    // Throws std::system_error: nobody reads any more.
    void send(const Json& header, const std::vector<Tensor>& tensors);

    // Starts a thread that watches for the host's hang-up, so that a long operation does not outlive the host.
    void end_when_host_goes();
    // Whether the reply in preparation must survive the host's disappearance.
    std::atomic<bool> keeping{false};

private:
    void read(std::byte* target, std::size_t size);
    std::size_t read_some(std::byte* target, std::size_t size);

    double idle_seconds_;
    Descriptor source_;
    Descriptor sink_;
    std::vector<std::byte> buffer_;
    std::size_t begin_ = 0, end_ = 0;
    bool inside_ = false;
};

}  // namespace hilgate
