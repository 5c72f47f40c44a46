package transform_test

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/render"
	"github.com/hms-utl/extsync/pkg/transform"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func attempt(payload string) connectors.Attempt {
	u := events.Update{
		Channel: "erp_db", Key: "p-1", Version: versioning.Must(versioning.Number(9007199254740993)), ID: "id-1",
		Source: "/platform", Type: "policy.changed", Time: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Payload: []byte(payload),
	}.WithDefaults()
	return connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1}
}

func compile(t *testing.T, filter, mapping string) *transform.Transform {
	t.Helper()
	tr, err := transform.New(transform.Config{Filter: filter, Mapping: mapping})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestMapping(t *testing.T) {
	const payload = `{"content":"<x>","n":9007199254740993,"d":1.10,"big":123456789012345678901234567890}`
	for mapping, want := range map[string]string{
		`.`: `{"big":123456789012345678901234567890,"content":"<x>","d":1.10,"n":9007199254740993}`,
		`{key: $key, v: $version, channel: $channel, source: $source, type: $type, time: $time, id: $id, base: $base}`: `{"base":null,"channel":"erp_db","id":"id-1","key":"p-1","source":"/platform","time":"2026-03-01T00:00:00Z","type":"policy.changed","v":9007199254740993}`,
		`.n + 1`:   `9007199254740994`,
		`null`:     `null`,
		`.absent`:  `null`,
		`.content`: `"<x>"`,
	} {
		a := attempt(payload)
		a.ContentType = "application/vnd.example+json"
		out, send, res := compile(t, "", mapping).Apply(t.Context(), a)
		if !send || string(out.Payload) != want || out.ContentType != "application/json" {
			t.Errorf("%s: %s %s, %+v", mapping, out.ContentType, out.Payload, res)
		}
		if out.Digest != a.Digest || string(a.Payload) != payload {
			t.Errorf("%s: the digest or the update itself has changed", mapping)
		}
	}
}

func TestRender(t *testing.T) {
	apply := func(c transform.Config, a connectors.Attempt) (connectors.Attempt, bool, connectors.Result) {
		t.Helper()
		tr, err := transform.New(c)
		if err != nil {
			t.Fatal(err)
		}
		return tr.Apply(t.Context(), a)
	}
	csv := &render.Config{Format: render.CSV, Template: "{{$key}},{{$version}},{{$time}},{{.m}}\n"}
	a := attempt(`{"n":9007199254740993}`)
	out, send, res := apply(transform.Config{Mapping: `{m: .n}`, Render: csv}, a)
	if want := "p-1,9007199254740993,2026-03-01T00:00:00Z,9007199254740993\r\n"; !send || string(out.Payload) != want || out.ContentType != "text/csv; charset=utf-8" {
		t.Errorf("%s %q, %+v", out.ContentType, out.Payload, res)
	}
	if out.Digest != a.Digest {
		t.Error("the digest has changed")
	}
	if out, send, _ := apply(transform.Config{Render: &render.Config{Format: render.JSON, ContentType: "application/vnd.x+json"}}, attempt(` {"b": 1} `)); !send ||
		string(out.Payload) != `{"b":1}` || out.ContentType != "application/vnd.x+json" {
		t.Errorf("without a mapping: %s %s", out.ContentType, out.Payload)
	}
	if _, send, res := apply(transform.Config{Filter: "false", Render: csv}, a); send || res.Code != events.CodeFiltered {
		t.Errorf("filtered: %+v", res)
	}
	gone := attempt("")
	gone.Op = events.Delete
	if out, send, res := apply(transform.Config{Render: csv}, gone); !send || len(out.Payload) != 0 || out.ContentType != gone.ContentType {
		t.Errorf("a delete: %+v %+v", out, res)
	}
	text := attempt(`{}`)
	text.ContentType = "text/plain"
	endless := &render.Config{Format: render.Text, Template: `{{range 1000000000000}}{{end}}`}
	for name, c := range map[string]struct {
		config  transform.Config
		attempt connectors.Attempt
		says    string
	}{
		"a payload that is not JSON": {transform.Config{Render: csv}, text, "text/plain"},
		"a list where fields are":    {transform.Config{Mapping: "[1]", Render: csv}, a, "render_failed: line 1, .m: it fails"},
		"a loop without end":         {transform.Config{Render: endless}, a, "more than 1000000 steps"},
	} {
		_, send, res := apply(c.config, c.attempt)
		for tries := 0; res.Class == connectors.Transient && tries < 10; tries++ { // too slow for the steps: a busy machine
			_, send, res = apply(c.config, c.attempt)
		}
		if res.Err == nil || !strings.Contains(res.Err.Error(), c.says) {
			t.Errorf("%s: %v", name, res.Err)
		}
		if send || res.Class != connectors.Permanent || res.Code != transform.CodeRender || !res.Unasked {
			t.Errorf("%s: %v %+v", name, send, res)
		}
	}
}

func TestFilter(t *testing.T) {
	for filter, want := range map[string]bool{
		`true`: true, `.kind == "policy"`: true, `1`: true, `.kind`: true, `$key | startswith("p-")`: true, `$version > 9007199254740992`: true,
		`select(.kind == "policy")`: true,
		`false`:                     false, `null`: false, `.absent`: false, `.kind == "case"`: false, `empty`: false, `select(.kind == "case")`: false,
	} {
		tr := compile(t, filter, "")
		out, send, res := tr.Apply(t.Context(), attempt(`{"kind":"policy"}`))
		if send != want || res.Err != nil {
			t.Errorf("%s: %v %+v", filter, send, res)
		}
		if !send && (res.Class != connectors.OK || res.Code != events.CodeFiltered) {
			t.Errorf("%s: %+v", filter, res)
		}
		if send && string(out.Payload) != `{"kind":"policy"}` {
			t.Errorf("%s: the payload is %s", filter, out.Payload)
		}
		// A delete is never kept back.
		gone := attempt("")
		gone.Op = events.Delete
		if out, send, res := tr.Apply(t.Context(), gone); !send || len(out.Payload) != 0 {
			t.Errorf("%s: a delete: %v %+v", filter, send, res)
		}
	}
}

func TestFailuresArePermanentAndShowNoPayload(t *testing.T) {
	const canary = "payload-canary"
	for name, c := range map[string]struct {
		filter, mapping, content, payload, code, says string
	}{
		"mapping fails":        {mapping: `{n: .n.x}`, code: "mapping_failed", says: `{n: .n.x}: it fails: expected an object but got: string`},
		"error of its own":     {mapping: `error(.n)`, code: "mapping_failed", says: "error(.n)"},
		"no value":             {mapping: `empty`, code: "mapping_failed", says: "no value"},
		"two values":           {mapping: `1, 2`, code: "mapping_failed", says: "more than one value"},
		"filter fails":         {filter: `.n.x`, code: "filter_failed", says: ".n.x"},
		"filter, two values":   {filter: `true, true`, code: "filter_failed", says: "more than one"},
		"not JSON":             {mapping: `.`, payload: canary, code: "mapping_failed", says: "payload: it is not valid JSON"},
		"empty":                {mapping: `.`, payload: " ", code: "mapping_failed", says: "payload"},
		"another content type": {mapping: `.`, content: "text/plain", code: "mapping_failed", says: "text/plain"},
		"no content type":      {filter: `true`, content: "x y", code: "filter_failed", says: "x y"},
		"without end":          {mapping: `[range(1e12)]`, code: "mapping_failed", says: "1000000 steps"},
		"without bound":        {filter: `"x" * 1e10`, code: "filter_failed", says: "exceeds its bounds"},
		"long expression":      {mapping: `.n.` + strings.Repeat("x", 1000), code: "mapping_failed", says: "xxx..."},
	} {
		a := attempt(`{"n":"` + canary + `"}`)
		if c.payload != "" {
			a.Payload = []byte(c.payload)
		}
		if c.content != "" {
			a.ContentType = c.content
		}
		_, send, res := compile(t, c.filter, c.mapping).Apply(t.Context(), a)
		if send || res.Class != connectors.Permanent || res.Code != c.code || res.Err == nil {
			t.Errorf("%s: %v %+v", name, send, res)
			continue
		}
		if text := res.Err.Error(); !strings.Contains(text, c.says) || strings.Contains(text, canary) || len(text) > 300 {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestACallThatHasEndedIsNotTheUpdatesFault(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, send, res := compile(t, "", ".").Apply(ctx, attempt("{}")); send || res.Class != connectors.Transient {
		t.Errorf("a cancelled context is not transient: send %v %+v", send, res)
	}
}

// endless takes minutes for the right payload: each match looks at all of the text.
const endless = `[.t // "" | scan("a.*b|a")] | length`

// A mapping that takes too much is its update's fault, and leaves time for the others
// in the call.
func TestCostlyMappingLeavesTimeForTheOthers(t *testing.T) {
	f := &fake{}
	w, err := transform.Wrap(batching{f}, transform.Config{Mapping: endless})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	costly := attempt(`{"t":"` + strings.Repeat("a", 60_000) + `"}`)
	got := w.Apply(ctx, []connectors.Attempt{attempt(`{}`), costly, attempt(`{"t":"aa"}`)})
	if strings.Join(f.got, " ") != "0 2" {
		t.Errorf("sent: %v", f.got)
	}
	if res := got[1]; res.Class != connectors.Transient || res.Code != transform.CodeMapping || !res.Unasked {
		t.Errorf("the costly one: %+v", res)
	}
}

func TestCheckNamesTheFields(t *testing.T) {
	var p connectors.Problems
	transform.Config{Filter: ".[", Mapping: "nosuch"}.Check(&p)
	if err := p.Err(); err == nil || !strings.Contains(err.Error(), "filter: ") || !strings.Contains(err.Error(), "mapping: ") {
		t.Errorf("the error does not name filter and mapping: %v", err)
	}
	if _, err := transform.Wrap(batching{&fake{}}, transform.Config{Mapping: "$nosuch"}); connectors.ClassOf(err) != connectors.Misconfigured {
		t.Errorf("an unknown variable is not misconfigured: %v", err)
	}
}

// fake remembers what it was given.
type fake struct {
	got   []string
	wrong bool
}

func (f *fake) Apply(_ context.Context, attempts []connectors.Attempt) []connectors.Result {
	results := make([]connectors.Result, len(attempts))
	for i, a := range attempts {
		f.got = append(f.got, string(a.Payload))
		results[i] = connectors.Result{Class: connectors.OK, Code: string(a.Payload)}
	}
	if f.wrong {
		return results[:0]
	}
	return results
}
func (f *fake) Close(context.Context) error { return nil }

type batching struct{ *fake }

func (batching) MaxBatch() int { return 7 }

func TestWrapTakesAsManyAtOnce(t *testing.T) {
	f := batching{&fake{}}
	if w, err := transform.Wrap(f, transform.Config{Filter: "true"}); err != nil || w.MaxBatch() != 7 {
		t.Errorf("%v, %v", w, err)
	}
	if w, err := transform.Wrap(f, transform.Config{}); err != nil || w != connectors.Sender(f) {
		t.Errorf("without expressions: %v, %v", w, err)
	}
}

func TestWrapSendsTheRestInOrder(t *testing.T) {
	f := &fake{}
	w, err := transform.Wrap(batching{f}, transform.Config{Filter: ".send", Mapping: ".n"})
	if err != nil {
		t.Fatal(err)
	}
	batch := []connectors.Attempt{
		attempt(`{"send":true,"n":1}`), attempt(`{"send":false}`), attempt(`{"send":true,"n":2}`), attempt(`7`), attempt(`{"send":1,"n":3}`),
	}
	var codes []string
	for _, res := range w.Apply(t.Context(), batch) {
		codes = append(codes, res.Code)
	}
	if strings.Join(codes, " ") != "1 filtered 2 filter_failed 3" || strings.Join(f.got, " ") != "1 2 3" {
		t.Errorf("codes %v, sent %v", codes, f.got)
	}
	f.wrong = true
	if got := w.Apply(t.Context(), batch); len(got) == len(batch) {
		t.Errorf("a connector that gives too few results: %v", got)
	}
}

func FuzzApply(f *testing.F) {
	f.Add(".a", ".b", `{"a":1,"b":2}`)
	f.Fuzz(func(t *testing.T, filter, mapping, payload string) {
		tr, err := transform.New(transform.Config{Filter: filter, Mapping: mapping})
		if err != nil {
			return
		}
		_, send, res := tr.Apply(t.Context(), attempt(payload))
		if send && !reflect.DeepEqual(res, connectors.Result{}) || !send && (res.Class != connectors.OK) != (res.Err != nil) {
			t.Errorf("sent with a result, or neither OK nor an error: send %v %+v", send, res)
		}
	})
}

// An update behind others in a call whose time is over waits, and spends nothing.
func TestWhatIsNotAskedForWaits(t *testing.T) {
	w, err := transform.Wrap(batching{&fake{}}, transform.Config{Mapping: endless})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	costly := attempt(`{"t":"` + strings.Repeat("a", 60_000) + `"}`)
	got := w.Apply(ctx, append(slices.Repeat([]connectors.Attempt{costly}, 10), attempt(`{}`)))
	if last := got[10]; last.Class != connectors.Throttled || last.Code != transform.CodeWaits {
		t.Errorf("the last one: %+v", last)
	}
}

// What does not pass is deleted where the target holds it. A target that can be read is asked
// where nobody knows, so that it keeps no mark of a key that it never had.
func TestUnmatchedKeysAreRemovedWhereTheyAre(t *testing.T) {
	all := []connectors.Attempt{attempt(`{"n":1}`), attempt(`{"n":2}`), attempt(`{"n":3}`), attempt(`{"n":4}`), attempt(`{"n":5}`)}
	for i := range all {
		all[i].Key = []string{"passes", "held", "there", "absent", "known"}[i]
	}
	all[1].Held, all[2].Unsure, all[3].Unsure = true, true, true
	for name, tt := range map[string]struct {
		conn    connectors.Sender
		deletes []string
		codes   []string
	}{
		"readable": {&readable{holds: "there", can: true}, []string{"held", "there"}, []string{"", "removed", "removed", "filtered", "filtered"}},
		"not":      {&readable{holds: "there"}, []string{"held", "there", "absent"}, []string{"", "removed", "removed", "removed", "filtered"}},
		"failing":  {&readable{fails: true, can: true}, []string{"held"}, []string{"", "removed", "read_failed", "read_failed", "read_failed"}},
	} {
		w, err := transform.Wrap(tt.conn, transform.Config{Filter: `.n == 1`, Removes: true})
		if err != nil {
			t.Fatal(err)
		}
		var codes []string
		for _, res := range w.Apply(t.Context(), all) {
			codes = append(codes, res.Code)
		}
		if got := tt.conn.(*readable).deleted; !slices.Equal(got, tt.deletes) || !slices.Equal(codes, tt.codes) {
			t.Errorf("%s: deleted %q, want %q; codes %q, want %q", name, got, tt.deletes, codes, tt.codes)
		}
	}
}

type readable struct {
	holds      string
	can, fails bool
	deleted    []string
}

func (r *readable) Can() connectors.Capabilities { return connectors.Capabilities{Reads: r.can} }
func (*readable) MaxBatch() int                  { return 10 }
func (*readable) Close(context.Context) error    { return nil }

func (r *readable) Apply(_ context.Context, attempts []connectors.Attempt) []connectors.Result {
	out := make([]connectors.Result, len(attempts))
	for i, a := range attempts {
		if out[i] = connectors.Done(); a.Op == events.Delete {
			r.deleted = append(r.deleted, a.Key)
		}
	}
	return out
}

func (r *readable) Read(_ context.Context, keys []string) ([]connectors.Held, error) {
	if r.fails {
		return nil, context.DeadlineExceeded
	}
	out := make([]connectors.Held, len(keys))
	for i, key := range keys {
		if key == r.holds {
			out[i] = connectors.Held{Tag: versioning.Tag{Version: versioning.Must(versioning.Number(1))}, Op: events.Upsert}
		}
	}
	return out, nil
}
