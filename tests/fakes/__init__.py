"""Stand-ins for the outside world, replaced at its edge only."""
