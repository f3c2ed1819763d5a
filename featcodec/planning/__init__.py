"""Around the codec: what a model costs and where to cut it."""
