"""The keeper: our program on a device from a run's beginning to its end. It holds the device's lock and its store.

It needs Python ≥ 3.9 and its standard library. Nothing has to be there before it: the host sends the sources and they
run from memory (see boot), so that a board is looked at, and perhaps refused, before a byte is written to it.
"""
