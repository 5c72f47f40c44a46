#!/usr/bin/env bash
# Proves both compose files for real: runs what README.md says about them, adds
# workers, kills workers and brokers with SIGKILL while updates are published, and
# sees all updates arrive at both targets. It uses the engine that runs here, or
# one of its own (see compose-engine.sh), and stand-ins for the official images
# where no registry is reached. It leaves nothing behind.
#
# Exit code 3: there is no engine, and none can be had. It says why.
set -euo pipefail
cd "$(dirname "$0")/.."

keys=40     # how many keys each channel gets
patience=90 # seconds until something must have happened

# The first pass sees that there can be an engine, builds what needs the network,
# and has itself run with the engine.
if [[ -z ${STANDINS-} ]]; then
	scripts/compose-engine.sh true
	STANDINS=$(mktemp -d)
	trap 'rm -rf "$STANDINS"' EXIT
	if ! docker version >/dev/null 2>&1; then # it will be one of our own, which reaches no registry
		scripts/compose-standins.sh build "$STANDINS"
	fi
	scripts/compose-engine.sh env STANDINS="$STANDINS" "$PWD/scripts/compose-test.sh"
	exit
fi

say() { printf 'compose-test: %3ds  %s\n' "$SECONDS" "$*"; }
fail() {
	say "FAILED: $*" >&2
	exit 1
}

log=$STANDINS/log
made=()
export COMPOSE_PROJECT_NAME=extsync-compose-test
projects=("$COMPOSE_PROJECT_NAME" extsync-cluster)
if ! docker compose version >/dev/null 2>&1; then
	docker() { if [[ ${1-} == compose ]]; then docker-compose "${@:2}"; else command docker "$@"; fi; }
	export -f docker
fi
if ! docker buildx version >/dev/null 2>&1; then
	export DOCKER_BUILDKIT=0
fi

single() { docker compose "$@"; }
cluster() { docker compose -p extsync-cluster -f docker-compose.cluster.yml "$@"; }

clean_up() {
	local code=$?
	trap - EXIT
	if [[ $code -ne 0 ]]; then
		tail -n 60 "$log" || true
		for stack in single cluster; do
			echo "--- $stack"
			$stack ps || true
			$stack logs --no-color --tail=60 || true
		done
	fi
	single down -v --remove-orphans >/dev/null 2>&1 || true
	cluster down -v --remove-orphans >/dev/null 2>&1 || true
	if [[ -z ${OWN_ENGINE-} && ${#made[@]} -gt 0 ]]; then
		docker rmi "${made[@]}" extsync extsync-receiver >/dev/null || true
	fi
	exit "$code"
}

# readme PLAN runs the blocks of README.md below the comment "test: PLAN".
readme() {
	local text
	text=$(awk -v plan="<!-- test: $1 -->" '
		inside && $0 == "```" { inside = 0 }
		inside
		!inside && above == plan && $0 == "```sh" { inside = 1 }
		{ above = $0 }' README.md)
	[[ -n $text ]] || fail "README.md has no block with the plan '$1'"
	bash -euo pipefail -c "$text" >>"$log" 2>&1 || fail "README.md, the blocks with the plan '$1'"
}

# eventually WHAT COMMAND... asks until the command succeeds.
eventually() {
	local what=$1 until=$((SECONDS + patience))
	shift
	until "$@" >/dev/null 2>&1; do
		[[ $SECONDS -lt $until ]] || fail "not in ${patience}s: $what"
		sleep 0.5
	done
	say "$what"
}

token=$(cat deploy/compose/publisher_token)

# publish VERSION publishes a version of each key on both channels, and repeats what is
# not answered.
publish() {
	local channel key
	for channel in appointment_calendar erp_db; do
		for key in $(seq "$keys"); do
			curl -sS -o /dev/null --fail --max-time 20 --retry 60 --retry-delay 1 --retry-all-errors \
				-H "Authorization: Bearer $token" --json "{\"key\":\"k-$key\",\"version\":$1,\"payload\":{\"n\":$1}}" \
				"http://127.0.0.1:8080/v1/channels/$channel/updates" 2>>"$log" || return
		done
	done
}

# arrived STACK VERSION: both targets hold the version of each key.
arrived() {
	local key
	[[ $($1 exec -T postgres psql -U extsync -Atc "select count(*) from appointments where key like 'k-%' and content->>'n' = '$2'") == "$keys" ]] || return
	for key in $(seq "$keys"); do
		curl -sS --fail "http://127.0.0.1:8081/keys/k-$key" | grep -q "\"version\":\"$2\"" || return
	done
}

# crash CONTAINER ends its process as a crash would: the restart policy is to bring
# it back. Where that process cannot be reached from here it is started again.
crash() {
	local pid
	pid=$(docker inspect -f '{{.State.Pid}}' "$1")
	kill -9 "$pid" 2>/dev/null || sudo -n kill -9 "$pid" 2>/dev/null || { docker kill "$1" && docker start "$1"; } >>"$log"
}

restarted() { [[ $(docker inspect -f '{{.State.Running}}' "$1") == true ]] && [[ $(docker inspect -f '{{.State.Pid}}' "$1") != "$2" ]]; }
healthy() { [[ $(docker inspect -f '{{.State.Health.Status}}' "$1") == healthy ]]; }
serves() { healthy "$($1 ps -q publisher)"; }
true_in_prometheus() { curl -sS --fail http://127.0.0.1:9090/api/v1/query --data-urlencode "query=$1" | grep -q '"value"'; }

# survives STACK WORKER BROKER kills both while a version is published.
survives() {
	local stack=$1 worker=$2 broker=$3 version=$4 publishing pids
	pids=("$(docker inspect -f '{{.State.Pid}}' "$worker")" "$(docker inspect -f '{{.State.Pid}}' "$broker")")
	publish "$version" &
	publishing=$!
	crash "$worker"
	crash "$broker"
	wait "$publishing" || fail "an update was not taken, in 60 tries"
	say "published version $version while a worker and a broker were killed"
	eventually "all of version $version is at both targets" arrived "$stack" "$version"
	eventually "the worker runs again" restarted "$worker" "${pids[0]}"
	eventually "the broker runs again" restarted "$broker" "${pids[1]}"
}

for project in "${projects[@]}"; do
	if [[ -n $(docker ps -aq --filter "label=com.docker.compose.project=$project") ]]; then
		echo "compose-test: there are containers of a project '$project': remove them first ('docker compose -p $project down')" >&2
		exit 1
	fi
done
trap clean_up EXIT
: >"$log"

if [[ -n ${OWN_ENGINE-} ]] || ! timeout 60 docker pull -q gcr.io/distroless/static-debian12:nonroot >>"$log" 2>&1; then
	[[ -e $STANDINS/golang.tar ]] || scripts/compose-standins.sh build "$STANDINS"
	mapfile -t made < <(scripts/compose-standins.sh import "$STANDINS")
	rm -f "$STANDINS"/*.tar
	say "made stand-ins for ${made[*]}"
fi

say "docker-compose.yml: as README.md says"
readme compose
say "built, started, published, asked"
eventually "Prometheus sees four workers that are ready" true_in_prometheus 'sum(up{job="connector-worker"}) == 4 and sum(extsync_ready) == 4'
eventually "Prometheus sees the publisher" true_in_prometheus 'up{job="publisher"} == 1 and on() sum(extsync_updates_published_total) >= 2'
rules=$(curl -sS --fail http://127.0.0.1:9090/api/v1/rules | grep -o '"name":"Extsync' | wc -l)
[[ $rules -gt 0 && $rules -eq $(grep -c -- '- alert:' deploy/prometheus/alerts.yml) ]] || fail "Prometheus has $rules alert rules"
say "Prometheus has $rules alert rules"
publish 1
survives single "$(single ps -q connector-worker | head -n 1)" "$(single ps -q nats)" 2
readme 'compose end'

say "docker-compose.cluster.yml: as README.md says"
readme 'compose cluster'
eventually "the publisher is ready" serves cluster
streams=$(cluster exec -T nats-1 wget -q -O - 'http://127.0.0.1:8222/jsz?accounts=1&streams=1&config=1' | grep '"num_replicas"' | sort | uniq -c)
[[ $streams == *'"num_replicas": 3'* && $(wc -l <<<"$streams") -eq 1 ]] || fail "streams by replicas: $streams"
say "every stream has three replicas:$(grep -o '^ *[0-9]*' <<<"$streams") streams"
publish 1
survives cluster "$(cluster ps -q connector-worker | head -n 1)" "$(cluster ps -q nats-2)" 2
if cluster logs --no-color publisher connector-worker | grep -i 'permissions violation'; then
	fail "a process was refused something at the broker"
fi
readme 'compose cluster end'
say "passed"
