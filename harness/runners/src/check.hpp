// The release's own check, "runner --check RELEASE": harness/agent/check.py says what it does, and does the same.
#pragma once

#include <string>

namespace hilgate {

// What the command line names. Without an engine's or a runtime's library, those of the release are taken.
struct CheckArguments {
    std::string release;
    std::string engine;
    std::string runtime;
};

// Checks a release in a process of its own, and prints what it finds; returns the exit status, 0 or 1.
int check_release(CheckArguments arguments);

}  // namespace hilgate
