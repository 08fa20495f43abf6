"""Evidence: stamps of governed rows, the log of a tenant and its signed heads, exports, receipts, and their verifier.

The journal itself is kept by `memory.governance.journal`; `docs/journal.md` is the format that a stranger can check.
"""
