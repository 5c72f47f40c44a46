package main

// systems are those that the programs are built for; each links modules of its own.
var systems = []string{"linux", "darwin", "windows"} //nolint:gochecknoglobals // constant

// recognised is how much of a file, in percent of its words, must be the text of
// accepted licences.
const recognised = 75

// accepted are the licences that any module may have, by their SPDX identifiers.
var accepted = map[string]bool{ //nolint:gochecknoglobals // constant
	"MIT":          true,
	"MIT-0":        true,
	"ISC":          true,
	"BSD-2-Clause": true,
	"BSD-3-Clause": true,
	"Apache-2.0":   true,
}

// byName are the modules with a licence that we accept for them alone.
var byName = map[string]string{ //nolint:gochecknoglobals // constant
	// Its files stay under the MPL, and we change none of them.
	"github.com/go-sql-driver/mysql": "MPL-2.0",
	// It may be used under the EDL-1.0 (a BSD-3-Clause) just as well, which is what we do: see
	// edl-v10 in it. The file that licences are looked for in has the text of the EPL alone.
	"github.com/eclipse/paho.golang": "EPL-2.0",
}

// read are files that no program can judge, and that we have read.
var read = map[string]string{ //nolint:gochecknoglobals // constant
	"modernc.org/libc/LICENSE-3RD-PARTY.md":   "musl under the MIT licence and Go under BSD-3-Clause, with long lists of authors",
	"modernc.org/memory/LICENSE-LOGO":         "where a picture in its documentation comes from",
	"modernc.org/sqlite/LICENSE-3RD-PARTY.md": "the licences of its whole module graph, that of what is not linked (MPL-2.0) too",
	"modernc.org/sqlite/LICENSE-SQLITE":       "SQLite is in the public domain",
}
