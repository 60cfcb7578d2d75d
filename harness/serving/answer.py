"""The answer to an inference request: a JSON header, and behind it the tensors that were asked for in binary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..agent.frames import Array
from .interface import VERSION, Interface
from .refused import Refused
from .request import Asked
from .tensors import datatype, to_bytes


def write_answer(asked: Asked, outputs: Sequence[Array], interface: Interface) -> tuple[bytes, int | None]:
    """Write the answer to a request.

    Args:
        asked: the request.
        outputs: all of the model's outputs, in their order.
        interface: what the model takes and gives.

    Returns:
        The body, and how many bytes of it are the JSON header; None where all are.

    Raises:
        Refused: an output that was asked for in JSON has NaN or infinities, which JSON cannot hold.
    """
    by_name = dict(zip((each.name for each in interface.outputs), outputs, strict=True))
    described: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for name, binary in asked.outputs:
        array = by_name[name]
        entry: dict[str, Any] = {"name": name, "datatype": datatype(array), "shape": list(array.shape)}
        if binary:
            raw.append(to_bytes(array))
            entry["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            entry["data"] = array.reshape(-1).tolist()
        described.append(entry)
    header: dict[str, Any] = {"model_name": interface.name, "model_version": VERSION}
    if asked.id is not None:
        header["id"] = asked.id
    try:
        text = json.dumps({**header, "outputs": described}, allow_nan=False).encode()
    except ValueError:
        why = "an output has NaN or an infinity, which JSON cannot hold: ask for binary_data"
        raise Refused(400, why) from None
    return (b"".join([text, *raw]), len(text)) if raw else (text, None)
