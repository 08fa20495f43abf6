"""Ways to act on real systems, one file each; found by the catalogue, imported by nobody else."""
