"""evidence.json: written after every check, whole or not at all; and the folder of a run, with its lock."""
