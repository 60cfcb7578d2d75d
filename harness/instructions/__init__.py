"""Instructions per inference: the guest that counts them, and the baselines that a person commits.

counting  the counting guest: an emulated board beside the run's own, whose clock counts instructions
baseline  counts that are committed with the project, and the comparison of today's count with them
"""
