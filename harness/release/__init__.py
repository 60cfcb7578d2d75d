"""The release: whether evidence lets a bundle onto the competition robot, laid out, signed, verified without us.

policy        gate.toml: which evidence a release takes, where it may go, who signs
refusal       a reason not to release, and what would satisfy it
repository    a commit's files, by git's own objects; checkout, a copy of a commit to read model files in
committed     model and device files as they were committed (committed_file, committed_baseline), and the limits that
              follow from them (committed_limits); cell_files, what a cell says beside what these say
rejudge       a cell's checks made again, and judged by the limits that count now; of made_again (what each metric's
              finding follows from), made_of_samples, rebuilt (the cell's files and measurement) and differences
conditions    what a policy asks of evidence (run_conditions, cell_conditions)
parts         a bundle's parts, collected from the cache by their hashes
layout        the folder of a release, and the texts in it
sums          SHA256SUMS
attestation   what is signed of a release
gate, verify  the two commands
"""
