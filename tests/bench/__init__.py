"""What the machinery costs, measured side by side in one go; `python -m tests.bench` prints it."""
