"""What the benchmarks share, and the bare programs that they are compared with."""
