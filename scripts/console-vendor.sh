#!/bin/sh
# Brings the libraries of the console into internal/console/assets/vendor: pinned, checked by their digests,
# and with imports that a browser resolves by itself. It needs npm, and is run by whoever changes a version.
set -eu
cd "$(dirname "$0")/.."
to=internal/console/assets/vendor
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# take PACKAGE VERSION FILE AS
take() {
	rm -f "$work"/*.tgz
	file=$(cd "$work" && npm pack --silent "$1@$2")
	grep -q "^$(sha256sum <"$work/$file" | cut -d' ' -f1)  $1@$2\$" "$to/SHA256SUMS" || {
		echo "$1@$2 is not what $to/SHA256SUMS says: $(sha256sum <"$work/$file")" >&2
		exit 1
	}
	mkdir -p "$work/$4.d"
	tar -xzf "$work/$file" -C "$work/$4.d"
	sed -e 's|from"preact/hooks"|from"./hooks.js"|g' -e 's|from"preact"|from"./preact.js"|g' \
		-e 's|from"@preact/signals-core"|from"./signals-core.js"|g' -e '/^\/\/# sourceMappingURL=/d' \
		"$work/$4.d/package/$3" >"$to/$4"
}

take preact 10.29.8 dist/preact.module.js preact.js
take preact 10.29.8 hooks/dist/hooks.module.js hooks.js
take @preact/signals-core 1.14.5 dist/signals-core.module.js signals-core.js
take @preact/signals 2.11.4 dist/signals.module.js signals.js
take htm 3.1.1 dist/htm.module.js htm.js
# Its small form is no module, and defines a global.
take js-yaml 4.3.2 dist/js-yaml.min.js yaml.js
echo 'export const { dump, load } = globalThis.jsyaml;' >>"$to/yaml.js"
echo "$to is up to date"
