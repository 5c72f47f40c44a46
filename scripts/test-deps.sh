#!/usr/bin/env bash
# Installs what the tests need and this machine lacks: the servers of PostgreSQL,
# MariaDB and OpenSSH and PgBouncer, which the tests start for themselves in temporary directories,
# promtool (in the package prometheus), which checks the alert rules, Python and Node,
# in which plugins of the examples are written, a C compiler for the race detector,
# and valgrind, which counts instructions. It does nothing
# when all is there. Where it may not install, it says what to install, and fails
# if tests could not run.
set -euo pipefail

have_postgresql() {
	compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
		compgen -G '/usr/pgsql-*/bin/initdb' >/dev/null ||
		command -v initdb >/dev/null
}

have_mariadb() {
	PATH="$PATH:/usr/sbin:/usr/local/sbin:/usr/libexec" command -v mariadbd >/dev/null
}

have_pgbouncer() {
	PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v pgbouncer >/dev/null
}

have_sshd() {
	PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v sshd >/dev/null
}

have_promtool() {
	command -v promtool >/dev/null
}

have_python() {
	command -v python3 >/dev/null
}

have_node() {
	command -v node >/dev/null
}

have_compiler() {
	command -v "${CC:-gcc}" >/dev/null && [[ -e /usr/include/stdlib.h || "$(uname -s)" != Linux ]]
}

have_valgrind() {
	command -v valgrind >/dev/null || [[ "$(uname -sm)" != "Linux x86_64" ]]
}

missing=()
have_postgresql || missing+=(postgresql)
have_mariadb || missing+=(mariadb-server)
have_pgbouncer || missing+=(pgbouncer)
have_sshd || missing+=(openssh-server)
have_promtool || missing+=(prometheus)
have_python || missing+=(python3)
have_node || missing+=(nodejs)
have_compiler || missing+=(gcc libc6-dev)
have_valgrind || missing+=(valgrind)
if [[ ${#missing[@]} -eq 0 ]]; then
	exit 0
fi

as_root=()
if [[ $EUID -ne 0 ]]; then
	as_root=(sudo -n)
fi
if ! command -v apt-get >/dev/null || ! "${as_root[@]}" true 2>/dev/null; then
	echo "The tests need packages that this script may not install here. Run this, or your system's equivalent:" >&2
	echo "    sudo apt-get install --no-install-recommends ${missing[*]}" >&2
	if have_postgresql && have_mariadb && have_pgbouncer && have_sshd && have_promtool && have_python && have_node; then
		echo "Without a C compiler the tests run, but without the race detector; without valgrind no instructions are counted." >&2
		exit 0
	fi
	exit 1
fi

exec "$(dirname "$0")"/apt-install.sh "${missing[@]}"
