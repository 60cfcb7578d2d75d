"""The option --fingerprint, which commands that pin host keys share."""

from __future__ import annotations

import re

import click

FORM = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?")


class Fingerprint(click.ParamType):  # type: ignore[type-arg]  # generic only in the newest click
    """A host key's fingerprint, as ssh-keygen -l prints it."""

    name = "fingerprint"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text itself; refuse one of a form that no host could ever show."""
        if not FORM.fullmatch(value.strip()):
            self.fail(f"{value!r} is none: wanted SHA256: and 43 characters, as ssh-keygen -lf prints it", param, ctx)
        return value.strip()


fingerprint_option = click.option(
    "--fingerprint",
    "fingerprints",
    multiple=True,
    type=Fingerprint(),
    metavar="SHA256:…",
    help="A host key that is expected on the way: it is pinned without a question. Repeatable, one a host.",
)
