"""The lab on a real cluster in docker. Needs docker, kind and a node image; skips name what is missing."""
