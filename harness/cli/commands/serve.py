"""hilgate serve: a model over HTTP, from this machine, by the Open Inference Protocol."""

from __future__ import annotations

from pathlib import Path

import click

from ..project import Project


@click.command(short_help="Serve a model over HTTP, from this machine.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--backend", required=True, metavar="NAME", help="The backend that runs it, such as onnxruntime.")
@click.option("--device", default="local", metavar="NAME", help="This machine's device file (default: local).")
@click.option("--bind", default="127.0.0.1", metavar="ADDRESS", help="Where callers connect (default: 127.0.0.1).")
@click.option("--port", default=8000, type=click.IntRange(0, 65535), metavar="N", help="Its port (8000); 0: any.")
@click.option(
    "--max-request-bytes",
    default=6_291_456,
    type=click.IntRange(1, 1 << 30),
    metavar="N",
    help="The most that a request may have (default: 6291456, SageMaker's).",
)
@click.pass_obj
def command(
    project: Project, model: Path, backend: str, device: str, bind: str, port: int, max_request_bytes: int
) -> None:
    """Serve a model file's model until Ctrl-C or SIGTERM: the computer beside the robot.

    It speaks the Open Inference Protocol, version 2, over HTTP, in JSON and with binary tensors, and SageMaker's /ping
    and /invocations. Nobody but this machine reaches it unless --bind names an address: whoever does may use the model,
    for there is neither a password nor encryption.
    """
    from ...host.optional import check_cloud

    check_cloud("hilgate serve")

    from ...bundle.lock_file import use_project
    from ...measure import known_metrics
    from ...serving.limits import ServingLimits
    from ...serving.server import serve
    from ..text import progress_lines, say

    use_project(project.folder.parent)
    with progress_lines("  {} …", err=True):
        serve(
            model,
            project.device(device),
            backend,
            [*known_metrics().values()],
            address=bind,
            port=port,
            limits=ServingLimits(request_bytes=max_request_bytes),
            say=say,
            tell=lambda line: say(line, err=True),
        )
