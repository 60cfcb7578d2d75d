"""The command ``hilgate``: boards are added with it and looked after.

program         the program, which finds its commands by their files
commands/       the commands, one a file, of the command's name
project         the project that a command works in: its devices, its plug-ins
add_board       hilgate add: device_file writes the board's file
doctor          hilgate doctor: board_checks, runtime_checks; doctor_check is one check, and its lines
overview        hilgate devices
trust_host      hilgate trust; how a person confirms a host key
lock_project    hilgate lock
images          what hilgate image lists
host_key_option an option that several commands have
text            how all of them print
"""

from .program import cli, main

__all__ = ["cli", "main"]
