"""The proxy as a process, on real sockets, with real gRPC clients and servers and with hostile peers."""
