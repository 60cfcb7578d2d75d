"""The kinds of endpoint: which keys of a file belong together, and which backends can call which kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from .tables import Server

Kind = Literal["oip", "sagemaker", "emulated"]

# What a file of each kind must have in [endpoint], beside description; and what it may have.
REQUIRED: Mapping[Kind, Sequence[str]] = {
    "oip": ("url", "model"),
    "sagemaker": ("region", "name"),
    "emulated": ("emulated",),
}
ALLOWED: Mapping[Kind, Sequence[str]] = {
    "oip": ("version", "ca"),
    "sagemaker": ("url", "ca", "role", "target_variant"),
    "emulated": ("serve",),
}
WORDS: Mapping[Kind, str] = {
    "oip": "a server of the Open Inference Protocol",
    "sagemaker": "an endpoint of SageMaker",
    "emulated": "an emulated service",
}
# The kinds that a backend of hilgate's calls; one of the user's calls what it can.
CALLED: Mapping[str, Sequence[Kind]] = {"oip": ("oip", "emulated"), "sagemaker": ("sagemaker", "emulated")}
# Regions of AWS whose names do not end as all others do.
DOMAINS = {"cn-": "amazonaws.com.cn"}
DOMAIN = "amazonaws.com"


def kind_of(server: Server) -> Kind:
    """Tell which kind of endpoint a file describes, by the keys that only one kind has."""
    if server.emulated:
        return "emulated"
    return "sagemaker" if server.region is not None or server.name is not None else "oip"


def missing_keys(server: Server, kind: Kind) -> list[str]:
    """List the keys that a file of this kind must have, and this one lacks."""
    return [key for key in REQUIRED[kind] if getattr(server, key) is None]


def foreign_keys(server: Server, kind: Kind) -> list[str]:
    """List the keys that a file has, and that belong to another kind."""
    own = {"description", "emulated", *REQUIRED[kind], *ALLOWED[kind]}
    return [key for key in type(server).model_fields if key not in own and getattr(server, key) is not None]


def described(kind: Kind) -> str:
    """Say which keys a file of a kind has."""
    optional = f" ({', '.join(ALLOWED[kind])})" if ALLOWED[kind] else ""
    required = "emulated = true" if kind == "emulated" else " and ".join(REQUIRED[kind])
    return f"{required}{optional} for {WORDS[kind]}"


def called_by(backend: str) -> Sequence[Kind]:
    """List the kinds of endpoint that a backend calls."""
    return CALLED.get(backend, tuple(REQUIRED))


def service_url(region: str) -> str:
    """Return where SageMaker's runtime is in a region."""
    domain = next((domain for prefix, domain in DOMAINS.items() if region.startswith(prefix)), DOMAIN)
    return f"https://runtime.sagemaker.{region}.{domain}"
