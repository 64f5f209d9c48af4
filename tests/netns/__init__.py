"""The proxy between real network namespaces, behind real redirect rules. Needs root."""
