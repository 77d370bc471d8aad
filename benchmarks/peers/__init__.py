"""What `benchmarks/peers.py` compares: the tools, and the workloads they are given."""
