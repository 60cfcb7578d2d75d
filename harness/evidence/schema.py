"""Types of evidence.json, schema 1: what each key is, in which unit, and when it is there.

The writer (``writer``) and the reader (``reading``) share them, and ``hilgate schema`` prints the JSON Schema made of
them. Keys are written in the order in which they stand here (those of a check as they are
given), and only those that were set. Keys that are not named here are kept: a newer hilgate may write more under the
same schema number, and never another meaning under an old key.

To add a key: a field with a default here, its name in ``ALWAYS`` if it is written every time, its value in ``parts``
or ``cell_record``, and a row in docs/evidence.md.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from .decision_entry import DecisionEntry
from .entry import Count, Entry, Figure, Sha256, VerdictText
from .timed_entry import BoardState, TimedEntry

SCHEMA = 1

Size = Annotated[int | str, Field(description="a size, or SMALLEST…LARGEST where samples have several")]


class Asked(Entry):
    """What was asked for on the command line; empty of a run that ended before that was known."""

    time_limit_s: Annotated[float | None, Field(gt=0, description="--time-limit, in seconds")] = None
    seed: Annotated[int | None, Field(description="--hypothesis-seed")] = None
    selected: Annotated[str | None, Field(description="-k's expression; null without")] = None
    narrowed: Annotated[bool, Field(description="whether a test's own path or the like chose some tests only")] = False


class HarnessTime(Entry):
    """Where the run's time went, in seconds; empty until its end."""

    device_s: Annotated[float | None, Field(description="loading and inferring on devices")] = None
    harness_s: Annotated[float | None, Field(description="all the rest")] = None
    export_s: Annotated[float | None, Field(description="the exports in that")] = None


class Emulator(Entry):
    """What emulated a board."""

    qemu: Annotated[str, Field(description="QEMU's version")]
    image: Annotated[str, Field(description="the image's name")]
    state: Annotated[str | None, Field(description="the saved state it was restored from; null if it booted")] = None


class WarmUp(Entry):
    """One process's warm-up."""

    elapsed_ns: Annotated[Count, Field(description="nanoseconds it took")]
    iterations: Annotated[Count, Field(description="inferences")]
    settled: Annotated[bool, Field(description="whether two blocks in a row were no faster than the best before")]
    median_ns: Annotated[int, Field(description="of an inference in its last block, nanoseconds")]


class Fingerprint(Entry):
    """The device and how its runtime was set: what must be alike for two figures to be compared."""

    arch: str = ""
    python: str = ""
    cpu: str = ""
    cores: int = 0
    memory_mib: Annotated[int, Field(description="what its kernel manages, MiB")] = 0
    board: str = ""
    serial: str = ""
    kernel: str = ""
    libc: Annotated[str, Field(description="the C library, such as glibc-2.36; empty where it does not say")] = ""
    executable: Annotated[str, Field(description="the Python that ran the agent, its path there")] = ""
    emulator: Annotated[Emulator | None, Field(description="of an emulated device")] = None
    threads: Annotated[int, Field(description="of one operator")] = 1
    interop_threads: Annotated[int, Field(description="operators at a time")] = 1
    flush_denormals: Annotated[bool, Field(description="whether numbers too small to be normal become zero")] = False
    runtime: Annotated[dict[str, str], Field(description="versions, by package")] = {}
    settings: Annotated[dict[str, Any], Field(description="what was really set")] = {}
    governor: Annotated[list[str] | None, Field(description="CPU frequency governors in use")] = None
    state_before: Annotated[BoardState | None, Field(description="before the samples")] = None
    state_after: Annotated[BoardState | None, Field(description="after them")] = None
    warm_up: Annotated[list[WarmUp] | None, Field(description="of each process")] = None


class ArtifactFacts(Entry):
    """The exported or given file."""

    sha256: Sha256
    bytes: Annotated[Count, Field(description="all of its files")] = 0
    exporter: Annotated[str, Field(description="which exporter made it; 'given' of a file that the model names")] = ""
    warnings: Annotated[list[str], Field(description="the exporter's")] = []


class Wheel(Entry):
    """A wheel that was sent."""

    name: str
    version: str
    file: str
    sha256: Sha256


class Trimmed(Entry):
    """What was sent of a wheel, where that is a part of it."""

    name: Annotated[str, Field(description="the wheel's")]
    left_out: Annotated[list[str], Field(description="folders of it that were not sent")]
    sha256: Annotated[Sha256, Field(description="of what was sent, an archive")]
    bytes: Annotated[Count, Field(description="of that archive")]
    unpacked: Annotated[Count, Field(description="bytes of it, once unpacked")]


class Runner(Entry):
    """A C++ backend's program."""

    sha256: Annotated[Sha256 | None, Field(description="of the archive that was sent")] = None
    bytes: Annotated[Count | None, Field(description="of that archive")] = None
    compiler: Annotated[str, Field(description="its name and version")]
    glibc: Annotated[str, Field(description="the C library that it asks for")]
    files: Annotated[dict[str, Sha256], Field(description="SHA-256, by path in the bundle")]


class BundleFacts(Entry):
    """What was tested: the SHA-256 of the manifest names all of it."""

    sha256: Sha256
    python: Annotated[str | None, Field(description="the device's, where one runs the backend")] = None
    runner: Annotated[Runner | None, Field(description="of a C++ backend")] = None
    libraries: Annotated[dict[str, Any] | None, Field(description="of a C++ backend: bytes and stripped, by path")] = (
        None
    )
    wheels: Annotated[list[Wheel] | None, Field(description="that were sent")] = None
    trimmed: Annotated[list[Trimmed] | None, Field(description="wheels of which only a part was sent")] = None
    packages: Annotated[dict[str, str] | None, Field(description="that were there, NAME: VERSION")] = None
    bytecode: Annotated[list[Sha256] | None, Field(description="that was compiled for the wheels")] = None


class InstructionScan(Entry):
    """The look at the shipped libraries for instructions that the CPU lacks."""

    libraries: Annotated[Count | None, Field(description="how many were looked at")] = None
    bytes: Annotated[Count | None, Field(description="of them")] = None
    at_load: Annotated[list[str] | None, Field(description="instructions that run when a library is loaded")] = None
    not_told: Annotated[dict[str, Any] | None, Field(description="of which it cannot be told whether they run")] = None
    not_looked_at: Annotated[Any, Field(description="libraries that could not be read")] = None
    not_done: Annotated[str | None, Field(description="why there was no look")] = None


class CheckEntry(Entry):
    """One metric of a cell, judged. Further keys depend on the metric: docs/evidence.md lists them."""

    metric: Annotated[str, Field(description="its name, with its unit")]
    value: Annotated[Figure | None, Field(description="the estimate; null where nothing was measured")] = None
    unit: str = ""
    limit: Annotated[Figure | None, Field(description="the strictest that was set; null without one")] = None
    limit_source: Annotated[str | None, Field(description="in which file")] = None
    confidence: Annotated[float | None, Field(ge=0, le=1, description="of the bound; null where it is exact")] = None
    bound: Annotated[Figure | None, Field(description="what was judged, in the same unit")] = None
    bound_low: Annotated[Figure | None, Field(description="beyond this a limit is broken; null without one")] = None
    blocks: Annotated[Count | None, Field(description="of time, that the bounds rest on")] = None
    block_ms: Annotated[float | None, Field(gt=0, description="how long a block lasts, milliseconds")] = None
    samples: Annotated[Count, Field(description="how many")] = 0
    raw: Annotated[str | None, Field(description="the path of the raw samples, in the evidence's folder")] = None
    raw_sha256: Annotated[Sha256 | None, Field(description="of the file of raw samples; null without one")] = None
    raw_inputs: Annotated[str | None, Field(description="the path of which input each sample had, int64[n]")] = None
    raw_inputs_sha256: Annotated[Sha256 | None, Field(description="of that file; null without one")] = None
    raw_failures: Annotated[
        str | None, Field(description="the path of how each sample's call failed, int64[n]; not there if none did")
    ] = None
    raw_failures_sha256: Annotated[Sha256 | None, Field(description="of that file; null without one")] = None
    raw_first_parts: Annotated[
        str | None, Field(description="the path of when each answer's first part came, int64[n]; only of streamed ones")
    ] = None
    raw_first_parts_sha256: Annotated[Sha256 | None, Field(description="of that file; null without one")] = None
    raw_sides: Annotated[
        str | None, Field(description="the path of which side answered each sample, int64[n]; only with a fallback")
    ] = None
    raw_sides_sha256: Annotated[Sha256 | None, Field(description="of that file; null without one")] = None
    better: Annotated[Literal["lower", "higher"] | None, Field(description="which of two values is the better one")] = (
        None
    )
    verdict: VerdictText
    reason: Annotated[str, Field(description="why, where that is not plain")] = ""
    doubt: Annotated[str, Field(description="why the figures may not be believed; not there without a reason")] = ""
    asked: Annotated[bool, Field(description="false of a metric that could not be measured and nobody asked for")] = (
        True
    )
    whole: Annotated[bool, Field(description="whether it is a count, shown with all its digits")] = False
    counts: Annotated[str, Field(description="what the samples are, where a table gives their number")] = ""
    compared: Annotated[str, Field(description="what to compare the value with, such as 'eager 0.991'")] = ""
    replay: Annotated[str | None, Field(description="of a failed parity: the path of its replay")] = None
    processes: Annotated[list[Count] | None, Field(description="samples in each process")] = None
    inputs: Annotated[Count | None, Field(description="how many different ones were timed or counted")] = None

    ALWAYS = frozenset(
        {"reason", "value", "unit", "limit", "limit_source", "bound", "confidence", "samples", "raw", "raw_sha256"}
        | {"better"}
    )
    _order: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="wrap")
    @classmethod
    def _note_order(cls, data: Any, handler: ModelWrapValidatorHandler[CheckEntry]) -> CheckEntry:
        """Note the order in which keys were given: those of a metric stand together, whether named here or not."""
        entry = handler(data)
        if isinstance(data, dict):
            entry._order = tuple(data)
        return entry

    @model_serializer(mode="wrap")
    def _dump_in_order(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return {**{key: content[key] for key in self._order if key in content}, **content}


class LoadEntry(Entry):
    """How the artifact was loaded: what the agent or the runner was told, so that a release can tell it again."""

    artifact: Annotated[str, Field(description="the file that the runtime opens, its path in the bundle")]
    inputs: Annotated[list[str], Field(description="their names in the file, in its order")]
    outputs: Annotated[list[str], Field(description="their names as the runtime knows them, in its order")]
    operators: Annotated[list[str], Field(description="modules or libraries to load first, for their operators")] = []
    options: Annotated[dict[str, Any], Field(description="the backend's")] = {}
    threads: int = 1
    interop_threads: int = 1
    flush_denormals: bool = False
    library: Annotated[str | None, Field(description="of a C++ backend: the runtime's library, its path")] = None


class Allowed(Entry):
    """How far an answer may be off the float64 reference r: by atol + rtol·|r|. Both are 0 of whole numbers."""

    dtype: Annotated[str, Field(description="of the runtime's own answer, such as float32")]
    atol: Annotated[float, Field(ge=0)] = 0.0
    rtol: Annotated[float, Field(ge=0)] = 0.0


class AnswersEntry(Entry):
    """A few inputs that parity tried, with the reference's answers: what a release compares its own answers with.

    The file is an .npz without pickles. Of case i it has the arrays ``i.in.K`` and ``i.out.K``, where K counts the
    inputs and outputs that ``load`` names, in its order. An answer is float64 where the output is one of floats, else
    of its own type.
    """

    path: Annotated[str, Field(description="of the file, in the evidence's folder: answers/NAME.npz")]
    sha256: Annotated[Sha256, Field(description="of the file")]
    allowed: Annotated[list[list[Allowed]], Field(description="of each case, for each output")]


class ClockEntry(Entry):
    """The sensor's clock that the model file declares."""

    rate_hz: Annotated[float, Field(gt=0, description="how many inputs come in a second")]
    late: Annotated[str, Field(description="what becomes of one that finds the model busy")]


class EndpointEntry(Entry):
    """The server that has the model, of a backend that calls another computer."""

    name: Annotated[str, Field(description="of its file: endpoints/NAME.toml")]
    url: str
    model: Annotated[str, Field(description="the served model's name there; empty of SageMaker's endpoints")]
    version: Annotated[str, Field(description="the served model's; empty for what the server takes")] = ""
    region: Annotated[str, Field(description="of AWS, where SageMaker has the endpoint; empty of other servers")] = ""
    endpoint_name: Annotated[str, Field(description="by which SageMaker knows it; empty of other servers")] = ""
    target_variant: Annotated[str, Field(description="the variant that is asked; empty for SageMaker's choice")] = ""
    server: Annotated[str, Field(description="what the server calls itself, with its version")] = ""
    wire: Annotated[str | None, Field(description="how tensors travel, binary or json; null before an answer")] = None
    request_bytes: Annotated[Count | None, Field(description="of the first inference; null before an answer")] = None
    response_bytes: Annotated[Count | None, Field(description="of its answer; null before one")] = None


class FallbackEntry(Entry):
    """What answers on the device where a call to another computer fails, or comes too late."""

    backend: Annotated[str, Field(description="of the device's, by its name")]
    options: Annotated[dict[str, Any], Field(description="that backend's")] = {}
    artifact: Annotated[ArtifactFacts, Field(description="what it runs, beside the description of the endpoint")]


class NetworkWay(Entry):
    """One direction of a network."""

    rate_mbit: Annotated[
        float | None, Field(gt=0, description="10⁶ bits a second, of a trace its mean; null for no bound")
    ] = None
    trace_sha256: Annotated[Sha256 | None, Field(description="of a trace's file; null without one")] = None


class OutageEntry(Entry):
    """An outage: nothing passes for the last for_s of every every_s seconds."""

    every_s: Annotated[float, Field(gt=0)]
    for_s: Annotated[float, Field(gt=0)]


class NetworkEntry(Entry):
    """What a proxy on the device, and its kernel, made of what went between it and the server that has the model."""

    name: Annotated[str, Field(description="of its file: networks/NAME.toml")]
    description: str
    source: Annotated[str, Field(description="where its figures come from")]
    measured: Annotated[bool, Field(description="whether it is somebody's measurement")]
    delay_ms: Annotated[float, Field(ge=0, description="of each way")]
    jitter_ms: Annotated[float, Field(ge=0, description="by how much the delay varies, up and down")]
    up: Annotated[NetworkWay, Field(description="from the device to the server")]
    down: NetworkWay
    loss_percent: Annotated[float, Field(ge=0, lt=100, description="of the packets of each way")] = 0.0
    packets: Annotated[Count | None, Field(description="sent while some were lost; null where none are")] = None
    packets_lost: Annotated[Count | None, Field(description="how many of these were lost; null likewise")] = None
    outages: list[OutageEntry] = []
    transfer_ms: Annotated[
        float | None, Field(ge=0, description="what the rates alone take for a request and its answer; or null")
    ] = None


class CellEntry(Entry):
    """One model on one device with one backend."""

    model: str
    device: str
    backend: str
    emulated: Annotated[bool, Field(description="whether the device was emulated")] = False
    model_sha256: Annotated[
        Sha256 | None,
        Field(description="its weights and code, whatever the backend; null if they have no hash"),
    ] = None
    verdict: VerdictText
    error: Annotated[str | None, Field(description="why it cannot run")] = None
    interruptions: Annotated[list[str], Field(description="what of the error only left a check open")] = []
    not_built: Annotated[str | None, Field(description="why this host cannot build an optional backend")] = None
    forbidden: Annotated[str | None, Field(description="which rule of the device's file forbids the backend")] = None
    endpoint: Annotated[EndpointEntry | None, Field(description="the server that has the model")] = None
    service_emulated: Annotated[
        bool, Field(description="whether that server was an emulated service of the run's own, on this machine")
    ] = False
    network: Annotated[NetworkEntry | None, Field(description="what shaped the calls; null for nothing")] = None
    fallback: Annotated[FallbackEntry | None, Field(description="what answers on the device where calls fail")] = None
    fingerprint: Fingerprint | None = None
    artifact: ArtifactFacts | None = None
    bundle: BundleFacts | None = None
    instructions: InstructionScan | None = None
    load: Annotated[LoadEntry | None, Field(description="how the artifact was loaded; null if it was not")] = None
    answers: Annotated[AnswersEntry | None, Field(description="for a release's own check; null without any")] = None
    measure: Annotated[dict[str, Size], Field(description="the sizes that were timed")] = {}
    clock: Annotated[ClockEntry | None, Field(description="the sensor's clock, of a model file with rate_hz")] = None
    timed: Annotated[
        TimedEntry | None, Field(description="how the raw samples are cut; null if nothing was measured")
    ] = None
    unfinished: Annotated[list[str], Field(description="tests that were selected and came to no check")] = []
    notes: Annotated[list[str], Field(description="what a person should read it with")] = []
    checks: list[CheckEntry]

    ALWAYS = frozenset(
        {
            "emulated",
            "model_sha256",
            "error",
            "not_built",
            "fingerprint",
            "artifact",
            "bundle",
            "instructions",
            "load",
            "answers",
            "measure",
            "timed",
            "unfinished",
        }
        | {"notes"}
    )


class FileEntry(Entry):
    """A file of the user's that decided what was run, and by which limits."""

    kind: Literal["model", "device", "endpoint", "network", "lock", "baseline"]
    name: Annotated[
        str, Field(description="the model's, device's, endpoint's or network's; of a lock and a trace the file's")
    ]
    path: Annotated[str, Field(description="relative to the project's folder; of hilgate's own files hilgate:NAME")]
    sha256: Sha256


class RunEntry(Entry):
    """The whole file."""

    # "schema" is a method of pydantic's own base class.
    schema_number: Annotated[Literal[1], Field(alias="schema", description="1")]
    tool: Annotated[str, Field(description="hilgate's version")]
    started: Annotated[str, Field(description="UTC, ISO 8601")]
    finished: Annotated[str | None, Field(description="UTC, ISO 8601; null of a run that has not ended")] = None
    commit: Annotated[str | None, Field(description="of the user's repository, '+changes' behind it; or null")] = None
    verdict: VerdictText
    asked: Asked | None = None
    harness: HarnessTime | None = None
    files: Annotated[list[FileEntry], Field(description="model and device files, extended ones too")] = []
    cells: list[CellEntry]
    decision: Annotated[list[DecisionEntry], Field(description="of each model and device; empty until the end")] = []

    ALWAYS = frozenset({"finished", "commit", "asked", "harness", "files", "decision"})

    @property
    def has_ended(self) -> bool:
        """Whether the run came to its end: one that goes on, or was killed, says no time."""
        return bool(self.finished)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of evidence.json."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **RunEntry.model_json_schema(by_alias=True)}
