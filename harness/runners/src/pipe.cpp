#include "pipe.hpp"

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <thread>

namespace hilgate {
namespace {

// How long a running operation may go on after the host has gone, before the process ends with it.
constexpr auto grace = std::chrono::seconds(30);
// One system call serves all parts of a small frame.
constexpr std::size_t buffer_size = std::size_t{1} << 16;

int own_copy(int descriptor) {
    const int copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) throw std::system_error(errno, std::generic_category(), "stdin and stdout");
    return copy;
}

}  // namespace

Pipe::Pipe(double idle_seconds)
    : idle_seconds_(idle_seconds), source_(own_copy(0)), sink_(own_copy(1)), buffer_(buffer_size) {
    const Descriptor nothing(open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (dup2(nothing.number(), 0) < 0 || dup2(2, 1) < 0) {  // a chatty library writes to stderr from here on
        throw std::system_error(errno, std::generic_category(), "stdin and stdout");
    }
    // Output that is still buffered when the process dies is lost, and it may tell why.
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
}

Frame Pipe::receive() {
    if (begin_ == end_) {
        pollfd waiting{source_.number(), POLLIN, 0};
        if (poll(&waiting, 1, static_cast<int>(idle_seconds_ * 1000)) == 0) {
            std::ostringstream words;
            words << "nothing was asked for " << idle_seconds_ << " s";
            throw Idle(words.str());
        }
    }
    inside_ = begin_ != end_;
    return read_frame([this](std::byte* target, std::size_t size) { read(target, size); });
}

void Pipe::read(std::byte* target, std::size_t size) {
    while (size > 0) {
        if (begin_ == end_ && size < buffer_.size()) {
            begin_ = 0;
            end_ = read_some(buffer_.data(), buffer_.size());
        }
        std::size_t count = std::min(size, end_ - begin_);
        if (count > 0) {
            std::memcpy(target, &buffer_[begin_], count);
            begin_ += count;
        } else {
            count = read_some(target, size);
        }
        target += count;
        size -= count;
    }
}

std::size_t Pipe::read_some(std::byte* target, std::size_t size) {
    for (;;) {
        const auto count = ::read(source_.number(), target, size);
        if (count > 0) {
            inside_ = true;
            return static_cast<std::size_t>(count);
        }
        if (count == 0) throw HostGone(inside_);
        if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "read");
    }
}

void Pipe::send(const Json& header, const std::vector<Tensor>& tensors) {
    write_frame([this](const std::byte* data, std::size_t size) { write_all(sink_.number(), data, size); }, header,
                tensors);
}

void Pipe::end_when_host_goes() {
    // The number is copied here: when the host hangs up at once, the pipe may be gone before the thread begins.
    std::thread([this, number = source_.number()] {
        pollfd hang_up{number, 0, 0};  // no events asked for: only the hang-up is reported
        while (poll(&hang_up, 1, -1) <= 0) continue;
        std::this_thread::sleep_for(grace);
        // An operation whose reply must be kept may finish: its own watchdog limits it.
        while (keeping) std::this_thread::sleep_for(std::chrono::milliseconds(100));
        _exit(1);
    }).detach();
}

}  // namespace hilgate
