"""AWS, as far as a run needs it on the host: who the user is there, and what a device may be given to call with.

chain        the host's own credentials, by AWS's usual chain, and clients of AWS that end in bounded time
policy       what the temporary credentials allow: calls of one endpoint, and nothing else
credentials  Supplier: temporary credentials from STS, renewed before they end
explaining   what AWS, or what finds credentials here, said: as an error that tells what to do

botocore is imported here and nowhere above; it comes with hilgate[cloud].
"""

from .credentials import Granted, Supplier, grant

__all__ = ["Granted", "Supplier", "grant"]
