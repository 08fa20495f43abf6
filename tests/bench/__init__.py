"""Benchmarks of the machinery, side by side in one go; `python -m tests.bench` prints them."""
