package testdb

import (
	"context"
	"strconv"
)

// LaunchPostgres starts a PostgreSQL server outside of a test, for the benchmark,
// with the settings that it comes with. The caller closes it.
func LaunchPostgres() (*Server, error) { return launch(&postgres{durable: true}) }

// Close ends the server and removes its data.
func (s *Server) Close() error { return s.close() }

// NewDatabase makes a fresh, empty database and returns how to connect to it.
func (s *Server) NewDatabase(ctx context.Context) (string, error) {
	name := "bench_" + strconv.FormatInt(s.dbs.Add(1), 10)
	if err := s.engine.exec(ctx, s, "", "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	return s.engine.dsn(s, name), nil
}

// PID returns the process of which all of the server's are descendants.
func (s *Server) PID() int { return s.sup.cmd.Process.Pid }
