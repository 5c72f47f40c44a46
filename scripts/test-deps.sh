#!/usr/bin/env bash
# Installs what the tests need and this machine lacks: servers of databases and of other
# targets, which the tests start for themselves in temporary directories, promtool (in the
# package prometheus), which checks the alert rules, Python and Node, in which plugins of the
# examples are written, sqlite3, which documents use, a C compiler for the race detector,
# and valgrind, which counts instructions. It does nothing when all is there. Where it may
# not install, it says what to install, and fails if tests could not run.
set -euo pipefail
PATH="$PATH:/usr/sbin:/usr/local/sbin:/usr/libexec"

# Debian's packages without which tests fail, and those without which some do less.
needed=(postgresql mariadb-server pgbouncer redis-server openssh-server radicale xandikos rabbitmq-server mosquitto prometheus python3 nodejs sqlite3)
helpful=(gcc libc6-dev valgrind)

# have PACKAGE: is what the tests use of a package there, wherever it comes from?
have() {
	case $1 in
	postgresql)
		compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
			compgen -G '/usr/pgsql-*/bin/initdb' >/dev/null ||
			command -v initdb >/dev/null
		;;
	mariadb-server) command -v mariadbd >/dev/null ;;
	openssh-server) command -v sshd >/dev/null ;;
	rabbitmq-server) [[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ]] || command -v rabbitmq-server >/dev/null ;;
	prometheus) command -v promtool >/dev/null ;;
	nodejs) command -v node >/dev/null ;;
	gcc) command -v "${CC:-gcc}" >/dev/null ;;
	libc6-dev) [[ -e /usr/include/stdlib.h || "$(uname -s)" != Linux ]] ;;
	valgrind) command -v valgrind >/dev/null || [[ "$(uname -sm)" != "Linux x86_64" ]] ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

missing=()
fatal=0
for package in "${needed[@]}"; do
	have "$package" || { missing+=("$package"); fatal=1; }
done
for package in "${helpful[@]}"; do
	have "$package" || missing+=("$package")
done
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
	if [[ $fatal -eq 0 ]]; then
		echo "Without a C compiler the tests run, but without the race detector; without valgrind no instructions are counted." >&2
	fi
	exit "$fatal"
fi

exec "$(dirname "$0")"/apt-install.sh "${missing[@]}"
