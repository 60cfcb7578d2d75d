"""The host: the user's cache and its bounds, Debian's tools, progress on the terminal, how programs end.

cache      the cache folder; an entry gets into it whole or not at all
bounded    what goes when the cache is full, and what stays because a run uses it
debian     the mirrors that this machine's apt knows
plugins    files of a project's own that become modules of our packages
shipped    data files of ours, in a checkout or a wheel
progress   progress bars on a terminal; progress_log, log lines that say what is going on
work       temporary folders, cleared after a run that was killed
leash      the process between us and a program that starts others
manifest   folders of the cache whose files are hashed again
suggestion what a misspelled word was meant to be
shown_path paths as they are typed from here
exit_cause an exit status in words, and its cause
file_table    the tables of TOML files, as pydantic models
regular_file  a file that a user has named: no FIFO, and not too large
"""
