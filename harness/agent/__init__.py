"""The agent: our small program on the device.

It needs Python ≥ 3.9, its standard library and numpy, and never imports the rest of harness: this folder is shipped
as it is, with one file of ``harness/backends`` beside it as ``backend.py``, and started as ``python -B -m agent``
from the bundle's folder. The host imports ``frames``, ``structure`` and ``facts`` from here, so that both sides share
one definition.
"""
