"""The catalogue service. Knows nothing of votes or of its clients."""
