"""One form for all that the lab reports: JSON by one schema, and a picture. Knows verdicts; nothing of clusters.

model     Report ↔ JSON; docs/report.md describes the fields, schema.json checks them
picture   a bar per pod for a terminal of 80 columns
"""

from lab.report.model import SCHEMA, Claim, Latency, Report, Sources
from lab.report.picture import picture, side_by_side

__all__ = ["SCHEMA", "Claim", "Latency", "Report", "Sources", "picture", "side_by_side"]
