"""Loads the plugin in a clone; where hilgate is installed, its entry point does."""

pytest_plugins = ["harness.plugin"]
