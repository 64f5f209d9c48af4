"""Other people's test suites and clients, through the proxy: `make conformance`; the quick ones in `make test` too."""
