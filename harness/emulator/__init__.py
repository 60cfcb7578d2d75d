"""Emulated boards: builds their image, boots them in QEMU, saves and restores their state.

    host        the programs that the host must have
    recipe      what an image is made from, and the name that follows from it
    image       images in the cache: built once, looked at before each use
    machine     what QEMU emulates: a CPU, its memory, and the devices of every board of ours
    emulator    one QEMU process, from its launch to its end; its console, its faults
    monitor     QEMU's monitor protocol (QMP)
    supervisor  the process between us and QEMU: where we go, QEMU goes
    saved       states in the cache: a booted board with all that it holds, restored in a fraction of a second
    guest/      what we put into the image

An emulated board is reached over SSH like any other: see harness.links.qemu. Nothing here knows of links, bundles or
models; what a saved state holds is decided in harness.board.prepared.
"""
