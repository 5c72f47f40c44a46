package connfile_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
)

const (
	inFlight = 64
	// part is how many updates are written before the other side has its turn, so that what
	// else the machine does meets both.
	part = 500
)

// BenchmarkSFTP compares the connector with the smallest loop over the same library that
// does what the layout current promises, over as many connections: a file that is whole and
// on the disk under its name.
func BenchmarkSFTP(b *testing.B) {
	const connections = 4
	s := testdb.StartSSHD(b)
	d := sftpTarget(b, s)
	signer, err := ssh.ParsePrivateKey([]byte(s.PrivateKey))
	testkit.Must(b, err)
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s.HostKey))
	testkit.Must(b, err)
	clients := make([]*sftp.Client, connections)
	for i := range clients {
		conn, err := ssh.Dial("tcp", s.Addr(), &ssh.ClientConfig{
			User: s.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(key),
		})
		testkit.Must(b, err)
		defer conn.Close() //nolint:errcheck // it was used enough
		clients[i], err = sftp.NewClient(conn)
		testkit.Must(b, err)
	}
	loop := func(n int64) error {
		name := path.Join(s.Dir, "loop-"+strconv.FormatInt(n%1000, 10)+".json")
		return remoteLoop(clients[n%connections], s.Dir, name, name+"."+strconv.FormatInt(n, 10), benchPayload(n))
	}
	for _, layout := range []string{"current", "versions", "drop\nmarker: none", "drop\nmarker: none\nbatch: ndjson"} {
		b.Run(layout, func(b *testing.B) { compare(b, d, "layout: "+layout+"\n", loop) })
	}
}

// BenchmarkFile is the same for a directory of this machine.
func BenchmarkFile(b *testing.B) {
	for _, layout := range []string{"current", "versions", "drop\nmarker: none"} {
		b.Run(layout, func(b *testing.B) {
			d := fileTarget(b)
			compare(b, d, "layout: "+layout+"\n", func(n int64) error {
				name := path.Join(d.dir, "loop-"+strconv.FormatInt(n%1000, 10)+".json")
				return localLoop(d.dir, name, name+"."+strconv.FormatInt(n, 10), benchPayload(n))
			})
		})
	}
}

// benchPayload is about what an update is.
func benchPayload(n int64) string { return fmt.Sprintf(`{"n":%d,"pad":"%0300d"}`, n, 0) }

func remoteLoop(c *sftp.Client, dir, name, temp, payload string) error {
	f, err := c.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(payload))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := c.PosixRename(temp, name); err != nil {
		return err
	}
	d, err := c.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func localLoop(dir, name, temp, payload string) error {
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(payload)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, name); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// compare has the connector and the loop write b.N updates each, in turns.
func compare(b *testing.B, d *target, config string, loop func(n int64) error) {
	b.Helper()
	env := connectortest.Env(d.secrets)
	env.Concurrency = inFlight
	c, err := connectors.Open(b.Context(), d.kind, env, []byte(d.config+config))
	testkit.Must(b, err)
	defer c.Close(context.WithoutCancel(b.Context())) //nolint:errcheck // it was used enough
	prefix := strconv.FormatInt(time.Now().UnixNano(), 36) + "-"
	write := func(n int64) error {
		size := int64(c.MaxBatch())
		if !c.Can().Batches {
			size = 1
		}
		if n%size != 0 {
			return nil // it is in the batch of another one
		}
		batch := make([]connectors.Attempt, size)
		for i := range batch {
			batch[i] = attempt(prefix+strconv.FormatInt((n+int64(i))%1000, 10), n+int64(i)+1, benchPayload(n))
		}
		for _, res := range c.Apply(b.Context(), batch) {
			if res.Class != connectors.OK {
				return res.Err
			}
		}
		return nil
	}
	var took, floor time.Duration
	for from := int64(0); from < int64(b.N); from += part {
		to := min(from+part, int64(b.N))
		floor += inParallel(b, from, to, loop)
		took += inParallel(b, from, to, write)
	}
	b.ReportMetric(float64(b.N)/took.Seconds(), "updates/s")
	b.ReportMetric(float64(b.N)/floor.Seconds(), "loop/s")
	b.ReportMetric(floor.Seconds()/took.Seconds(), "ratio")
}

func inParallel(b *testing.B, from, to int64, write func(n int64) error) time.Duration {
	b.Helper()
	begun := time.Now()
	var next atomic.Int64
	next.Store(from)
	var wg sync.WaitGroup
	for range inFlight {
		wg.Go(func() {
			for n := next.Add(1) - 1; n < to; n = next.Add(1) - 1 {
				if err := write(n); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begun)
}
