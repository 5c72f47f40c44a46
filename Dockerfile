# The three programs in one image: extsync, publisher and connector-worker.
ARG GO_IMAGE=golang:1.26
ARG BASE_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM ${GO_IMAGE} AS build
WORKDIR /src
# Modules change less often than code.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# All in one go: what they share is compiled once.
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/ ./cmd/... ./deploy/compose/receiver
# What containers write to must belong to the user that they run as.
RUN mkdir -p /own/etc/extsync/server /own/etc/extsync/publisher /own/etc/extsync/worker /own/etc/extsync/gateway /own/etc/extsync/admin /own/etc/extsync/signer /own/var/lib/extsync

# The HTTP target of the compose files, for trying out.
FROM ${BASE_IMAGE} AS receiver
COPY --from=build /out/receiver /out/extsync /usr/local/bin/
USER 65532:65532
HEALTHCHECK --interval=5s --timeout=5s --retries=3 CMD ["/usr/local/bin/extsync", "health", "http://127.0.0.1:8080/healthz"]
ENTRYPOINT ["/usr/local/bin/receiver"]

FROM ${BASE_IMAGE} AS extsync
LABEL org.opencontainers.image.title="extsync" \
      org.opencontainers.image.description="Keeps the copies that other systems hold at the platform's newest version" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/extsync /out/publisher /out/connector-worker /usr/local/bin/
COPY --from=build --chown=65532:65532 /own/ /
USER 65532:65532
# For connector-worker run --telemetry-listen=127.0.0.1:9464 or wider. What listens
# elsewhere, or runs to its end, sets or switches off its own check.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["/usr/local/bin/extsync", "health", "http://127.0.0.1:9464/healthz"]
ENTRYPOINT ["/usr/local/bin/connector-worker"]
CMD ["run", "--telemetry-listen=0.0.0.0:9464"]
