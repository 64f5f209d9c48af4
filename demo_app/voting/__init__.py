"""The voting service. Knows nothing of its clients."""
