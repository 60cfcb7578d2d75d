"""Instruction sets: what a CPU lacks, found in libraries before they are sent, and named when a process died of it.

    extensions   Arm's extensions: how their instructions are encoded, what the kernel calls them, who is known to run
    decoding     one instruction in words
    library      a shared library as the search sees it: its code, its functions, and who calls whom
    scan         which of its instructions need an extension, and which of these run when it is loaded
    wheels       the scans of a runtime's wheels, from the cache; the warnings for one CPU
    diagnosis    what is said of a process that died of an illegal instruction

Knows of no device and no bundle: who asks says which features the CPU has.
"""
