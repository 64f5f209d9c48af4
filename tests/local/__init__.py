"""Tests against the embedded cluster: real processes, no root, no Docker."""
