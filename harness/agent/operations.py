"""What the agent can do: each operation is a method ``op_NAME``, found by the name in the request.

An operation takes a header and tensors and returns a header and tensors. Whatever it raises travels back as text. To
add one, add a method here, its like in harness/runners/src/operations.cpp, and its answer in harness/protocol/agent.py.
"""

from __future__ import annotations

import functools
import importlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import pacing, telemetry, timing
from .engine import make_engine
from .expand import expand
from .failure import Failures, Repeats
from .first_parts import FirstParts
from .frames import Array
from .growth import Growth
from .ring import InputError, InTurn, Ring, Spread, written
from .sides import Sides
from .structure import flatten

Reply = tuple[dict[str, Any], list[Array]]


def flushes_denormals() -> bool:
    """Whether this thread's arithmetic flushes denormal numbers to zero, found out by trying."""
    return bool(np.float32(2e-38) * np.float32(0.1) == 0)


class Operations:
    """The state of one deployment: its engine, once loaded."""

    def __init__(self, before_runtime_kib: int | None = None) -> None:
        """Begin with nothing loaded.

        Args:
            before_runtime_kib: the memory peak before the runtime was imported, where a forkserver has imported it.
        """
        self.before_runtime_kib = before_runtime_kib
        self.engine: Any = None
        self.input_names: list[str] = []
        self.kept: list[list[Array]] = []
        self.written: set[str] = set()  # inputs that the model was seen to write into
        self.waited_ns = 0  # for the host; subtracted from the load time
        self.proxy: Any = None  # shapes the network, where it is asked for

    def __call__(self, header: dict[str, Any], tensors: list[Array]) -> Reply:
        """Carry out header["op"].

        Every reply has "elapsed_ns"; and "written", the names of inputs, once the model was seen to write into any.
        """
        operation = getattr(self, "op_" + str(header.get("op")), None)
        if operation is None:
            raise ValueError(f"unknown operation {header.get('op')!r}")
        start = time.perf_counter_ns()
        reply, arrays = operation(header, tensors)
        if self.written:
            reply = {**reply, "written": [name for name in self.input_names if name in self.written]}
        return {**reply, "elapsed_ns": time.perf_counter_ns() - start}, arrays

    def op_network(self, header: dict[str, Any], tensors: list[Array]) -> Reply:
        """Shape the network between a client that is loaded afterwards and its server; see agent/network.

        Header: "up" and "down", "outages", as its proxy takes them; "traced", which of both directions have a trace.
        Tensors: these traces, int32, in milliseconds. What it takes does not count as loading.
        """
        from .network.start import Running

        start = time.perf_counter_ns()
        earlier, self.proxy = self.proxy, None
        if earlier is not None:
            earlier.close()
        rules = {name: header[name] for name in ("up", "down", "outages")}
        self.proxy = Running(rules, {name: trace.data for name, trace in zip(header["traced"], tensors)})
        self.waited_ns += time.perf_counter_ns() - start
        return {}, []

    def op_load(self, header: dict[str, Any], tensors: list[Array]) -> Reply:
        """Import the runtime, load the artifact, infer once.

        Header: "artifact", a path; "threads", "interop_threads" and "flush_denormals", the same for all backends;
        "options", the backend's; "operators", modules to import first, for what they register; "inputs", names.
        "fallback", of a client with one: the "artifact", "options" and "name" of the backend that answers where calls
        fail (see remote.fallback), and whose first inference is made before the one that is timed.
        Tensors: one set of inputs.
        Reply: "memory_kib" after each step; "load_ns", from the process's start to the end of the first inference,
        without the time spent waiting for the host; "first_ns", that inference alone; "outputs", their names;
        "runtime", versions; "settings", as they are in effect; "repeated", where calls failed (see failure.Repeats).
        """
        before = self.before_runtime_kib or telemetry.memory_kib()["peak"]
        if hasattr(self.engine, "close"):  # it has a thread
            self.engine.close()
        engine = make_engine(header, self.proxy)
        runtime = telemetry.memory_kib()
        for name in header.get("operators", ()):
            importlib.import_module(name)
        repeats = Repeats()
        repeats(engine.load, header["artifact"])
        loaded = telemetry.memory_kib()
        self.input_names = header["inputs"]
        self.kept, self.written = [], set()  # they belonged to other inputs
        (arrays,) = self._sets(tensors)
        if "fallback" in header:
            engine.warm(self._prepared(engine, arrays)[1])
        inputs, prepared = self._prepared(engine, arrays)
        raw = repeats(engine.run, prepared)
        first_ns = repeats.took_ns
        outputs = engine.arrays(raw)  # sent before there is another inference: no copy is needed
        load_ns = timing.since_process_start_ns() - self.waited_ns
        self.engine = engine
        self.written |= written(self.input_names, arrays, inputs)
        named = list(flatten(outputs))
        steps = {"runtime": runtime, "model": loaded, "first": telemetry.memory_kib()}
        reply = {
            "load_ns": load_ns,
            "first_ns": first_ns,
            "memory_kib": {"before_runtime": before, **{step: memory["peak"] for step, memory in steps.items()}},
            "outputs": engine.output_names() or [name for name, _ in named],
            "runtime": engine.versions(),
            "settings": {**engine.settings(), "flush_denormals": flushes_denormals()},
            **repeats.header(),
        }
        return reply, [array for _, array in named]

    def op_infer(self, header: dict[str, Any], tensors: list[Array]) -> Reply:
        """Infer once for each set of inputs. Tensors and reply: set after set; "inference_ns": the model's time.

        A call that failed is repeated (see failure.Repeats): "repeated" says how often, where any was.
        Header, in place of tensors: "fills", for each set a list of fills, one for each input (see expand). "side", of
        a client with a fallback: which of both answers, whoever does so otherwise (see sides).
        """
        engine = self._loaded()
        run = functools.partial(engine.run_on, header["side"]) if "side" in header else engine.run
        outputs: list[Array] = []
        spent, repeats = 0, Repeats()
        sets = self._expanded(header["fills"]) if "fills" in header else self._sets(tensors)
        for arrays in sets:
            inputs, prepared = self._prepared(engine, arrays)
            raw = repeats(run, prepared)
            spent += repeats.took_ns
            # Copied at once: an output may be the module's own buffer, or a view of it (issue 15, case 65), which the
            # next inference overwrites.
            outputs += [np.array(array) for _, array in flatten(engine.arrays(raw))]
            self.written |= written(self.input_names, arrays, inputs)
        return {"inference_ns": spent, **repeats.header()}, outputs

    def op_keep(self, header: dict[str, Any], tensors: list[Array]) -> Reply:
        """Keep these sets of inputs, in place of earlier ones: the "base" of a fill chooses from them."""
        names = self.input_names
        self._check_sets(tensors)
        self.kept = [tensors[index :: len(names)] for index in range(len(names))]
        return {}, []

    def op_warm_up(self, header: dict[str, Any], tensors: list[Array]) -> Reply:
        """Infer until it no longer gets faster. Header: "budget_ns", and the source of the inputs (see _ring).

        Inputs are made from fills once, and taken in turn. Free memory is given back in the end, so that growth shows.
        Reply: see timing.warm_up; and "making_ns", for one set.
        """
        engine = self._loaded()
        made_ns = 0
        if "fills" in header:
            size = header["ring"]
            start = time.perf_counter_ns()
            columns = self._spread(header).columns(size)
            made_ns = (time.perf_counter_ns() - start) // size
            ring = Ring(engine, self.input_names, InTurn(columns, range(size)), size, untimed=False)
        else:
            ring = self._ring(engine, header, tensors, untimed=False)
        reply = timing.warm_up(engine.run, ring.renew, header["budget_ns"])
        self.written |= ring.close()
        telemetry.give_back()
        return {**reply, "making_ns": made_ns + ring.making_ns // max(reply["iterations"], 1)}, []

    def op_measure(self, header: dict[str, Any], tensors: list[Array]) -> Reply:
        """Time inferences. Header: "samples", "budget_ns", and the source of the inputs (see _ring).

        Each block of a ring begins with an inference that is not timed: between two blocks the caches have gone cold,
        which in a closed loop they never do. Reply: int64[n] nanoseconds; "before" and "after", the device's state;
        "loop_ns", how long the loop took from its first inputs on. That is little more than the sum of the durations,
        of "making_ns" (making the inputs) and of "untimed_ns" (the "untimed" inferences), which
        harness.deploy.plausibility checks. "anonymous_kib", the memory, read after so many "inferences" (see growth).

        With "period_ns", "late" and "behind_ns" (see pacing) inferences are released by a clock; "samples" counts
        releases, and the reply is int64[n, 3]: when each was due, started and ended.

        Calls that failed (see failure) have the duration NEVER; a release whose call failed keeps start and end. Where
        any failed, a second tensor, uint8[n], has the code of each failure, 0 where it was answered; and the reply
        "failed", how many by kind; "failures", what the first of them said; "failed_ns", how long all of them took.

        Of an engine whose answers come in parts (see first_parts) a last tensor, int64[n], has how long each call's
        first part took, NEVER where none came or the call failed; and the reply "first_parts", true.

        Of an engine with a fallback the last tensor, uint8[n], has which side answered (see sides); and the reply
        "sides", true.
        """
        engine = self._loaded()
        first_parts, sides = FirstParts.of(engine, header["samples"]), Sides.of(engine, header["samples"])
        run = (first_parts or sides or engine).run
        ring = self._ring(engine, header, tensors)
        samples, budget_ns = header["samples"], header["budget_ns"]
        before = telemetry.state()
        failures = Failures(samples)
        with Growth(ring, samples) as growth:
            if "period_ns" in header:
                pace = pacing.Pace.read(header)
                measured = pacing.paced_loop(run, growth.renew, pace, samples, budget_ns, failures=failures)
            else:
                measured = timing.timed_loop(run, growth.renew, samples, budget_ns, failures)
            loop_ns = time.perf_counter_ns() - ring.began_ns
            account = {"loop_ns": loop_ns, "making_ns": ring.making_ns, "untimed_ns": ring.untimed_ns}
            growth.end(pacing.inferences_in(measured) if "period_ns" in header else len(measured))
        readings = {"inferences": growth.inferences, "anonymous_kib": growth.anonymous_kib, **failures.header()}
        after = telemetry.state()
        self.written |= ring.close()
        reply = {"before": before, "after": after, **account, "untimed": ring.untimed, **readings}
        arrays = [measured, *failures.tensors(len(measured))]
        if sides is not None:
            return {**reply, "sides": True}, [*arrays, sides.tensor(measured)]
        if first_parts is None:
            return reply, arrays
        return {**reply, "first_parts": True}, [*arrays, first_parts.tensor(measured)]

    def op_profile(self, header: dict[str, Any], tensors: list[Array]) -> Reply:
        """Find out how long each operator takes, with the runtime's own profiler, which takes some time itself.

        Header: "count", of inferences. Tensors: sets of inputs, taken in turn. Reply: "operators", each with its
        "operator", "name" ("" where the runtime names only the kind), and "calls" and "ns" per inference.
        """
        engine = self._loaded()
        count = header["count"]
        ring = self._ring(engine, {**header, "ring": 1}, tensors, untimed=False)
        operators = [
            {"operator": operator, "name": name, "calls": len(each) / count, "ns": timing.of_one(each, count)}
            for operator, name, each in engine.profile(lambda: ring.renew(1)[0], count)
        ]
        self.written |= ring.close()
        return {"operators": operators}, []

    def op_memory(self, header: dict[str, Any], tensors: list[Array]) -> Reply:
        """Report this process's memory in KiB; see telemetry.memory_kib."""
        return {"memory_kib": telemetry.memory_kib()}, []

    def op_credentials(self, header: dict[str, Any], tensors: list[Array]) -> Reply:
        """Keep "access_key", "secret_key" and "token" in memory, for a client that signs; see remote.credentials."""
        from .remote import credentials  # only in the bundle of a backend that calls another computer

        credentials.receive(header)
        return {}, []

    def op_echo(self, header: dict[str, Any], tensors: list[Array]) -> Reply:
        """Send back the tensors that came in: to measure the link."""
        return {}, tensors

    def _loaded(self) -> Any:
        if self.engine is None:
            raise RuntimeError("no artifact is loaded: the operation load comes first")
        return self.engine

    def _check_sets(self, tensors: Sequence[Array]) -> None:
        names = self.input_names
        if not tensors or not names or len(tensors) % len(names):
            raise ValueError(f"wanted sets of {len(names)} inputs ({', '.join(names)}); found {len(tensors)} tensors")

    def _ring(self, engine: Any, header: Mapping[str, Any], tensors: Sequence[Array], *, untimed: bool = True) -> Ring:
        """Make the ring that provides a loop with prepared inputs.

        Header: "ring", how many sets are prepared at a time; and "fills", one for each input, with "first", the number
        of their first block; or "kept", the numbers of kept sets, in the order in which they are run. Without either,
        tensors: sets that are taken in turn.
        """
        source: Spread | InTurn
        if "fills" in header:
            source = self._spread(header)
        elif "kept" in header:
            source = InTurn(self.kept, header["kept"])
        else:
            self._check_sets(tensors)
            width = len(self.input_names)
            source = InTurn([tensors[index::width] for index in range(width)], range(len(tensors) // width))
        return Ring(engine, self.input_names, source, header.get("ring", 1), untimed=untimed)

    def _spread(self, header: Mapping[str, Any]) -> Spread:
        self._check_fills(header["fills"])
        telemetry.import_uncounted("numpy.random")  # 7 MiB that a deployed model would not use
        return Spread(header["fills"], header.get("first", 0), self.kept)

    def _check_fills(self, fills: Any) -> None:
        if not isinstance(fills, list) or len(fills) != len(self.input_names):
            found = len(fills) if isinstance(fills, list) else type(fills).__name__
            raise ValueError(f"wanted a list of {len(self.input_names)} fills, one an input; found {found}")

    def _expanded(self, sets: Any) -> Iterator[list[Array]]:
        """Make the sets of inputs one at a time: a small board has no room for all."""
        if not isinstance(sets, list):
            raise ValueError("wanted fills, set after set, in a list; found none")  # noqa: TRY004  # as for all others
        for fills in sets:
            self._check_fills(fills)
            kept = self.kept or [[]] * len(fills)
            try:
                yield [expand(fill, kept[index]) for index, fill in enumerate(fills)]
            except Exception as error:
                raise InputError(f"{type(error).__name__}: {error}") from error

    def _sets(self, tensors: list[Array]) -> list[list[Array]]:
        self._check_sets(tensors)
        width = len(self.input_names)
        return [tensors[start : start + width] for start in range(0, len(tensors), width)]

    def _prepared(self, engine: Any, arrays: Sequence[Array]) -> tuple[list[Array], Any]:
        """Copy one set of inputs, for the model may write into them; return the copies, and the same prepared."""
        copies = [np.array(array) for array in arrays]
        return copies, engine.prepare(dict(zip(self.input_names, copies)))
