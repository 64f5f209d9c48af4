# The sidecar: one static binary and nothing else, as nobody.
FROM scratch
COPY ewma-proxy /ewma-proxy
USER 65532:65532
ENTRYPOINT ["/ewma-proxy"]
