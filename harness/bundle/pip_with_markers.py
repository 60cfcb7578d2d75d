"""pip, resolving for another machine: ``python -P pip_with_markers.py '{"platform_machine": …}' download …``.

pip's --platform and --python-version choose among wheels, yet the markers of their requirements are evaluated for the
interpreter that pip itself runs in (https://github.com/pypa/pip/issues/11664): on an x86-64 host, torch for an arm64
board would bring CUDA's packages for x86-64. All markers go through one function of the ``packaging`` inside pip,
which is replaced here before pip starts. That is no public interface, so it is tried first.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import runpy
import sys
from typing import Any

# The program prints one of these and ends where it cannot do its work.
NO_PIP = "hilgate-no-pip"
NO_MARKERS = "hilgate-no-markers"


def set_markers(environment: dict[str, str]) -> bool:
    """Make pip evaluate markers for an environment; return whether this pip allows that.

    Args:
        environment: values by the names of PEP 508; names that it lacks keep this machine's values.
    """
    try:
        markers: Any = importlib.import_module("pip._vendor.packaging.markers")
        own = markers.default_environment
        markers.default_environment = lambda: {**own(), **environment}
        return all(markers.Marker(f'{name} == "{value}"').evaluate() for name, value in environment.items())
    except (ImportError, AttributeError):
        return False


def main() -> None:
    """Run pip with the command line's arguments, the first of which is the markers' environment as JSON."""
    environment = json.loads(sys.argv.pop(1))
    if importlib.util.find_spec("pip") is None:
        sys.exit(NO_PIP)
    if not set_markers(environment):
        sys.exit(NO_MARKERS)
    runpy.run_module("pip", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
