// The anonymous memory of this process while it infers, read between two blocks of the ring and never inside a timed
// inference; harness/agent/growth.py documents when, and why.
#pragma once

#include <cstdint>
#include <vector>

#include "ring.hpp"

namespace hilgate {

// Hands on what a ring prepares, and reads the memory in between.
class Growth {
public:
    // `samples` inferences are timed at most; `spread`: whether inputs are made anew for each block.
    Growth(Ring& ring, std::int64_t samples, bool spread) : ring_(ring), samples_(samples < 1 ? 1 : samples), spread_(spread) {}

    // Returns what Ring::renew does. Where a place was reached, the memory is read before.
    const Sets& renew(std::size_t wanted);
    // Reads the memory after the loop, of so many timed inferences, where it had one block: that was not read.
    void end(std::size_t timed);

    // How many inferences there were before each reading, the untimed ones included.
    [[nodiscard]] const std::vector<std::int64_t>& inferences() const { return inferences_; }
    [[nodiscard]] const std::vector<std::int64_t>& anonymous_kib() const { return anonymous_kib_; }

private:
    void read();

    Ring& ring_;
    std::int64_t samples_;
    bool spread_;
    std::int64_t timed_ = 0;
    std::int64_t place_ = 1;  // the number of the next, from 1 on
    std::vector<std::int64_t> inferences_;
    std::vector<std::int64_t> anonymous_kib_;
};

}  // namespace hilgate
