#!/usr/bin/env bash
# Makes stand-ins for the official images that the compose files name, for a
# machine that reaches no image registry: from the local Go toolchain, module cache
# and build cache, the nats-server that go.mod names, and Debian's packages of
# PostgreSQL, Prometheus and busybox.
#
#     compose-standins.sh build DIR     makes DIR/*.tar; it needs no engine
#     compose-standins.sh import DIR    makes images of them, unless there are some,
#                                       and says which
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$2

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
	mkdir -p "$1"/{bin,etc,usr/bin,run}
	mkdir -m 1777 "$1/tmp"
	cp "$(command -v busybox)" "$1/bin/busybox"
	local name
	for name in sh wget mkdir ls cat chown chmod rm id; do
		ln -sf busybox "$1/bin/$name"
	done
	printf 'root:x:0:0::/root:/bin/sh\npostgres:x:70:70::/var/lib/postgresql:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\nnonroot:x:65532:65532::/:/bin/sh\n' >"$1/etc/passwd"
	printf 'root:x:0:\npostgres:x:70:\nnobody:x:65534:\nnonroot:x:65532:\n' >"$1/etc/group"
	printf 'hosts: files dns\n' >"$1/etc/nsswitch.conf"
}

# pack ROOT TAR [TAR-OPTION...] packs a root directory, and what else is named.
pack() {
	local root=$1 tar=$2
	shift 2
	tar --owner=0 --group=0 -cf "$tar" -C "$root" . "$@"
	rm -rf "$root"
}

build_go() {
	# What the Dockerfile compiles is compiled here first, in the same way, into a
	# cache that holds nothing else and stays on this machine.
	local cache=${XDG_CACHE_HOME:-$HOME/.cache}/extsync-compose root=$dir/go
	GOCACHE=$cache CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o "$dir/programs/" ./cmd/... ./deploy/compose/receiver
	rm -rf "$dir/programs"
	go mod download
	base "$root"
	pack "$root" "$dir/golang.tar" \
		--anchored --exclude=go/test --exclude=go/api --exclude=go/doc \
		-C "$(dirname "$(go env GOROOT)")" --transform "s,^$(basename "$(go env GOROOT)")/,usr/local/go/," "$(basename "$(go env GOROOT)")" \
		-C "$(go env GOMODCACHE)/cache" --transform 's,^download/,modules/,' download \
		-C "$(dirname "$cache")" --transform 's,^extsync-compose/,root/.cache/go-build/,' extsync-compose
}

build_static() {
	local root=$dir/static
	mkdir -p "$root/etc/ssl/certs"
	mkdir -m 1777 "$root/tmp"
	printf 'root:x:0:0::/root:/sbin/nologin\nnonroot:x:65532:65532::/:/sbin/nologin\n' >"$root/etc/passwd"
	cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
	pack "$root" "$dir/static.tar"
}

build_nats() {
	local root=$dir/nats
	base "$root"
	CGO_ENABLED=0 go build -trimpath -o "$root/usr/local/bin/nats-server" github.com/nats-io/nats-server/v2
	pack "$root" "$dir/nats.tar"
}

build_postgres() {
	local root=$dir/postgres bin version
	base "$root"
	bin=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1)
	version=$(basename "$(dirname "$bin")")
	mkdir -p "$root"/usr/{lib,share}/postgresql "$root/var/lib/postgresql/data" "$root/var/run/postgresql" "$root/usr/share/zoneinfo"
	cp -r "/usr/lib/postgresql/$version" "$root/usr/lib/postgresql/"
	cp -r "/usr/share/postgresql/$version" "$root/usr/share/postgresql/"
	cp /usr/share/zoneinfo/UTC "$root/usr/share/zoneinfo/"
	libraries "$root" "$bin"/{postgres,initdb,pg_ctl,psql,pg_isready}
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
	chmod 777 "$root/var/lib/postgresql/data" "$root/var/run/postgresql" # its user here is the engine's business
	pack "$root" "$dir/postgres.tar"
}

build_prometheus() {
	local root=$dir/prometheus
	base "$root"
	mkdir -m 777 "$root/prometheus"
	cp /usr/bin/prometheus "$root/bin/prometheus"
	libraries "$root" /usr/bin/prometheus
	pack "$root" "$dir/prometheus.tar"
}

# image NAME TAR CHANGE... makes an image unless there is one.
image() {
	local name=$1 tar=$2 changes=() change
	shift 2
	if docker image inspect "$name" >/dev/null 2>&1; then
		return
	fi
	for change in "$@"; do changes+=(--change "$change"); done
	docker import "${changes[@]}" "$dir/$tar" "$name" >/dev/null
	echo "$name"
}

case $1 in
build)
	command -v busybox >/dev/null || scripts/apt-install.sh busybox-static
	mkdir -p "$dir"
	build_go
	build_static
	build_nats
	build_postgres
	build_prometheus
	;;
import)
	image golang:1.26 golang.tar 'ENV PATH=/usr/local/go/bin:/bin' 'ENV GOTOOLCHAIN=local' 'ENV GOPROXY=file:///modules' 'ENV GONOSUMDB=*' 'ENV GOFLAGS=-buildvcs=false'
	image gcr.io/distroless/static-debian12:nonroot static.tar 'USER 65532'
	image nats:2-alpine nats.tar 'ENV PATH=/usr/local/bin:/bin' 'ENTRYPOINT ["/usr/local/bin/nats-server"]'
	image postgres:17 postgres.tar 'USER postgres' 'ENV PATH=/usr/bin:/bin' 'ENTRYPOINT ["/usr/bin/entrypoint"]'
	image prom/prometheus:v3.5.0 prometheus.tar 'USER nobody' 'ENTRYPOINT ["/bin/prometheus"]'
	;;
*)
	echo "usage: compose-standins.sh build|import DIR" >&2
	exit 2
	;;
esac
