#include "pacing.hpp"

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <stdexcept>

#include "engine.hpp"

namespace hilgate {
namespace {

// Start and end of a release that was dropped.
constexpr Nanoseconds never = -1;

void sleep_until(Nanoseconds due) {
    const Nanoseconds second = 1'000'000'000;
    timespec at{};
    at.tv_sec = static_cast<std::time_t>(due / second);
    at.tv_nsec = static_cast<decltype(at.tv_nsec)>(due % second);
    // The same clock as std::chrono::steady_clock's. An absolute time stays the same when a signal cuts the sleep short.
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr) == EINTR) {
    }
}

}  // namespace

PaceClock::PaceClock() : now(now_ns), wait_until(sleep_until) {}

Pace::Pace(Nanoseconds period, const std::string& late, Nanoseconds behind)
    : period_(period), queues_(late == "queue"), behind_(behind) {
    if (period < 1) {
        throw std::invalid_argument("wanted a period of at least 1 ns; found " + std::to_string(period));
    }
    if (!queues_ && late != "drop") {
        throw std::invalid_argument("wanted late to be one of drop, queue; found '" + late + "'");
    }
}

std::int64_t Pace::next_release(std::int64_t last, Nanoseconds free) const {
    if (queues_ || free <= 0) return last + 1;
    // One that is due in the very moment in which the model is free again finds it free.
    return std::max(last + 1, (free - 1) / period_ + 1);
}

std::size_t inferences_in(const std::vector<Release>& fates) {
    return static_cast<std::size_t>(
        std::count_if(fates.begin(), fates.end(), [](const Release& fate) { return fate[2] != never; }));
}

std::vector<Release> paced_loop(const RunSet& run, const Renew& renew, const Pace& pace, std::int64_t releases,
                                Nanoseconds budget, const PaceClock& clock) {
    std::vector<Release> fates(static_cast<std::size_t>(std::max<std::int64_t>(releases, 0)));
    for (std::size_t index = 0; index < fates.size(); ++index) {
        fates[index] = {static_cast<Nanoseconds>(index) * pace.period(), never, never};
    }
    const auto first = [&fates](std::int64_t count) {
        fates.resize(std::min(fates.size(), static_cast<std::size_t>(count)));
        return std::move(fates);
    };
    const auto deadline = clock.now() + budget;
    const auto* prepared = &renew(fates.size());
    auto zero = clock.now() - pace.behind();  // when release 0 is due, by the clock
    auto number = pace.next_release(-1, pace.behind());
    while (number < releases) {
        for (const auto& set : *prepared) {
            const auto due = zero + number * pace.period();
            if (number > 0 && due > deadline) return first(number);
            clock.wait_until(due);
            const auto start = clock.now();
            run(*set);
            const auto stop = clock.now();
            auto& fate = fates[static_cast<std::size_t>(number)];
            fate[1] = start - zero;
            fate[2] = stop - zero;
            number = pace.next_release(number, stop - zero);
            if (stop > deadline || number >= releases) return first(number);
        }
        const auto stopped = clock.now();
        prepared = &renew(static_cast<std::size_t>(releases - number));
        zero += clock.now() - stopped;
    }
    return fates;
}

}  // namespace hilgate
