"""How work flows: plans, nodes and flows."""
