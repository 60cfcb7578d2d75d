"""The commands, one a file of the command's name, with a click command ``command`` in it."""
