"""Bundles: artifact, runtime and agent under one manifest of hashes. What was tested is what ships.

bundle       the bundle and its manifest, as it lies in a device's store
planning     plan_runtime: the runtime of a backend on a device
runtime      what is planned
target       the device as pip sees it
wheels       fetch_wheels: a runtime's wheels, from the cache or by pip; wheel_check looks at each one
pip_run      pip in a process of its own, with pip_with_markers; pip_errors says why it found nothing
lock_file    hilgate.lock: the files that a project takes from outside
file_store   files in the cache, named by their content
archive      archives that are made here; bytecode, imports: of wheels; trimming, wheels of which a part is sent
native/      C++ backends: runners and their libraries
"""

from .bundle import AGENT, MANIFEST, Bundle, BundleFile, Entry, make_bundle

__all__ = ["AGENT", "MANIFEST", "Bundle", "BundleFile", "Entry", "make_bundle"]
