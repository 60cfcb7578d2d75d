"""What a start as after power-on needs on the device: a page cache without what that start reads.

It is no part of a bundle: its sources are handed to the device's Python, as the daemon's are, whatever the backend.

page_cache      the program: drops the pages of files, and reports how many stayed
residency       how many pages of a file the kernel caches, and dropping them
mappings        which files a process has mapped, and who has a file mapped
"""
