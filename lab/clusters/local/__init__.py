"""The provider `local`: a small Kubernetes on one Linux machine, without root and without Docker.

A pod's containers are processes, a pod's address is one of 127.0.0.0/8, a Service is a listener that hands
each connection to one pod. Everything lives in one daemon with one asyncio loop:

    provider.py    up, down, status: what the lab calls (outside the daemon)
    daemon.py      puts the parts below together
    api/           the API server
    controllers/   Deployment → ReplicaSet → Pod, EndpointSlices, garbage collection, scheduler
    kubelet/       pods → processes: probes, restarts, logs, metrics
    services.py    cluster IP → one ready pod per connection
    dns.py         names → addresses
"""
