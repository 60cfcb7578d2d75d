// The runner's operations, the same as those of harness/agent/operations.py, which says what each takes and answers.
#pragma once

#include <utility>
#include <vector>

#include "frame.hpp"
#include "session.hpp"

namespace hilgate {

using Reply = std::pair<Json, std::vector<Tensor>>;

// Carries out request.header["op"]; throws whatever that operation throws.
Reply carry_out(Session& session, const Frame& request);

}  // namespace hilgate
