"""C++ backends: their runners are built on the host for the device's architecture; nothing is compiled on the device.

planning    the runtime of a C++ backend: runner and libraries, shipped or installed
packages    Debian's headers, and a sysroot for another architecture; unpacked, not installed
compiler    finds the compiler for an architecture
building    builds the runner and its engine, with cmake; cached by a hash of all that they are built from
libraries   the runtime's libraries: only those that are needed, stripped where that is safe
operators   libraries that register operators
tool        runs a build program
"""
