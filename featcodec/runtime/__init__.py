"""Two machines: an edge server of tails, and clients that hold heads."""
