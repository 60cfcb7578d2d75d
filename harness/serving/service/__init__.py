"""An emulated service: what SageMaker's runtime answers for one endpoint, on this machine, without an account.

settings     which endpoint, of which account, in which region, and its limits
failure      an error as the service tells it: status, name, wording
fault        rules by which calls fail on purpose
issuing      temporary credentials, as STS issues them, and whether one is still good
signature    Signature Version 4, really verified
events       frames of an event stream
streaming    an answer as such a stream, whole or broken
container    what stands behind it: a program with SageMaker's routes of a container
routes       both routes of the runtime, and those of the container
certificate  an authority of its own, and a certificate for loopback
starting     started by a run, as a process of its own, which ends with the run
process      that process

As far as a caller goes that is boto3, curl or hilgate's own client it cannot be told from the service; it need be no
more of a replica than that (docs/remote.md lists what it does not do).
"""
