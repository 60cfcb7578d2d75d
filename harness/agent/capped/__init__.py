"""What a try under a limit needs on the device: a memory cgroup of the user's own, and the agent inside it.

It is no part of a bundle: its sources are handed to the device's Python, whatever the backend.

launcher        the program: starts a command in such a group, and reports how it went
group           the group: where one may be made, its limit, what the kernel counted, its removal
"""
