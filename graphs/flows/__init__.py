"""The flows: graphs of LangGraph, one file each, that reads as its own diagram.

Called by the worker, which compiles a flow once per process.
"""
