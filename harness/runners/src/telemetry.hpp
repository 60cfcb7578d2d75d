// The state of the device and of this process, read from /proc and /sys: the same keys as harness/agent/telemetry.py.
#pragma once

#include "frame.hpp"

namespace hilgate {

// This process's memory in KiB: "peak" (VmHWM), "resident" (VmRSS), "swapped" (VmSwap).
Json memory_kib();

// What makes a measurement valid or not. Compare two of them: one from before, one from after.
Json device_state();

// Whether this thread's arithmetic makes denormal numbers zero: tried, not asked.
bool flushes_denormals();

}  // namespace hilgate
