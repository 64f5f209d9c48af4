"""The web front: a page to vote on, over gRPC to the other services."""
