"""Loading endpoint files: an endpoint's file and those that it extends (see harness.host.extending), checked.

A file's table (each key: docs/remote.md):

    extends = "other"        at the top: keys that this file lacks are taken from that endpoint
    [endpoint]               description; which keys else, its kind says: harness.endpoint.kinds
    [prices]                 what it costs, where that is known
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import EndpointError, InputError
from ..host.extending import Kind, Source, source_of, where_of
from ..host.regular_file import read_regular
from ..host.shown_path import shown_path
from . import kinds
from . import url as urls
from .endpoint import Endpoint, EndpointFile, endpoint_names
from .prices import Prices
from .tables import KEYS, File, Server

# A bundle of all authorities of a system has a quarter of this.
MOST_CA_BYTES = 1 << 20
PEM = "-----BEGIN CERTIFICATE-----"
SECRET = "PRIVATE KEY-----"  # noqa: S105  # what is looked for


def _unknown(name: str) -> str:
    return f'write endpoints/{name}.toml beside the folder of devices: [endpoint] description, url = "http://…", model'


ENDPOINT = Kind(noun="endpoint", article="an", keys=KEYS, error=EndpointError, hint=_unknown)


def load_endpoint(name: object, folders: Sequence[Path], where: str = "") -> Endpoint:
    """Load an endpoint from the first folder that has it.

    Args:
        name: the endpoint's name, as it was written.
        folders: of endpoint files: the user's first, then hilgate's own.
        where: which key names it, for errors.

    Raises:
        EndpointError: there is no such endpoint, or its files are wrong; the message lists everything that is wrong.
    """
    chain = ENDPOINT.read_chain(name, folders, where)
    file, problems = ENDPOINT.validated(chain, File, shown=_without_password)
    ca = ""
    if file is not None:
        problems += _misfits(chain, file.endpoint)
        try:
            ca = _certificates(chain, file.endpoint.ca) if file.endpoint.ca is not None else ""
        except EndpointError as error:
            problems.append(error)
    if file is None or problems:
        raise ENDPOINT.joined(chain[0].name, problems)
    return _endpoint(chain, file, ca)


def _endpoint(chain: Sequence[Source], file: File, ca: str) -> Endpoint:
    server = file.endpoint
    kind = kinds.kind_of(server)
    url = server.url or (kinds.service_url(server.region) if kind == "sagemaker" and server.region else "")
    return Endpoint(
        name=chain[0].name,
        path=chain[0].path,
        description=server.description,
        kind=kind,
        url=urls.without_end(url),
        model=server.model or "",
        version=server.version or "",
        ca=ca,
        region=server.region or "",
        endpoint_name=server.name or "",
        role=server.role or "",
        target_variant=server.target_variant or "",
        serve=server.serve or "",
        prices=Prices.of_table(file.prices) if file.prices is not None else None,
        files=tuple(EndpointFile(name=each.name, path=each.path, sha256=each.sha256) for each in chain),
    )


def _misfits(chain: Sequence[Source], server: Server) -> list[InputError]:
    """Find what of a file does not belong together, and a URL that cannot be called."""
    kind = kinds.kind_of(server)
    problems = [
        EndpointError(
            f"'endpoint.{key}' is no key of {kinds.WORDS[kind]}",
            wanted="; or ".join(map(kinds.described, kinds.REQUIRED)),
            found=f"{key}, beside {' and '.join(kinds.REQUIRED[kind])}",
            where=where_of(chain, "endpoint", key),
            hint="take it out, or describe the other server in a file of its own",
        )
        for key in kinds.foreign_keys(server, kind)
    ]
    if missing := kinds.missing_keys(server, kind):
        problems.append(_missing(chain, kind, missing))
    if server.url is not None and (problem := urls.why_unusable(server.url, signed=kind == "sagemaker")):
        problems.append(_bad_url(chain, server.url, problem))
    return [*problems]


def _missing(chain: Sequence[Source], kind: kinds.Kind, missing: Sequence[str]) -> EndpointError:
    wanted, _, example = KEYS[f"endpoint.{missing[0]}"].partition(": ")
    is_any = len(missing) == len(kinds.REQUIRED[kind]) > 1  # nothing says which kind it should be
    keys = " and ".join(f"'endpoint.{key}'" for key in missing)
    return EndpointError(
        f"{keys} {'are' if len(missing) > 1 else 'is'} missing",
        wanted="; or ".join(map(kinds.described, kinds.REQUIRED)) if is_any else wanted,
        where=where_of(chain, "endpoint", missing[0]),
        hint=f"write, for instance: {example}",
    )


def named_endpoint(backend: str, options: Mapping[str, Any], folders: Sequence[Path], where: str) -> Endpoint:
    """Load the endpoint that the options of a remote backend name.

    Args:
        backend: the backend's name.
        options: as the device's file has them.
        folders: of endpoint files: the user's first, then hilgate's own.
        where: the options' table in the device's file, for errors.

    Raises:
        EndpointError: the options name none; there is none of that name, or its files are wrong; or it is of a kind
            that the backend does not call.
    """
    if "endpoint" in options:
        endpoint = load_endpoint(options["endpoint"], folders, f"{where}.endpoint")
        _check_kind(backend, endpoint, where)
        return endpoint
    names = endpoint_names(folders)
    raise EndpointError(
        f"backend {backend} has no endpoint to call",
        wanted=f'[options.{backend}] endpoint = "NAME", and a file endpoints/NAME.toml',
        found="none is named",
        where=f"{where}.endpoint",
        hint=f"name one of {', '.join(names)}" if names else "write such a file first (docs/remote.md)",
    )


def _check_kind(backend: str, endpoint: Endpoint, where: str) -> None:
    called = kinds.called_by(backend)
    if endpoint.kind in called:
        return
    others = [name for name, each in kinds.CALLED.items() if endpoint.kind in each]
    raise EndpointError(
        f"backend {backend} does not call {kinds.WORDS[endpoint.kind]}",
        wanted="an endpoint file with " + "; or ".join(map(kinds.described, called)),
        found=f"{' and '.join(kinds.REQUIRED[endpoint.kind])} in {shown_path(endpoint.path)}",
        where=f"{where}.endpoint",
        hint=f"name another endpoint, or the backend {' or '.join(others)}",
    )


def _without_password(value: object) -> object:
    return urls.shown(value) if isinstance(value, str) else value


def _bad_url(chain: Sequence[Source], url: str, problem: str) -> EndpointError:
    return EndpointError(
        "'endpoint.url' is no URL that a device can call",
        wanted="http:// (not where calls are signed) or https://, a host, and a port where it is not the usual one",
        found=f"{urls.shown(url)!r}: {problem}",
        where=where_of(chain, "endpoint", "url"),
        hint='write, for instance: url = "http://10.0.0.2:8000"',
    )


def _certificates(chain: Sequence[Source], name: str) -> str:
    """Read a file of certificates, which is named beside the endpoint file that names it.

    Raises:
        EndpointError: it cannot be read, or is no file of certificates.
    """
    place = source_of(chain, "endpoint", "ca")
    path, where = place.path.parent / name, where_of(chain, "endpoint", "ca")
    hint = "name the certificate of whoever signed the server's; hilgate sends it to the device"
    wanted = "certificates in PEM, and no private key"
    try:
        text = read_regular(path, MOST_CA_BYTES).decode("ascii")
    except (OSError, ValueError) as error:
        found = str(error) if isinstance(error, OSError) else "bytes that are no ASCII, as of DER"
        what = "the file of certificates cannot be read"
        raise EndpointError(what, wanted=wanted, found=found, where=where, hint=hint) from error
    found = _why_no_certificates(text)
    if found:
        what = f"{shown_path(path)} is no file of certificates"
        raise EndpointError(what, wanted=wanted, found=found, where=where, hint=hint)
    return text


def _why_no_certificates(text: str) -> str:
    if SECRET in text:
        return "a private key, which must not leave this machine"
    if PEM not in text:
        return "no certificate"
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        return f"what OpenSSL cannot read ({error})"
    return ""
