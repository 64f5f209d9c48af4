"""The gRPC balance lab: clusters, deployment, measuring, verdicts. `lab.cli` is the command, `docs/` the manual."""

__version__ = "0.1.0"
