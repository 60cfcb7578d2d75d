// The sensor's clock: inferences are released at a fixed rate, whether the model keeps up or not.
// harness/agent/pacing.py documents what happens to a release that finds the model busy, and why the loop's clock stands
// still while inputs are made.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "timing.hpp"

namespace hilgate {

// The clock of a paced loop. The default is the monotonic one; tests have another one.
struct PaceClock {
    PaceClock();
    PaceClock(std::function<Nanoseconds()> now_, std::function<void(Nanoseconds)> wait_until_)
        : now(std::move(now_)), wait_until(std::move(wait_until_)) {}

    std::function<Nanoseconds()> now;
    // Returns when it is that time by the clock, or at once where that is past.
    std::function<void(Nanoseconds)> wait_until;
};

// What releases inferences.
class Pace {
public:
    // `late` is "drop" or "queue"; `behind`: for how long after release 0 the model is still busy, with what was
    // released before; where it is negative, release 0 comes that much after the loop's begin. Throws
    // std::invalid_argument.
    Pace(Nanoseconds period, const std::string& late, Nanoseconds behind);

    // The release that is run next: `last` was run before (-1 at first), and the model was free again at `free`.
    [[nodiscard]] std::int64_t next_release(std::int64_t last, Nanoseconds free) const;
    [[nodiscard]] Nanoseconds period() const { return period_; }
    [[nodiscard]] Nanoseconds behind() const { return behind_; }

private:
    Nanoseconds period_;
    bool queues_;
    Nanoseconds behind_;
};

// When a release was due, when its inference started and when that ended: -1 each for one that was dropped.
using Release = std::array<Nanoseconds, 3>;

// Runs inferences as they are released, at most `releases`, fewer when the budget is used up, but at least one.
std::vector<Release> paced_loop(const RunSet& run, const Renew& renew, const Pace& pace, std::int64_t releases,
                                Nanoseconds budget, const PaceClock& clock = PaceClock());

// How many of them were run.
std::size_t inferences_in(const std::vector<Release>& fates);

}  // namespace hilgate
