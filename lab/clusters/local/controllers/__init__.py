"""Control loops: each watches some resources and brings one kind of object to what its spec asks for.

Level-triggered (https://kubernetes.io/docs/concepts/architecture/controller/): an event only says which
object to look at again. `queue.py` is the loop they share. They know the store, and nothing of processes or
sockets.
"""
