"""The tests: unit (no processes of the lab), local (the embedded cluster)."""
