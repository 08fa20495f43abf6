"""The flows: one file each with `build`, where alone edges are drawn."""
