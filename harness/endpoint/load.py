"""Loading endpoint files: an endpoint's file and those that it extends (see harness.host.extending), checked.

A file's table (each key: docs/remote.md):

    extends = "other"        at the top: keys that this file lacks are taken from that endpoint
    [endpoint]               description, url, model; version and ca where they are needed
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import EndpointError, InputError
from ..host.extending import Kind, Source, merged, source_of, where_of
from ..host.shown_path import shown_path
from . import url as urls
from .endpoint import Endpoint, EndpointFile, endpoint_names
from .tables import KEYS, File

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
    file, problems = None, list[InputError]()
    try:
        file = File.model_validate(merged(chain))
    except ValidationError as error:
        problems += [_problem(chain, each["type"], each["loc"], each["input"]) for each in error.errors()]
    ca = ""
    if file is not None:
        if problem := urls.why_unusable(file.endpoint.url):
            problems.append(_bad_url(chain, file.endpoint.url, problem))
        try:
            ca = _certificates(chain, file.endpoint.ca) if file.endpoint.ca is not None else ""
        except EndpointError as error:
            problems.append(error)
    # Raised outside the except block, to keep pydantic's own text and URLs out of the traceback.
    if file is None or problems:
        raise ENDPOINT.joined(chain[0].name, problems)
    server = file.endpoint
    return Endpoint(
        name=chain[0].name,
        path=chain[0].path,
        description=server.description,
        url=urls.without_end(server.url),
        model=server.model,
        version=server.version,
        ca=ca,
        files=tuple(EndpointFile(name=each.name, path=each.path, sha256=each.sha256) for each in chain),
    )


def named_endpoint(backend: str, options: Mapping[str, Any], folders: Sequence[Path], where: str) -> Endpoint:
    """Load the endpoint that the options of a remote backend name.

    Args:
        backend: the backend's name.
        options: as the device's file has them.
        folders: of endpoint files: the user's first, then hilgate's own.
        where: the options' table in the device's file, for errors.

    Raises:
        EndpointError: the options name none; or there is none of that name, or its files are wrong.
    """
    if "endpoint" in options:
        return load_endpoint(options["endpoint"], folders, f"{where}.endpoint")
    names = endpoint_names(folders)
    raise EndpointError(
        f"backend {backend} has no endpoint to call",
        wanted=f'[options.{backend}] endpoint = "NAME", and a file endpoints/NAME.toml',
        found="none is named",
        where=f"{where}.endpoint",
        hint=f"name one of {', '.join(names)}" if names else "write such a file first (docs/remote.md)",
    )


def _problem(chain: Sequence[Source], kind: str, loc: tuple[int | str, ...], value: object) -> InputError:
    """Describe a problem that pydantic found; a URL's password stays out of it."""
    return ENDPOINT.problem(chain, kind, loc, urls.shown(value) if isinstance(value, str) else value)


def _bad_url(chain: Sequence[Source], url: str, problem: str) -> EndpointError:
    return EndpointError(
        "'endpoint.url' is no URL that a device can call",
        wanted="http:// or https://, a host, and a port where it is not the usual one",
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
        with path.open("rb") as file:
            content = file.read(MOST_CA_BYTES + 1)
        text = content.decode("ascii")
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
    if len(text) > MOST_CA_BYTES:
        return f"more than {MOST_CA_BYTES} bytes"
    if SECRET in text:
        return "a private key, which must not leave this machine"
    if PEM not in text:
        return "no certificate"
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        return f"what OpenSSL cannot read ({error})"
    return ""
