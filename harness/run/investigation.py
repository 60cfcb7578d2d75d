"""Investigating a mismatch of one cell: it is saved for replay, and located on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..bundle import make_bundle
from ..bundle.planning import plan_runtime
from ..cell import Cell
from ..deploy.deployer import Deployer
from ..deploy.deployment import Timeouts
from ..errors import AgentFailure, HilgateError
from ..evidence.folder import REPLAY
from ..export import Artifact
from ..export.given import GIVEN
from ..host.work import work_folder
from ..model.inputs import Arrays
from ..model.model import Array, Closeness
from ..parity.localize import OFF_ULPS, Location, NotLocated, locate
from ..parity.replay.write import write_replay
from ..parity.rule.comparison import Difference
from ..parity.trials.recipe import Recipe
from .run import Run

# For how long to look for where a mismatch begins.
LOCATE_S = 60.0
EMULATED_LOCATE_S = 300.0
# For loading an artifact that only shows where the cell's own goes wrong, and for a call of it.
PROBE_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Investigation:
    """Investigates the mismatches of one cell.

    Args:
        deployer: the cell's deployments; ended before others start, for a small board has no room for two.
        report: called with (seconds passed, seconds allowed) while it locates.
    """

    run: Run
    cell: Cell
    artifact: Artifact
    deployer: Deployer
    report: Callable[[int, int], None]

    def keep(self, recipe: Recipe, difference: Difference) -> str:
        """Save a mismatch with all that is needed to see it again.

        Returns:
            The replay's path, relative to the evidence's folder.

        Raises:
            StorageError: the evidence cannot be written.
            DeploymentError: the device does not answer any more.
            DamagedError: the cell ran on a damaged file, which says nothing about the model.
        """
        if damage := self.deployer.damage():
            raise self.deployer.damaged(damage)
        reference = self.run.models.reference(self.cell.file)
        inputs = reference.space.make(recipe)
        deployment, load = self.deployer.shared()
        try:
            found = dict(zip(load.outputs, deployment.infer([inputs])[0], strict=False))
        except AgentFailure:
            found = {}  # the backend refused the input: that is the mismatch
        name = f"{REPLAY}/{self.cell.id}"
        facts = self._facts(difference.what)
        if reference.row_sets:
            facts["sets"] = [asdict(one) for one in reference.row_sets]
        if self.cell.file.model.canonical is not None:
            facts["canonical"] = True  # who replays it has no model file: outputs are kept as they come
            expected = reference.as_they_come(inputs)
        else:
            expected = reference.widened(inputs, recipe.key)
        write_replay(self.run.evidence.folder / name, self.artifact, inputs, expected, found, facts)
        return name

    def fresh(self, recipe: Recipe) -> list[Array]:
        """Ask a new process, which has inferred nothing else but its first inference, for the outputs.

        Raises:
            HilgateError: it could not be started, or did not answer.
        """
        reference = self.run.models.reference(self.cell.file)
        deployment, _ = self.deployer.fresh()
        return deployment.infer([reference.space.make(recipe)])[0]

    def locate(self, recipes: Sequence[Recipe]) -> Location | NotLocated:
        """Locate where in the model failing inputs go wrong; the node alone is saved beside the replay."""
        if self.artifact.exporter == GIVEN:
            reason = "the artifact is a file that was given: only an export is known by the model's modules"
            if not isinstance(self.cell.file.model.tolerance, Closeness):
                reason += ". If it computes in a narrower type by intent: tolerance=Closeness(rtol=…, atol=…)"
            return NotLocated(reason)
        if self.cell.backend.remote:
            return NotLocated("another computer serves the model, and only what it answers is known here")
        built, reference = self.run.models.build(self.cell.file), self.run.models.reference(self.cell.file)
        self.deployer.close()
        reference.release()
        try:
            found = built.ask(
                locate,
                self.artifact,
                [reference.space.make(recipe) for recipe in recipes],
                self._probe,
                optimize=str(self.cell.options.get("optimize", "none")),
                samples=reference.space.samples,
                limit_s=EMULATED_LOCATE_S if self.cell.device.emulated else LOCATE_S,
                report=self.report,
            )
            return self._with_node(found) if isinstance(found, Location) else found
        except HilgateError as error:  # that it is wrong is known, and must be said
            return NotLocated(" ".join(str(error).split()))

    def _probe(self, artifact: Artifact, sets: Sequence[Arrays]) -> list[dict[str, Array]]:
        """Run another artifact in the cell's place; returns its outputs by name, for each set of inputs."""
        run, cell = self.run, self.cell
        board = run.devices.board(cell.device)
        runtime = plan_runtime(cell.device, cell.backend, board.facts, cell.file.model.imports)
        bundle = make_bundle(artifact, cell.backend, runtime)
        deployer = Deployer(
            cell=cell,
            board=board,
            bundle=bundle,
            timeouts=Timeouts(load_s=PROBE_S, call_s=PROBE_S),
            device_time=run.device_time,
        )
        try:
            deployment, load = deployer.fresh()
            return [dict(zip(load.outputs, outputs, strict=True)) for outputs in deployment.infer(sets)]
        finally:
            deployer.close()

    def _with_node(self, location: Location) -> Location:
        """Save the node at which the mismatch begins as a replay of its own, if it is at fault by itself."""
        if (case := location.case) is None:
            return location
        name = f"{REPLAY}/{self.cell.id}/node"
        facts = self._facts(f"node {location.node} ({location.operator}): {location.explanation}")
        facts |= {"elementwise": True, "tolerance": OFF_ULPS}
        with work_folder() as folder:
            artifact, target = case.artifact(folder), self.run.evidence.folder / name
            write_replay(target, artifact, dict(case.inputs), [*case.expected], case.found, facts)
        return replace(location, replay=name)

    def _facts(self, what: str) -> dict[str, Any]:
        fingerprint = self.run.evidence[self.cell].fingerprint
        return {
            "cell": self.cell.id,
            "what": what,
            "tolerance": self.cell.file.model.parity_limit,
            "options": dict(self.cell.options),
            **self.cell.device.settings,
            "fingerprint": fingerprint.as_json() if fingerprint else None,
        }
