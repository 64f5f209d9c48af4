"""Counts what pods and sidecars did during a window: two scrapes through the API server → a Sample.

    scrape   Prometheus text of a pod → Counters
    sample   Counters at the start and the end of a window → Sample
    window   finds the pods of a Service, scrapes all at once, waits, scrapes again

Knows the Kubernetes API and nothing of who provides the cluster; draws no conclusion.
"""

from lab.measure.sample import RouteStat, Sample
from lab.measure.scrape import GRPC, Counters, MetricNames
from lab.measure.window import Window, measure

__all__ = ["GRPC", "Counters", "MetricNames", "RouteStat", "Sample", "Window", "measure"]
