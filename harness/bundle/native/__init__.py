"""C++ backends: their runners are built here, on the host, for a device's architecture; nothing is compiled there.

packages     Debian's headers, and a sysroot for another architecture; only unpacked
compiler     which compiler
building     the runner and its engine, built once and cached by all that they are made from
libraries    the runtime's own libraries: only those that are needed, stripped where that is safe
"""
