#!/usr/bin/env bash
# Makes stand-ins for the official images that the compose files name, for a
# machine that reaches no image registry: from the local Go toolchain and module
# cache, the nats-server that go.mod names, and Debian's packages of PostgreSQL,
# Prometheus and busybox. Images that are there already stay.
#
# usage: compose-standins.sh DOCKER...   (the docker command, with its options)
set -euo pipefail
cd "$(dirname "$0")/.."
docker=("$@")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# libraries ROOT PROGRAM... copies the shared libraries of programs.
libraries() {
	local root=$1 lib
	shift
	ldd "$@" 2>/dev/null | awk '/=> \//{print $3} /^\t\/lib/{print $1}' | sort -u | while read -r lib; do
		mkdir -p "$root$(dirname "$lib")"
		cp -L "$lib" "$root$lib"
	done
}

# base ROOT makes a root directory with a shell and the usual small commands.
base() {
	mkdir -p "$1"/{bin,etc,tmp,usr/bin,run}
	chmod 1777 "$1/tmp"
	cp /bin/busybox "$1/bin/busybox"
	local name
	for name in sh wget mkdir ls cat chown chmod rm id; do
		ln -sf busybox "$1/bin/$name"
	done
	printf 'root:x:0:0::/root:/bin/sh\npostgres:x:70:70::/var/lib/postgresql:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\nnonroot:x:65532:65532::/:/bin/sh\n' >"$1/etc/passwd"
	printf 'root:x:0:\npostgres:x:70:\nnobody:x:65534:\nnonroot:x:65532:\n' >"$1/etc/group"
	printf 'hosts: files dns\n' >"$1/etc/nsswitch.conf"
}

# image NAME ROOT DOCKERFILE-LINES makes an image unless there is one.
image() {
	tar -C "$2" -c . >"$work/root.tar"
	mkdir -p "$work/context"
	mv "$work/root.tar" "$work/context/"
	printf 'FROM scratch\nADD root.tar /\n%b' "$3" >"$work/context/Dockerfile"
	DOCKER_BUILDKIT=0 "${docker[@]}" build -q -t "$1" "$work/context" >/dev/null
	rm -rf "$2" "$work/context"
	echo "compose-standins: made $1"
}

missing() { ! "${docker[@]}" image inspect "$1" >/dev/null 2>&1; }

if missing golang:1.26; then
	root=$work/go
	base "$root"
	mkdir -p "$root/usr/local" "$root/modules"
	cp -r "$(go env GOROOT)" "$root/usr/local/go"
	go mod download
	cp -r "$(go env GOMODCACHE)/cache/download" "$root/modules/download"
	image golang:1.26 "$root" 'ENV PATH=/usr/local/go/bin:/bin GOTOOLCHAIN=local GOPROXY=file:///modules/download GONOSUMDB=* GOFLAGS=-buildvcs=false\n'
fi
if missing gcr.io/distroless/static-debian12:nonroot; then
	root=$work/static
	mkdir -p "$root"/{etc/ssl/certs,tmp}
	chmod 1777 "$root/tmp"
	printf 'root:x:0:0::/root:/sbin/nologin\nnonroot:x:65532:65532::/:/sbin/nologin\n' >"$root/etc/passwd"
	cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
	image gcr.io/distroless/static-debian12:nonroot "$root" 'USER 65532\n'
fi
if missing nats:2-alpine; then
	root=$work/nats
	base "$root"
	mkdir -p "$root/usr/local/bin"
	CGO_ENABLED=0 go build -o "$root/usr/local/bin/nats-server" github.com/nats-io/nats-server/v2
	image nats:2-alpine "$root" 'ENTRYPOINT ["/usr/local/bin/nats-server"]\n'
fi
if missing postgres:17; then
	root=$work/postgres
	base "$root"
	bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
	version=$(basename "$(dirname "$bin")")
	mkdir -p "$root/usr/lib/postgresql" "$root/usr/share/postgresql" "$root/var/lib/postgresql/data" "$root/var/run/postgresql" "$root/usr/share/zoneinfo"
	cp -r "/usr/lib/postgresql/$version" "$root/usr/lib/postgresql/"
	cp -r "/usr/share/postgresql/$version" "$root/usr/share/postgresql/"
	cp /usr/share/zoneinfo/UTC "$root/usr/share/zoneinfo/"
	libraries "$root" "$bin/postgres" "$bin/initdb" "$bin/pg_ctl" "$bin/psql" "$bin/pg_isready"
	cat >"$root/usr/bin/entrypoint" <<-END
		#!/bin/sh
		# What the official entrypoint does, as far as the compose files need it.
		set -eu
		bin=/usr/lib/postgresql/$version/bin
		if ! [ -s "\$PGDATA/PG_VERSION" ]; then
			\$bin/initdb -D "\$PGDATA" -U "\$POSTGRES_USER" --pwfile="\$POSTGRES_PASSWORD_FILE" -A scram-sha-256 --auth-local=trust --locale=C --encoding=UTF8
			echo 'host all all all scram-sha-256' >>"\$PGDATA/pg_hba.conf"
			\$bin/pg_ctl -D "\$PGDATA" -w -o "-c listen_addresses=''" start
			\$bin/psql -U "\$POSTGRES_USER" -d postgres -c "create database \$POSTGRES_DB"
			\$bin/pg_ctl -D "\$PGDATA" -w stop
		fi
		exec \$bin/postgres -D "\$PGDATA" -c listen_addresses='*'
	END
	chmod 755 "$root/usr/bin/entrypoint"
	for name in psql pg_isready; do ln -s "/usr/lib/postgresql/$version/bin/$name" "$root/usr/bin/$name"; done
	chown -R 70:70 "$root/var/lib/postgresql" "$root/var/run/postgresql"
	image postgres:17 "$root" 'USER postgres\nENV PATH=/usr/bin:/bin\nENTRYPOINT ["/usr/bin/entrypoint"]\n'
fi
if missing prom/prometheus:v3.5.0; then
	root=$work/prometheus
	base "$root"
	mkdir -p "$root/bin" "$root/prometheus"
	cp /usr/bin/prometheus "$root/bin/prometheus"
	libraries "$root" /usr/bin/prometheus
	chown 65534:65534 "$root/prometheus"
	image prom/prometheus:v3.5.0 "$root" 'USER nobody\nENTRYPOINT ["/bin/prometheus"]\n'
fi
