"""The node: turns pods that are bound to it into processes, and reports what became of them.

    kubelet.py    which pods should run here → one worker each; the node's answers to the API server
    pod.py        one pod from first container to last signal
    container.py  one container: start, watch, restart with back-off, stop
    child.py      one process in a session of its own
    probes.py, checks.py   when to ask whether a container is well, and how
    env.py, volumes.py     what a process finds: environment, files
    logs.py, metrics.py    what it said, what it used
    status.py     pure: what is known of the containers → pod status as Kubernetes words it
    runtime.py    what all of these share

A container here has no namespaces of its own: it sees the machine's files and its user. Only addresses,
environment, working folder and life are the pod's.
"""
