"""The voting app: a small real gRPC application whose traffic the lab balances. Knows no lab and no proxy."""
