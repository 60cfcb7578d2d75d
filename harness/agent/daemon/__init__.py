"""The daemon: our program on a device from a run's beginning to its end. It holds the device's lock and its store.

It needs Python ≥ 3.9 and its standard library. Nothing has to be installed before: the host sends the sources and they
run from memory (see boot), so that a board is examined, and perhaps refused, before a byte is written to it.

boot            what ``python -c`` runs: imports the sources
serve           the process: requests in, replies out; host, its connection
operations      what it can do
device_lock     the device's lock; holder, who holds it
store, folders  the store, and the folders in it; receive, uploads; verify, hashing again; trial, whether it can be used
look            a device described without touching it
oom             whether the kernel killed a process when memory ran out
stopped         daemons of earlier runs that were stopped
preloaded       a process that has imported the daemon and forks daemons
"""
