// The state of the device and of this process, read from /proc and /sys: the same keys as harness/agent/telemetry.py.
#pragma once

#include <cstdint>
#include <optional>

#include "frame.hpp"

namespace hilgate {

// This process's memory in KiB: "peak" (VmHWM), "resident" (VmRSS), "swapped" (VmSwap).
Json memory_kib();

// What of this process's memory belongs to no file, in KiB: RssAnon, and VmSwap, as that was it once. Nothing where the
// kernel does not say (before Linux 4.5). See anonymous_kib of harness/agent/telemetry.py.
std::optional<std::int64_t> anonymous_kib();

// Has the allocator give its free pages back, where it is one that can; see give_back of harness/agent/telemetry.py.
void give_back();

// What tells whether a measurement is valid; the states before and after it are to be compared.
Json device_state();

// Whether this thread's arithmetic flushes denormal numbers to zero, found out by trying.
bool flushes_denormals();

}  // namespace hilgate
