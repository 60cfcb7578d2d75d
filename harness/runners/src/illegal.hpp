// An illegal instruction says where it is, on stderr, before the process dies of it; in the words that
// harness/agent/illegal.py writes down.
#pragma once

namespace hilgate {

// From now on, in this process.
void say_where_illegal();

}  // namespace hilgate
