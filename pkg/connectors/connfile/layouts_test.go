package connfile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func wantNames(t testing.TB, dir string, want ...string) {
	t.Helper()
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("the files are %q, want %q", got, want)
	}
}

func wantContent(t testing.TB, path, want string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil || string(data) != want {
		t.Errorf("%s holds %q, %v; want %q", filepath.Base(path), data, err, want)
	}
}

func TestVersionsHoldsTheNewestAndItsTag(t *testing.T) {
	d := fileTarget(t)
	c := d.connect(t, "layout: versions\nextension: xml\n")
	dir := filepath.Join(d.dir, "k")
	for v := range int64(3) {
		want(t, apply(t, c, attempt("k", v+1, "<a/>")), connectors.OK, "")
	}
	wantNames(t, dir, ".0000000000000000003.tag", "0000000000000000003.xml")
	wantContent(t, filepath.Join(dir, "0000000000000000003.xml"), "<a/>")
	want(t, apply(t, c, attempt("k", 4, "")), connectors.OK, "")
	wantNames(t, dir, ".0000000000000000004.tag", "0000000000000000004.deleted")

	// A replay after the extension was changed leaves one file.
	want(t, apply(t, c, attempt("k", 5, "<a/>")), connectors.OK, "")
	again := attempt("k", 5, "<a/>")
	again.Again = true
	want(t, apply(t, d.connect(t, "layout: versions\nextension: txt\n"), again), connectors.OK, "")
	wantNames(t, dir, ".0000000000000000005.tag", "0000000000000000005.txt")
	info, err := os.Stat(filepath.Join(dir, "0000000000000000005.txt"))
	testkit.Must(t, err)
	if info.Mode().Perm()&0o7 != 0 {
		t.Errorf("everybody may use a file of mode %s", info.Mode())
	}
}

// A writer that died between the tag and the content has written nothing, and whoever comes
// with the same content goes on.
func TestTagWithoutContent(t *testing.T) {
	d := fileTarget(t)
	c := d.connect(t, "layout: versions\n")
	want(t, apply(t, c, attempt("k", 1, `{"v":1}`)), connectors.OK, "")
	want(t, apply(t, c, attempt("k", 7, `{"v":7}`)), connectors.OK, "")
	content := filepath.Join(d.dir, "k", "0000000000000000007.json")
	testkit.Must(t, os.Remove(content))

	held, err := c.Read(t.Context(), []string{"k"})
	if err != nil || !held[0].IsZero() {
		t.Errorf("Read gave %+v, %v", held, err)
	}
	want(t, apply(t, c, attempt("k", 7, `{"v":"other"}`)), connectors.Conflict, "conflict")
	want(t, apply(t, c, attempt("k", 7, `{"v":7}`)), connectors.OK, "")
	wantContent(t, content, `{"v":7}`)
}

func TestTagThatIsNotOurs(t *testing.T) {
	d := fileTarget(t)
	c := d.connect(t, "layout: versions\n")
	want(t, apply(t, c, attempt("k", 7, `{}`)), connectors.OK, "")
	tag := filepath.Join(d.dir, "k", ".0000000000000000007.tag")
	for name, data := range map[string][]byte{"empty": nil, "text": []byte("x"), "huge": bytes.Repeat([]byte("x"), 1<<20)} {
		testkit.Must(t, os.WriteFile(tag, data, 0o600))
		res := apply(t, c, attempt("k", 7, `{}`))
		if name == "huge" {
			want(t, res, connectors.Transient, "too_long")
			continue
		}
		want(t, res, connectors.Conflict, "conflict")
		want(t, apply(t, c, attempt("k", 6, `{}`)), connectors.Stale, "stale")
	}
	testkit.Must(t, os.WriteFile(tag, []byte("x"), 0o600))
	want(t, apply(t, c, attempt("k", 8, `{}`)), connectors.OK, "")
	wantNames(t, filepath.Dir(tag), ".0000000000000000008.tag", "0000000000000000008.json")
}

func TestVersionsOfAnotherKind(t *testing.T) {
	c := fileTarget(t).connect(t, "layout: versions\n")
	want(t, apply(t, c, attempt("k", 7, `{}`)), connectors.OK, "")
	a := attempt("k", 8, `{}`)
	a.Version = versioning.Must(versioning.Time(time.Now()))
	want(t, apply(t, c, a), connectors.Conflict, "version-kind")
}

// A link in the directory leads nowhere else.
func TestLinksLeadNowhere(t *testing.T) {
	d := fileTarget(t)
	elsewhere := t.TempDir()
	testkit.Must(t, os.Symlink(elsewhere, filepath.Join(d.dir, "k")))
	res := apply(t, d.connect(t, "layout: versions\n"), attempt("k", 1, `{}`))
	if res.Class == connectors.OK {
		t.Error("the update is delivered")
	}
	wantNames(t, elsewhere)
}

func TestCurrent(t *testing.T) {
	d := fileTarget(t)
	c := d.connect(t, "layout: current\ncase_sensitive: true\n")
	want(t, apply(t, c, attempt("P-7", 1, `{"v":1}`)), connectors.OK, "")
	want(t, apply(t, c, attempt("P-7", 2, `{"v":2}`)), connectors.OK, "")
	wantNames(t, d.dir, "P-7.json")
	wantContent(t, filepath.Join(d.dir, "P-7.json"), `{"v":2}`)
	gone := attempt("P-7", 3, "")
	want(t, apply(t, c, gone), connectors.OK, "")
	wantNames(t, d.dir, "P-7.deleted")
	h, _ := readHeld(t, filepath.Join(d.dir, "P-7.deleted"))
	if h.Key != "P-7" || h.Version != gone.Version || h.Digest != gone.Digest || h.Op != events.Delete {
		t.Errorf("the tombstone is %+v", h)
	}
	want(t, apply(t, c, attempt("P-7", 4, `{"v":4}`)), connectors.OK, "")
	wantNames(t, d.dir, "P-7.json")
	if can := c.Can(); can.Guard != connectors.GuardLedger || can.Reads || can.Batches {
		t.Errorf("it is declared to have %s", can)
	}
}

func TestDrop(t *testing.T) {
	d := fileTarget(t)
	c := d.connect(t, "layout: drop\nextension: csv\n")
	want(t, apply(t, c, attempt("k", 1, "a\n1\n")), connectors.OK, "")
	want(t, apply(t, c, attempt("k", 2, "")), connectors.OK, "")
	wantNames(t, d.dir, "k.0000000000000000001.csv", "k.0000000000000000001.csv.done", "k.0000000000000000002.deleted", "k.0000000000000000002.deleted.done")
	wantContent(t, filepath.Join(d.dir, "k.0000000000000000001.csv"), "a\n1\n")

	bare := d.connect(t, "layout: drop\nmarker: none\n")
	want(t, apply(t, bare, attempt("bare", 1, "{}")), connectors.OK, "")
	if got := names(t, d.dir); !slices.Contains(got, "bare.0000000000000000001.json") || slices.Contains(got, "bare.0000000000000000001.json.done") {
		t.Errorf("the files are %q", got)
	}
	if can := c.Can(); can.Guard != connectors.GuardNone || can.Reads || can.Batches {
		t.Errorf("it is declared to have %s", can)
	}
}

func TestBatchOfLines(t *testing.T) {
	d := fileTarget(t)
	c := d.connect(t, "layout: drop\nbatch: ndjson\nmarker: none\n")
	batch := []connectors.Attempt{attempt("a", 1, `{ "n": 12345678901234567890 }`), attempt("b", 2, "plain\ntext"), attempt("c", 3, "\xff\x00"), attempt("d", 4, "")}
	for _, res := range c.Apply(t.Context(), batch) {
		want(t, res, connectors.OK, "")
	}
	files := names(t, d.dir)
	if len(files) != 1 || !strings.HasPrefix(files[0], "batch-") || !strings.HasSuffix(files[0], ".ndjson") {
		t.Fatalf("the files are %q", files)
	}
	data, err := os.ReadFile(filepath.Join(d.dir, files[0]))
	testkit.Must(t, err)
	lines := slices.Collect(strings.Lines(string(data)))
	if len(lines) != len(batch) {
		t.Fatalf("%d lines: %q", len(lines), data)
	}
	for i, line := range lines {
		var got struct {
			held
			Content json.RawMessage `json:"content"`
			Text    string          `json:"text"`
			Base64  []byte          `json:"base64"`
		}
		testkit.Must(t, json.Unmarshal([]byte(line), &got))
		a := batch[i]
		if got.Key != a.Key || got.Version != a.Version || got.Digest != a.Digest || got.Op != a.Op {
			t.Errorf("%s is not of %s", line, a.Key)
		}
		if i == 0 && string(got.Content) != `{"n":12345678901234567890}` || i == 1 && got.Text != "plain\ntext" || i == 2 && string(got.Base64) != "\xff\x00" {
			t.Errorf("the content of %s is not that of %q", line, a.Payload)
		}
	}
}

func TestBatchOfCSV(t *testing.T) {
	d := fileTarget(t)
	c := d.connect(t, "layout: drop\nbatch: csv\nextension: csv\n")
	results := c.Apply(t.Context(), []connectors.Attempt{
		attempt("a", 1, "key,n\na,1\n"), attempt("b", 1, "other\n\"x\ny\"\n"), attempt("c", 1, "no header"), attempt("d", 1, "key,n\nd,4"), attempt("e", 1, ""),
	})
	for i, res := range results {
		if i == 2 {
			want(t, res, connectors.Permanent, "payload")
			continue
		}
		want(t, res, connectors.OK, "")
	}
	var contents []string
	for _, name := range names(t, d.dir) {
		if strings.HasSuffix(name, ".csv") {
			data, err := os.ReadFile(filepath.Join(d.dir, name))
			testkit.Must(t, err)
			contents = append(contents, string(data))
		}
	}
	slices.Sort(contents)
	if want := []string{"key,n\na,1\nd,4\n", "other\n\"x\ny\"\n"}; !slices.Equal(contents, want) {
		t.Errorf("the files hold %q, want %q", contents, want)
	}
	if !slices.Contains(names(t, d.dir), "e.0000000000000000001.deleted.done") {
		t.Error("the delete has no file")
	}
}

// What failed leaves no file with a name of its own, and none that is not whole.
func TestNothingIsLeftOfWhatFailed(t *testing.T) {
	for _, layout := range []string{"versions", "current", "drop"} {
		d := fileTarget(t)
		c := d.connect(t, "layout: "+layout+"\n")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		want(t, c.Apply(ctx, []connectors.Attempt{attempt("k", 1, "{}")})[0], connectors.Transient, "canceled")
		wantNames(t, d.dir)
	}
}

func TestPreview(t *testing.T) {
	for layout, want := range map[string]string{
		"layout: versions\n": "k=2f1/0000000000000000007.json", "layout: current\n": "k=2f1.json", "layout: drop\n": "k=2f1.0000000000000000007.json",
	} {
		d := fileTarget(t)
		p, err := d.connect(t, layout).Preview(t.Context(), attempt("k/1", 7, `{"a":1}`))
		if err != nil || p.URL != "file://"+d.dir+"/"+want || string(p.Body) != `{"a":1}` {
			t.Errorf("%s: %+v, %v", layout, p, err)
		}
		wantNames(t, d.dir)
	}
	d := fileTarget(t)
	p, err := d.connect(t, "layout: drop\nbatch: ndjson\n").Preview(t.Context(), attempt("k", 7, `{"a":1}`))
	if err != nil || !strings.Contains(string(p.Body), `"content":{"a":1}`) {
		t.Errorf("%+v, %v", p, err)
	}
}
