"""Emulated boards: builds their image, boots them in QEMU, saves and restores their state.

    host_programs   the programs that the host must have
    image_recipe    what an image is made from, and the name that follows from it
    image       images in the cache: built once, checked before each use
    machine     what QEMU emulates: a CPU, its memory, and the devices of every board of ours
    emulator    one board: booted or restored, asked, saved, ended
    folder      what it has on the host while it runs
    process     its QEMU, from launch to end; supervisor, between us and QEMU: QEMU ends when we do
    monitor     QEMU's monitor protocol (QMP); faults, what can be done to a board through it
    snapshot_store  snapshots in the cache: a booted board with all that it holds, restored in a fraction of a second
    record      what a folder of the cache consists of, checked before it is used
    building    the steps of an image, with disk and step
    guest/      what we put into the image

An emulated board is reached over SSH like any other: see harness.links.qemu. Nothing here knows of links, bundles or
models; what a snapshot holds is decided in harness.board.snapshot_build.
"""
