// A handler that reports where an illegal instruction was met, on stderr, before the process dies of it; in the format
// that harness/agent/illegal.py documents.
#pragma once

namespace hilgate {

// Installs the handler, for this process.
void say_where_illegal();

}  // namespace hilgate
