"""hilgate key: a key pair to sign releases with."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Make a key pair to sign releases with.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--no-passphrase", is_flag=True, help="Do not ask for one: whoever has the file can sign.")
def command(file: Path, no_passphrase: bool) -> None:
    """Make a key pair to sign with: the private key in FILE, the public one in FILE.pub. No file is ever replaced.

    FILE is encrypted with a passphrase, which is asked for on the terminal, twice. The key is for ECDSA on the curve
    P-256 (PKCS#8 in PEM, mode 0600), which openssl, cosign and model_signing take, too.
    """
    from ..making_key import make

    make(file, ask=not no_passphrase)
