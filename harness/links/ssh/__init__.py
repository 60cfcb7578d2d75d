"""Link ``ssh``: a board on the network, through Fabric.

link        Link: two connections, and the programs that are started on them
process     such a program, on a channel of its own
tunnel      a port of the board's that leads back to this machine
connection  how a connection is made, and what its errors say; channel_bound, how long a channel may take
route       the hosts or the program that lead to a host
login       which keys are shown, and what became of each
hostkeys    which host keys are known, and whether a host shows one of them
settings    what ssh_config says of a host; openssh, ``ssh -G``, which is asked for it
way         the checks of the way that ``hilgate doctor`` shows
"""

from .._link import STORE
from .link import Link

__all__ = ["STORE", "Link"]
