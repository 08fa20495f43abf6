"""Background work of the workers and its log.

Owns `duties`. Called by the worker's housekeeping and by `doctor`.
"""
