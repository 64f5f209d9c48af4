"""What `lab up` does, a file per step, each with what it does and how it is undone.

    cluster   the cluster is up
    app       the voting app is deployed, ready and has traffic
    mesh      the clients have the sidecar, or have it no longer
    observe   a window is measured, judged and kept as evidence

All of it goes through the Kubernetes API; only `cluster` knows that providers exist.
"""
