// A file descriptor that is closed with its holder.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <system_error>

namespace hilgate {

class Descriptor {
public:
    explicit Descriptor(int number) : number_(number) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (number_ >= 0) close(number_);
    }
    [[nodiscard]] int number() const { return number_; }

private:
    int number_;
};

// Throws std::system_error.
inline void write_all(int descriptor, const std::byte* data, std::size_t size) {
    while (size > 0) {
        const auto count = write(descriptor, data, size);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw std::system_error(errno, std::generic_category(), "write");
        data += count;
        size -= static_cast<std::size_t>(count);
    }
}

}  // namespace hilgate
