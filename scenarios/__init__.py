"""One folder per claim: README, settings, a numeric claim. No code; `lab scenario run NAME` runs it."""
