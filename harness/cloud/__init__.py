"""AWS, as far as a run needs it on the host: who the user is there, and what a device may be given to call with.

chain        the host's own credentials, by AWS's usual chain, and clients of AWS that end in bounded time
policy       what the temporary credentials allow: calls of one endpoint, and nothing else
credentials  Supplier: temporary credentials from STS, renewed before they end
looking      one signed call of an endpoint from this host, for hilgate doctor
explaining   what AWS, or what finds credentials here, said: as an error that tells what to do

botocore is imported here and nowhere above; it comes with hilgate[cloud].
"""

from .credentials import DURATION_S, Granted, Supplier, grant
from .looking import Answered, ask_once

__all__ = ["DURATION_S", "Answered", "Granted", "Supplier", "ask_once", "grant"]
