// The steps of a release's check, in the process that may die of them; as harness/agent/check_steps.py.
#pragma once

#include <functional>
#include <string>

#include "check.hpp"
#include "check_file.hpp"

namespace hilgate {

// Prints a line.
using SayLine = std::function<void(const std::string&)>;

// Takes all steps. Throws CheckFailed: the release does not pass; whatever a runtime throws means the same.
void run_check(const CheckArguments& arguments, const CheckPlan& plan, const SayLine& say);

}  // namespace hilgate
