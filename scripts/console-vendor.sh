#!/bin/sh
# Brings the libraries of the console into internal/console/assets/vendor: pinned, and checked by their
# digests. What every page uses of them becomes one module, ui.js: a browser fetches one file sooner than
# five. It needs npm and Go, and is run by whoever changes a version or uses more of a library.
set -eu
cd "$(dirname "$0")/.."
to=internal/console/assets/vendor
bundler=github.com/evanw/esbuild/cmd/esbuild@v0.28.2 # Go's checksum database vouches for it
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# take PACKAGE VERSION: unpacks it where the bundler finds it.
take() {
	rm -f "$work"/*.tgz
	file=$(cd "$work" && npm pack --silent "$1@$2")
	grep -q "^$(sha256sum <"$work/$file" | cut -d' ' -f1)  $1@$2\$" "$to/SHA256SUMS" || {
		echo "$1@$2 is not what $to/SHA256SUMS says: $(sha256sum <"$work/$file")" >&2
		exit 1
	}
	mkdir -p "$work/node_modules/$1"
	tar -xzf "$work/$file" -C "$work/node_modules/$1" --strip-components 1
}

take preact 10.29.8
take @preact/signals-core 1.14.5
take @preact/signals 2.11.4
take htm 3.1.1
take js-yaml 4.3.2

cat >"$work/ui.js" <<'UI'
import { h } from 'preact';
import htm from 'htm';

/** html makes elements of a template; text in it is always text. */
export const html = htm.bind(h);
export { render } from 'preact';
export { useEffect, useMemo, useRef, useState, useId } from 'preact/hooks';
export { signal, computed, effect, batch } from '@preact/signals';
UI
go run "$bundler" "$work/ui.js" --bundle --format=esm --minify --log-level=warning --outfile="$to/ui.js"

# Its small form is no module, and defines a global.
sed -e '/^\/\/# sourceMappingURL=/d' "$work/node_modules/js-yaml/dist/js-yaml.min.js" >"$to/yaml.js"
echo 'export const { dump, load } = globalThis.jsyaml;' >>"$to/yaml.js"
echo "$to is up to date"
