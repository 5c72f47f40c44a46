// Package testdb gives tests real database servers: private ones, started from
// the server binaries that are installed, in a temporary directory, on a unix
// socket and a loopback port that nobody else uses. It is for tests only.
//
// Nothing of a server outlives the test process, however that ends: a small
// supervisor owns it and removes everything once its standard input closes.
//
// Durability is reduced to what a killed server process survives: commits reach
// the operating system, not the disk.
package testdb

import (
	"sync"
	"testing"
)

// Postgres returns the connection URL of a fresh, empty PostgreSQL database. All
// tests of one process share a server, which must therefore not be stopped: use
// StartPostgres for that. The user is a superuser and needs no password.
func Postgres(t testing.TB) string {
	t.Helper()
	return sharedPostgres.get(t, &postgres{}).CreateDatabase(t)
}

// MariaDB returns the data source name, in the form of go-sql-driver/mysql, of a
// fresh, empty MariaDB database. All tests of one process share a server, which
// must therefore not be stopped: use StartMariaDB for that. The user may do
// everything and needs no password.
func MariaDB(t testing.TB) string {
	t.Helper()
	return sharedMariaDB.get(t, &mariadb{}).CreateDatabase(t)
}

// StartPostgres starts a PostgreSQL server of the test's own, which it may stop
// and start. It ends with the test.
func StartPostgres(t testing.TB) *Server {
	t.Helper()
	return startOwn(t, &postgres{})
}

// StartMariaDB starts a MariaDB server of the test's own, which it may stop and
// start. It ends with the test.
func StartMariaDB(t testing.TB) *Server {
	t.Helper()
	return startOwn(t, &mariadb{})
}

func startOwn(t testing.TB, e engine) *Server {
	t.Helper()
	s, err := launch(e)
	if err != nil {
		t.Fatalf("testdb: %v", err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Errorf("testdb: stopping %s: %v", e.name(), err)
		}
	})
	return s
}

// One server of each kind serves a whole test process: starting one takes a
// second, a database in it some milliseconds. Only a variable can be shared by
// tests that know nothing of each other.
var (
	sharedPostgres sharedServer //nolint:gochecknoglobals // see above
	sharedMariaDB  sharedServer //nolint:gochecknoglobals // see above
	sharedRabbitMQ sharedServer //nolint:gochecknoglobals // see above
)

type sharedServer struct {
	mu     sync.Mutex
	server *Server
	err    error // of the first start; it would not go better a second time
}

func (s *sharedServer) get(t testing.TB, e engine) *Server {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil && s.err == nil {
		s.server, s.err = launch(e)
	}
	if s.err != nil {
		t.Fatalf("testdb: %v", s.err)
	}
	return s.server
}
