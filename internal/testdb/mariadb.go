package testdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/go-sql-driver/mysql"
)

type mariadb struct{ server, install string }

func (*mariadb) name() string            { return "MariaDB" }
func (*mariadb) stopSignal() string      { return "KILL" }
func (*mariadb) configure(*Server) error { return nil }

func (m *mariadb) find() error {
	m.server, m.install = lookup("mariadbd"), lookup("mariadb-install-db")
	if m.server == "" || m.install == "" {
		return errors.New("there is no MariaDB server on this machine: apt-get install mariadb-server")
	}
	return nil
}

// lookup finds a program, in the folders for administrators too. It returns ""
// if there is none.
func lookup(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/usr/libexec"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// initialise, like serve, keeps temporary tables to the server's own directory: a
// server that starts removes those that it finds, its neighbours' too.
func (m *mariadb) initialise(s *Server) []string {
	return []string{
		m.install, "--no-defaults", "--datadir=" + filepath.Join(s.dir, "data"), "--tmpdir=" + s.dir,
		"--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve",
	}
}

// serve writes the log to the operating system at each commit: a killed server
// has lost nothing that it had confirmed.
func (m *mariadb) serve(s *Server) []string {
	return []string{
		m.server, "--no-defaults", "--datadir=" + filepath.Join(s.dir, "data"), "--tmpdir=" + s.dir,
		"--socket=" + filepath.Join(s.dir, "sock"), "--pid-file=" + filepath.Join(s.dir, "pid"),
		"--bind-address=127.0.0.1", "--port=" + strconv.Itoa(s.port), "--skip-name-resolve",
		"--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M",
		"--ssl-ca=" + filepath.Join(s.dir, caName), "--ssl-cert=" + filepath.Join(s.dir, certName), "--ssl-key=" + filepath.Join(s.dir, keyName),
	}
}

func (m *mariadb) exec(ctx context.Context, s *Server, database, statement string) (err error) {
	cfg, err := mysql.ParseDSN(m.dsn(s, database))
	if err != nil {
		return err
	}
	cfg.Logger = &mysql.NopLogger{} // the server is not there yet while it starts
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, statement)
	return err
}

func (*mariadb) dsn(s *Server, database string) string {
	return fmt.Sprintf("root@tcp(%s)/%s", s.Addr(), database)
}
