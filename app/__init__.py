"""How the world reaches us: HTTP, the command line, the worker process."""
