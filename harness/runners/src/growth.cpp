#include "growth.hpp"

#include "telemetry.hpp"

namespace hilgate {
namespace {

// How often a loop's memory is read, at most. As PLACES of harness/agent/growth.py.
constexpr std::int64_t places = 60;

}  // namespace

const Sets& Growth::renew(std::size_t wanted) {
    if (timed_ * places >= place_ * samples_) read();
    const auto& sets = ring_.renew(wanted);
    timed_ += static_cast<std::int64_t>(sets.size());
    return sets;
}

void Growth::end(std::size_t timed) {
    timed_ = static_cast<std::int64_t>(timed);
    if (inferences_.empty()) read();
}

void Growth::read() {
    place_ = timed_ * places / samples_ + 1;
    const auto start = now_ns();
    if (const auto kib = hilgate::anonymous_kib()) {
        inferences_.push_back(timed_ + ring_.untimed());
        anonymous_kib_.push_back(*kib - static_cast<std::int64_t>(ring_.held_bytes(spread_) / 1024));
    }
    ring_.add_making(now_ns() - start);
}

}  // namespace hilgate
