"""What a device's process signs its calls with: given to it over its own channel, and renewed between requests."""

from __future__ import annotations

from collections.abc import Callable

from ..agent.remote.credentials import Credentials
from ..protocol import asked
from .session import Session


def give_credentials(session: Session, credentials: Credentials) -> None:
    """Give the process credentials, in place of what it had.

    They travel in a frame of their own, which nobody keeps, and in no other text.

    Raises:
        AgentFailure: it takes none; the message says nothing of them.
        DeploymentError: the agent died, hung or sent garbage.
    """
    header = {"op": "credentials", **credentials.header()}
    try:
        session.exchange.call(header, [], session.timeouts.start_s, asked.NOTHING)
    except BaseException as error:  # noqa: BLE001  # whatever it is, Ctrl-C, too: it is raised again
        # Its traceback goes through what has sent the frame, whose bytes pytest would show, and --showlocals.
        error.__cause__ = error.__context__ = None
        raise error.with_traceback(None) from None


def use_credentials(session: Session, supply: Callable[[], Credentials]) -> None:
    """Give the process credentials before each request, whenever there are others than those that it has.

    Args:
        session: the process's.
        supply: returns those that are valid now, and are for a while.
    """
    given: Credentials | None = None

    def renew() -> None:
        nonlocal given
        current = supply()
        if current != given:
            give_credentials(session, current)
            given = current

    session.renew = renew
