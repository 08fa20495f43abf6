"""Tests of the evidence: stamps, lines, log, receipts and their verifier."""
