"""What every process of the app shares: options, metrics, faults, admin port, server. Knows no candidate."""
