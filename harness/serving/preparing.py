"""From a model file to what starts its agent processes on this machine.

The store is one of the server's own: of ``local``'s, a run on this machine would find the lock taken, and that run may
be the one that asks this server.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..backends import Backend, load_backend
from ..board import Board, open_board
from ..board.preflight import check_inputs
from ..bundle import Bundle, make_bundle
from ..bundle.planning import plan_runtime
from ..cell import Cell
from ..checks.limits import Metric
from ..deploy.deployer import Deployer
from ..deploy.deployment import Deployment, DeviceTime, LoadReport, Timeouts
from ..device.device import Device
from ..errors import AgentFailure, BackendError, DeviceBusy, DeviceError
from ..export import Artifact, export_artifact
from ..host.cache import cache_folder
from ..host.progress_log import progress_logger
from ..model.inputs import uniform_set
from ..model.model_file import ModelFile
from ..model.prepare import prepared
from ..model.process import build_hosted, read_hosted
from .interface import Interface, OutputFacts, describe_outputs, other_sizes, unknown_outputs

LOG = progress_logger(__name__)

# As many servers of one user run on a machine at once.
STORES = 32
# What SageMaker waits for an answer; an inference that takes longer has its process ended.
INFERENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Served:
    """A model that is ready to be started, any number of times.

    Attributes:
        cell: model, device and backend.
        board: this machine, with a store of the server's own.
        bundle: what is started.
        file: the model file.
        release: ends the model file's process, which is needed only to draw inputs.
    """

    cell: Cell
    board: Board
    bundle: Bundle
    file: ModelFile
    release: Callable[[], None] = lambda: None

    def start(self) -> tuple[Deployment, LoadReport]:
        """Start an agent process, loaded, its first inference done.

        Raises:
            DeploymentError: it cannot be started, or does not take the model.
            LinkError: no program can be started here.
        """
        timeouts = Timeouts(call_s=INFERENCE_S)
        # A new one each time: what ended the process before is no reason not to start the next.
        deployer = Deployer(
            cell=self.cell, board=self.board, bundle=self.bundle, timeouts=timeouts, device_time=DeviceTime()
        )
        try:
            return deployer.fresh()
        except BaseException:
            deployer.close()
            raise
        finally:
            self.release()

    def interface(self, deployment: Deployment, load: LoadReport) -> Interface:
        """Find out what the model takes and gives; a second inference shows which sizes vary."""
        model = self.file.model
        return Interface(
            name=model.name,
            platform=f"hilgate_{self.cell.backend.name}",
            inputs=tuple(model.inputs),
            dims=dict(model.dims),
            outputs=tuple(self._outputs(deployment, load)),
        )

    def _outputs(self, deployment: Deployment, load: LoadReport) -> list[OutputFacts]:
        model, first = self.file.model, [*load.first]
        if (sizes := other_sizes(model)) is None:
            return describe_outputs(load.outputs, first, None)
        try:
            other = deployment.infer(prepared(self.file, [uniform_set(model, sizes, 1)]))[0]
        except AgentFailure:  # not every size within a dimension's range is one that the module takes
            return unknown_outputs(load.outputs, first)
        finally:
            self.release()
        return describe_outputs(load.outputs, first, other)


@contextlib.contextmanager
def prepare(path: Path, device: Device, backend_name: str, metrics: Sequence[Metric]) -> Iterator[Served]:
    """Export a model, or take it from the cache, and have this machine ready to start it, until the block's end.

    Args:
        path: the model file.
        device: this machine, as a device file describes it: its threads, options and environment.
        backend_name: the backend that runs it.
        metrics: those that exist, for the model file's limits.

    Raises:
        HilgateError: the model cannot be built or exported, or the backend does not run here.
    """
    backend = local_backend(device, backend_name)
    file = read_hosted(path.resolve(), metrics)
    try:
        LOG.info(f"building {file.name}, and exporting it as {backend.artifact}, if it is not in the cache")
        artifact = export_artifact(build_hosted(file), backend.artifact)
        file.process.close()
        with opened(artifact, file, device, backend, file.process.close) as served:
            yield served
    finally:
        file.process.close()


@contextlib.contextmanager
def opened(
    artifact: Artifact, file: ModelFile, device: Device, backend: Backend, release: Callable[[], None] = lambda: None
) -> Iterator[Served]:
    """Have this machine ready to start a model that was exported, until the block's end.

    Args:
        artifact: the model, in the backend's format.
        file: the model file.
        device: this machine.
        backend: what runs it.
        release: ends the model file's process; it may be called any number of times.

    Raises:
        HilgateError: the backend does not run here.
    """
    with contextlib.closing(_open(device)) as board:
        check_inputs(board.device, file.model, board.facts, 1)
        bundle = make_bundle(artifact, backend, plan_runtime(board.device, backend, board.facts, file.model.imports))
        yield Served(cell=Cell(file, board.device, backend), board=board, bundle=bundle, file=file, release=release)


def local_backend(device: Device, name: str, where: str = "--backend") -> Backend:
    """Load the backend that is to run a model on this machine.

    Args:
        device: this machine.
        name: the backend's.
        where: what names it, for errors.

    Raises:
        DeviceError: it is another machine.
        BackendError: there is no such backend, or it calls another computer itself.
    """
    if not device.is_this_machine:
        raise DeviceError(
            "a model is served by this machine",
            wanted='a device with link = "local"',
            found=f"{device.name}: link = {device.link!r}",
            where=str(device.path),
            hint="run hilgate serve there",
        )
    backend = load_backend(name)
    if getattr(backend, "remote", False):
        raise BackendError(
            "a model that runs elsewhere cannot be served from here",
            wanted="a backend that runs it on this machine",
            found=name,
            where=where,
        )
    backend.check_options(device.options.get(name, {}), f"{device.path}: options.{name}")
    return backend


def _open(device: Device) -> Board:
    """Lock the first store that no other server of this user holds."""
    folder = cache_folder() / "serving"
    for number in range(STORES - 1):
        with contextlib.suppress(DeviceBusy):
            return open_board(replace(device, store=str(folder / f"store-{number}")))
    return open_board(replace(device, store=str(folder / f"store-{STORES - 1}")))
