"""The release: whether evidence lets a bundle onto the competition robot, laid out, signed, verified without us.

policy        gate.toml: which evidence a release takes, where it may go, who signs
committed     model and device files as they were committed
rejudge       a cell's checks made again, and judged by the limits that count now; of made_again (what each metric's
              finding follows from), made_of_samples, rebuilt (the cell's files and measurement) and differences
conditions    what a policy asks of evidence
parts         a bundle's parts, collected from the cache by their hashes
layout        the folder of a release, and the texts in it
sums          SHA256SUMS
attestation   what is signed of a release
gate, verify  the two commands
"""
