package testdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

type postgres struct {
	bin string
	// durable leaves the server's own settings as they are, so that what it has
	// confirmed survives a power failure. Tests need that no more than its cost.
	durable bool
}

func (*postgres) name() string       { return "PostgreSQL" }
func (*postgres) stopSignal() string { return "QUIT" }

// find takes the newest version there is: the folders of Debian and of Red Hat
// first, since only the client is in the search path there.
func (p *postgres) find() error {
	debian, err1 := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	redHat, err2 := filepath.Glob("/usr/pgsql-*/bin/postgres")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	found := append(debian, redHat...)
	slices.SortFunc(found, func(a, b string) int { return cmp.Compare(firstNumber(b), firstNumber(a)) })
	if path, err := exec.LookPath("postgres"); err == nil {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			found = append(found, target)
		}
	}
	for _, path := range found {
		dir := filepath.Dir(path)
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			p.bin = dir
			return nil
		}
	}
	return errors.New("there is no PostgreSQL server on this machine: apt-get install postgresql")
}

// firstNumber returns the first run of digits in a path, which is the version.
func firstNumber(path string) int {
	digits := strings.FieldsFunc(path, func(r rune) bool { return r < '0' || r > '9' })
	if len(digits) == 0 {
		return 0
	}
	n, err := strconv.Atoi(digits[0])
	if err != nil {
		return 0
	}
	return n
}

func (p *postgres) initialise(s *Server) []string {
	return []string{
		filepath.Join(p.bin, "initdb"), "--pgdata", filepath.Join(s.dir, "data"),
		"--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions",
	}
}

func (p *postgres) configure(s *Server) error {
	// Only the administrator gets in without a password: what a test creates is
	// asked for one, as it would be elsewhere.
	rules := "local all postgres trust\nhost all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
	return os.WriteFile(filepath.Join(s.dir, "data", "pg_hba.conf"), []byte(rules), 0o600)
}

// serve keeps synchronous_commit on: without it a killed server would have lost
// what it had confirmed.
func (p *postgres) serve(s *Server) []string {
	argv := []string{filepath.Join(p.bin, "postgres"), "-D", filepath.Join(s.dir, "data"), "-k", s.dir, "-h", "127.0.0.1", "-p", strconv.Itoa(s.port)}
	settings := []string{"ssl=on", "ssl_cert_file=" + filepath.Join(s.dir, certName), "ssl_key_file=" + filepath.Join(s.dir, keyName)}
	if !p.durable {
		settings = append(settings, "fsync=off", "full_page_writes=off", "max_connections=100", "shared_buffers=32MB")
	}
	for _, setting := range settings {
		argv = append(argv, "-c", setting)
	}
	return argv
}

func (p *postgres) exec(ctx context.Context, s *Server, database, statement string) (err error) {
	conn, err := pgx.Connect(ctx, p.dsn(s, cmp.Or(database, "postgres")))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	_, err = conn.Exec(ctx, statement)
	return err
}

func (*postgres) dsn(s *Server, database string) string {
	return fmt.Sprintf("postgres://postgres@%s/%s?sslmode=disable", s.Addr(), database)
}
