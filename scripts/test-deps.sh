#!/usr/bin/env bash
# Installs what the tests need and this machine lacks: servers of databases and of other
# targets, which the tests start for themselves in temporary directories, promtool (in the
# package prometheus), which checks the alert rules, Python and Node, in which plugins of the
# examples are written, sqlite3, which documents use, chromium and axe-core for the console,
# a C compiler for the race detector, and valgrind, which counts instructions. It does nothing
# when all is there. Where it may not install, it says what to install, and fails if tests
# could not run.
set -euo pipefail
PATH="$PATH:/usr/sbin:/usr/local/sbin:/usr/libexec"

# Debian's packages without which tests fail, and those without which some do less.
needed=(postgresql mariadb-server pgbouncer redis-server openssh-server radicale xandikos rabbitmq-server mosquitto prometheus python3 nodejs sqlite3 chromium)
helpful=(gcc libc6-dev valgrind)

# What looks for what keeps people out of the console's pages, from npm, into a cache.
axe_version=4.14.1
axe_sum=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
axe_dir=${XDG_CACHE_HOME:-$HOME/.cache}/extsync-tests/axe-core-$axe_version
[[ -e $axe_dir/axe.min.js ]] || needed+=(npm)

# fetch_axe brings axe-core into the cache, if it is not there, and checks its digest.
fetch_axe() {
	[[ -e $axe_dir/axe.min.js ]] && return
	echo "Fetching axe-core $axe_version from npm into $axe_dir"
	local work
	work=$(mktemp -d)
	(cd "$work" && npm pack --silent "axe-core@$axe_version" >/dev/null)
	if ! (cd "$work" && echo "$axe_sum  axe-core-$axe_version.tgz" | sha256sum --check --quiet); then
		echo "What npm gives as axe-core $axe_version is not what the tests expect: nothing of it is used." >&2
		rm -rf "$work"
		return 1
	fi
	mkdir -p "$axe_dir"
	tar -xzf "$work/axe-core-$axe_version.tgz" -C "$work" package/axe.min.js
	mv "$work/package/axe.min.js" "$axe_dir/axe.min.js"
	rm -rf "$work"
}

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
	chromium) command -v chromium >/dev/null || command -v google-chrome >/dev/null ;;
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
	fetch_axe
	exit
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
		fetch_axe
	fi
	exit "$fatal"
fi

"$(dirname "$0")"/apt-install.sh "${missing[@]}"
fetch_axe
