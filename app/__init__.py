"""Entry points of Countersign: the HTTP API, the command line, the worker process, the demo."""
