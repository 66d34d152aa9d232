# The image of a server. Build: docker build -t morningai .
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags=-s -o /morningai ./cmd/morningai
# The volumes begin as these folders: the server's user owns them.
RUN install -d -m 700 /layout/data /layout/docs && install -d -m 1777 /layout/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /morningai /usr/local/bin/morningai
COPY --from=build --chown=65532:65532 /layout/tmp /tmp
COPY --from=build --chown=65532:65532 /layout/data /data
COPY --from=build --chown=65532:65532 /layout/docs /docs
USER 65532:65532
# /data holds the tasks, or the journal: it outlives the container.
VOLUME /data
ENV MORNINGAI_DATA=/data MORNINGAI_DOCS=/docs MORNINGAI_LOG_FORMAT=json
# Inside of a container loopback reaches nobody. Without tokens the server refuses
# to start on this address: give MORNINGAI_TOKEN_FILE.
ENV MORNINGAI_LISTEN=0.0.0.0:8080
EXPOSE 8080
# SIGTERM drains for MORNINGAI_GRACE (25 s): give it longer than that.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/usr/local/bin/morningai", "health"]
ENTRYPOINT ["/usr/local/bin/morningai"]
CMD ["serve"]
