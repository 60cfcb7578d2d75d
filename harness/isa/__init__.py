"""Instruction sets: libraries are scanned for instructions that a CPU lacks, and deaths of such are explained.

    extensions   Arm's extensions: their instructions' encodings, the kernel's names, versions known to run without
    decoding     one instruction, disassembled
    library      a shared library as the scan needs it: its code, its functions, and which calls which
    scan         which instructions of a library need an extension, and which of these run when it is loaded
    wheel_scans  the scans of a runtime's wheels, from the cache; the warnings for one CPU
    diagnosis    the explanation for a process that died of an illegal instruction

The room knows no device and no bundle: the caller passes the CPU's features.
"""
