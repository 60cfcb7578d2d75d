"""Making the engine that the operation "load" asks for, of the backends' files that a bundle has beside this one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SETTINGS = ("threads", "interop_threads", "flush_denormals")


def make_engine(header: Mapping[str, Any], proxy: Any) -> Any:
    """Make a backend's engine, and the one behind it where it has a fallback; nothing is loaded yet.

    Args:
        header: the request's; see Operations.op_load.
        proxy: what shapes the network; None where nothing does.
    """
    from . import backend  # type: ignore[attr-defined]  # shipped beside this file in a bundle

    settings = {key: header[key] for key in SETTINGS}
    options = header["options"] if proxy is None else {**header["options"], "proxy": proxy.place}
    engine = backend.Engine(settings, options)
    if "fallback" not in header:
        return engine
    from . import near  # type: ignore[attr-defined]  # likewise, of the fallback
    from .remote.fallback import FallbackEngine

    fallback = header["fallback"]
    return FallbackEngine(engine, near.Engine(settings, fallback["options"]), fallback["artifact"], fallback["name"])
