#!/usr/bin/env bash
# Runs a command with a Docker engine and docker-compose (or `docker compose`):
#
#     compose-engine.sh COMMAND...
#
# An engine that runs is used. Else Debian's packages docker.io and docker-compose
# are installed where they are missing, and dockerd is started as root in network,
# process and mount namespaces of its own, with its images in a temporary directory:
# its ports cannot meet those of this machine, it reaches no registry, and nothing
# of it is left when the command has ended, however it ends. The command runs in
# the same namespaces, with OWN_ENGINE=1.
#
# Exit code 3 says that there is no engine and none can be had; the line before it
# says why.
set -euo pipefail

cannot() {
	echo "compose-test: NOT RUN: $*" >&2
	exit 3
}

have_compose() { docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null; }

as_root=()
if [[ $EUID -ne 0 ]]; then
	as_root=(sudo -n)
fi

# serve runs as the first process of the namespaces: when it ends, so does all else.
serve() {
	local dir=$1
	shift
	ip link set lo up
	export DOCKER_HOST=unix://$dir/docker.sock OWN_ENGINE=1
	dockerd --host "$DOCKER_HOST" --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/pid" \
		--log-level warn >"$dir/log" 2>&1 &
	local engine=$!
	until docker version >/dev/null 2>&1; do
		if ! kill -0 "$engine" 2>/dev/null; then
			cannot "dockerd does not start here: $(grep -v level=warning "$dir/log" | tail -n 1)"
		fi
		sleep 0.1
	done
	local code=0
	"$@" || code=$?
	kill "$engine"
	wait "$engine" || true
	return "$code"
}

if [[ ${1-} == --serve ]]; then
	shift
	serve "$@"
	exit
fi

if docker version >/dev/null 2>&1; then
	have_compose || cannot "an engine runs here, but there is neither 'docker compose' nor docker-compose"
	exec "$@"
fi

"${as_root[@]}" true 2>/dev/null || cannot "no engine runs here, and only root may start one (this is $(id -un), without sudo)"
missing=()
command -v dockerd >/dev/null || missing+=(docker.io)
command -v docker-compose >/dev/null || missing+=(docker-compose)
command -v ip >/dev/null || missing+=(iproute2)
if [[ ${#missing[@]} -gt 0 ]]; then
	command -v apt-get >/dev/null || cannot "no engine runs here, and there is no apt-get to install ${missing[*]} with"
	"$(dirname "$0")"/apt-install.sh "${missing[@]}" || cannot "no engine runs here, and ${missing[*]} could not be installed (see above)"
fi

dir=$(mktemp -d)
trap '"${as_root[@]}" rm -rf "$dir"' EXIT
"${as_root[@]}" unshare --net --mount --pid true 2>/dev/null || cannot "no engine runs here, and this machine allows no namespaces for one"
"${as_root[@]}" env PATH="$PATH" HOME="$HOME" unshare --net --mount --pid --mount-proc --fork --kill-child \
	"$(readlink -f "$0")" --serve "$dir" "$@"
