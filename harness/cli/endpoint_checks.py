"""The checks of `hilgate doctor` on endpoints: what remote backends call, looked at from the device itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..backends import load_backend
from ..cloud import DURATION_S, ask_once, grant
from ..deploy.endpoint_look import look_at
from ..device.device import Device
from ..endpoint import Calls, Endpoint, endpoint_folders, named_endpoint, why_forbidden
from ..errors import HilgateError
from ..links import LinkType
from ..network import Network, named_network, network_folders
from ..protocol import BoardFacts
from ..protocol.endpoint_look import EndpointLooked
from .doctor_check import FAILED, OK, WARNING, Check, failed, skipped

# What the program on the device calls its steps -> the next step where one fails.
HINTS = {
    "name": "look at the host in the endpoint's url; on the device: getent hosts NAME",
    "connection": "is the server started, does it listen on that address (not on loopback alone), and does a firewall "
    "let the device through?",
    "model": "look at model and version in the endpoint's file, and at what the server has loaded",
    "service": "set the clock, if that is it (timedatectl set-ntp true); else look at url and region in the endpoint's "
    "file",
    "invocation": "look at region and name in the endpoint's file, at its status in SageMaker's console and its log",
    "inference": "look at the server's log; the look sent zeros, a run sends what the model file declares",
}
STEPS = tuple(HINTS)
SERVER_ERRORS = 500


def names(device: Device) -> list[str]:
    """List the checks' names, one for each remote backend of the device."""
    return [name_of(backend) for backend in _remote(device)]


def name_of(backend: str) -> str:
    """Name the check of a backend's endpoint."""
    return f"endpoint of {backend}"


def _remote(device: Device) -> list[str]:
    return [name for name in device.backends if load_backend(name).remote]


def endpoints(link: LinkType, device: Device, facts: BoardFacts, folders: Sequence[Path]) -> Iterator[Check]:
    """Have the device look at the endpoint of each remote backend.

    Args:
        link: reaches the device.
        device: the device.
        facts: what it says of itself.
        folders: those of device files, the user's first.
    """
    for name in _remote(device):
        try:
            yield from _checks(link, device, facts, folders, name)
        except HilgateError as error:
            yield failed(name_of(name), error)


def _checks(link: LinkType, device: Device, facts: BoardFacts, folders: Sequence[Path], name: str) -> Iterator[Check]:
    backend = load_backend(name)
    options = device.options.get(name, {})
    where = f"{device.path}: options.{name}"
    backend.check_options(options, where)
    endpoint = named_endpoint(name, options, endpoint_folders(folders), where)
    network = named_network(options, network_folders(folders), where, loses_packets=device.loses_packets)
    calls = Calls.of_options(options)
    rules = device.rules
    forbidden = why_forbidden(backend, onboard=rules.onboard, offline=rules.offline)
    text = f"{endpoint.name}: {endpoint.told}"
    if forbidden:
        hint = f"a run leaves it out, unless --backend names it; its verdict is INELIGIBLE in any case ({device.path})"
        yield Check(name_of(name), WARNING, f"{text}; {forbidden}", hint)
    else:
        yield Check(name_of(name), OK, text)
    if network is not None:
        yield _network(network)
    if endpoint.kind == "emulated":
        yield Check("  service", OK, "a run starts it on this machine, and ends it: there is nothing to see before")
        return
    report = look_at(link, facts, endpoint, calls, f"{name} on {device.name}")
    yield from looked(report, endpoint, calls)
    if endpoint.kind == "sagemaker":
        yield from signed(endpoint, calls, "" if not report.failed else report.kind)


def signed(endpoint: Endpoint, calls: Calls, broken: str) -> Iterator[Check]:
    """Ask for credentials as a run does, and, where the device reaches the service, for one answer.

    Args:
        endpoint: the endpoint.
        calls: how it is called.
        broken: which step failed on the device; "" if none did.
    """
    try:
        granted = grant(endpoint)
    except HilgateError as error:
        yield failed("  credentials", error)
        yield from skipped(("  inference",), "credentials")
        return
    lasting = f"for this endpoint and {DURATION_S // 60} minutes"
    yield Check("  credentials", OK, f"of account {granted.account}, {lasting}, given to {granted.caller}")
    if broken:
        yield from skipped(("  inference",), broken)
        return
    answered = ask_once(endpoint, granted.credentials, calls.timeout_ms / 1e3)
    if answered.problem:
        yield Check("  inference", FAILED, answered.problem, f"{HINTS['invocation']} ({endpoint.path})")
    else:
        limits = f"at most {calls.max_request_bytes:,} bytes there and {calls.max_response_bytes:,} back"
        yield Check("  inference", OK, f"asked from this host: {answered.found}")
        yield Check("  sizes", OK, f"{limits}; a run compares them with the model's before its first call")


def _network(network: Network) -> Check:
    said = "measured" if network.measured else "not measured"
    aside = "; this look goes without it" if network.is_shaping or network.loss_percent else ""
    return Check("  network", OK, f"{network.name} ({said}): {network.described}{aside}")


def looked(report: EndpointLooked, endpoint: Endpoint, calls: Calls) -> Iterator[Check]:
    """Make the checks of what a device has seen of an endpoint."""
    for step in report.steps:
        yield Check(f"  {step.name}", OK, f"{step.found} ({step.ms:.3g} ms)")
    if not report.failed:
        if report.request_bytes:
            yield _sizes(report, calls)
        return
    kind = report.kind if report.kind in HINTS else "inference"
    # Zeros may be no input of this model: whoever says so is there, and answers.
    is_about_zeros = kind == "inference" and 0 < report.status < SERVER_ERRORS
    mark = WARNING if is_about_zeros else FAILED
    yield Check(f"  {kind}", mark, report.failed, f"{HINTS[kind]} ({endpoint.path})")


def _sizes(report: EndpointLooked, calls: Calls) -> Check:
    sent = f"{report.request_bytes:,} bytes asked, of {calls.max_request_bytes:,} at most"
    return Check("  sizes", OK, f"{sent}; {report.response_bytes:,} answered, of {calls.max_response_bytes:,}")
