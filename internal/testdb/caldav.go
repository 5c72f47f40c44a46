package testdb

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// calendars is a server of calendars with one user.
type calendars struct{ program string }

// radicale asks for a password, which xandikos leaves to what stands before it.
type (
	radicale struct{ calendars }
	xandikos struct{ calendars }
)

// What the one user of a server of calendars is called, and the password.
const (
	calendarUser     = "clinic"
	calendarPassword = "password-of-the-calendars"
)

func (*radicale) name() string { return "Radicale" }
func (*xandikos) name() string { return "Xandikos" }

func (*calendars) stopSignal() string { return "KILL" }
func (*calendars) waitsForDisk()      {}

func (e *calendars) locate(program string) error {
	if e.program = lookup(program); e.program == "" {
		return fmt.Errorf("there is no %s on this machine: apt-get install %[1]s", program)
	}
	return nil
}

func (e *radicale) find() error { return e.locate("radicale") }
func (e *xandikos) find() error { return e.locate("xandikos") }

func (*calendars) initialise(s *Server) []string {
	return []string{"mkdir", "-p", filepath.Join(s.dir, "data", "files")}
}

func (*xandikos) configure(*Server) error { return nil }

func (*radicale) configure(s *Server) error {
	in := func(name string) string { return filepath.Join(s.dir, "data", name) }
	config := []string{
		"[server]", "hosts = " + s.Addr(), "max_connections = 64", "timeout = 0",
		"[auth]", "type = htpasswd", "htpasswd_filename = " + in("users"), "htpasswd_encryption = plain", "delay = 0",
		"[rights]", "type = owner_only",
		"[storage]", "filesystem_folder = " + in("files"),
		"[logging]", "level = error",
	}
	write := func(name, text string) error { return os.WriteFile(in(name), []byte(text), 0o600) }
	return errors.Join(write("users", calendarUser+":"+calendarPassword+"\n"), write("config", strings.Join(config, "\n")+"\n"))
}

func (e *radicale) serve(s *Server) []string {
	return []string{e.program, "--config", filepath.Join(s.dir, "data", "config")}
}

// serve removes the locks first that a server left which was killed, as its administrator
// would have to: it does not do so, and writes nothing more.
func (e *xandikos) serve(s *Server) []string {
	files := filepath.Join(s.dir, "data", "files")
	return []string{
		"/bin/sh", "-c", `files=$0; find "$files" -name '*.lock' -delete; exec "$@" -d "$files"`, files,
		e.program, "-l", "127.0.0.1", "-p", strconv.Itoa(s.port), "--current-user-principal", "/" + calendarUser + "/", "--defaults",
	}
}

// exec makes a request, whose method is the statement, about a path: whatever the server
// answers to SELECT shows that it is there, and it says 201 when it has made a calendar.
func (*calendars) exec(ctx context.Context, s *Server, path, method string) error {
	made := strings.HasPrefix(method, "MK")
	if !made {
		method = http.MethodOptions
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.Addr()+"/"+path, http.NoBody)
	if err != nil {
		return err
	}
	req.SetBasicAuth(calendarUser, calendarPassword)
	by := &http.Transport{DisableKeepAlives: true}
	answer, err := by.RoundTrip(req)
	if err != nil {
		return err
	}
	if made && answer.StatusCode != http.StatusCreated {
		err = fmt.Errorf("it answered %s", answer.Status)
	}
	return errors.Join(err, answer.Body.Close())
}

func (*calendars) dsn(s *Server, path string) string { return "http://" + s.Addr() + "/" + path }

// A CalDAV is a server of calendars. Radicale wants its user and password; Xandikos asks
// nobody.
type CalDAV struct {
	*Server
	User, Password string
	// Dir is where the objects are: a file of the path of each. Those of Xandikos are not
	// always whole.
	Dir  string
	home string
}

// StartRadicale starts a Radicale server of the test's own, which it may stop and start. It
// ends with the test.
func StartRadicale(t testing.TB) *CalDAV {
	t.Helper()
	s := startOwn(t, &radicale{})
	return &CalDAV{s, calendarUser, calendarPassword, filepath.Join(s.dir, "data", "files", "collection-root"), calendarUser + "/"}
}

// StartXandikos starts a Xandikos server of the test's own, which it may stop and start. It
// ends with the test.
func StartXandikos(t testing.TB) *CalDAV {
	t.Helper()
	s := startOwn(t, &xandikos{})
	return &CalDAV{s, calendarUser, calendarPassword, filepath.Join(s.dir, "data", "files"), calendarUser + "/calendars/"}
}

// NewCalendar makes a calendar and returns its URL.
func (c *CalDAV) NewCalendar(t testing.TB) string {
	t.Helper()
	path := c.home + "calendar-" + strconv.FormatInt(c.dbs.Add(1), 10) + "/"
	c.Exec(t, path, "MKCALENDAR")
	return c.engine.dsn(c.Server, path)
}
