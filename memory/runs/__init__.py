"""Run rows and leases, the queue, checkpoints, results by handle, transcripts, and the ending of a run.

Owns `runs requests results result_rows checkpoint* transcripts step_outcomes model_calls`. Called by the worker, the
flow, the gateway and the API.
"""
