"""What agents may do, and the one gateway through which they do it."""
