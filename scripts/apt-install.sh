#!/usr/bin/env bash
# Installs Debian packages, as `apt-install.sh PACKAGE...`, as root or by sudo. The
# services in them are not started: nobody here has asked for those.
set -euo pipefail

as_root=()
if [[ $EUID -ne 0 ]]; then
	as_root=(sudo -n)
fi

policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
	trap '"${as_root[@]}" rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
	"${as_root[@]}" chmod 755 "$policy"
fi

echo "Installing: $* (their services are not started)"
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0)
"${apt[@]}" update
"${apt[@]}" install --no-install-recommends "$@"
