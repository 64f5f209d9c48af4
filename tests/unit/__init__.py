"""Tests that start no cluster."""
