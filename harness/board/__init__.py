"""A board: a device that hilgate has reached and examined, with its store; a run also holds its lock.

with open_board(device, …) as board:
    board.put(bundle)                what is missing there is sent, verified, unpacked
    channel = board.start(bundle)    the agent, speaking frames

opening         open_board: reach, examine and lock a device
board           Board: bundles are put there, agents started, results collected
lease           Lease: the exclusive session that a board has, reconnected when the connection drops
holder          who holds a board, in words
daemon_client   the client of the program on the board that holds the lock and the store
preflight       whether it is the right board, and has room
trial           whether it does what a run needs: a second session, a transfer, an executable store
sending         files to the store over a connection that drops; upload, one such transfer
store_check     the store's entries, hashed again
snapshot_boot   switches an emulated board on from its snapshot; snapshot_build makes the snapshot
snapshot_check  the snapshot's files, hashed again
"""

from .board import Board, new_board
from .opening import examine_board, open_board

__all__ = ["Board", "examine_board", "new_board", "open_board"]
