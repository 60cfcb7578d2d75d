"""The project's own tests; hil/ is the suite that users run."""
