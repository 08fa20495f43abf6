"""Tests of `memory.evidence`."""
