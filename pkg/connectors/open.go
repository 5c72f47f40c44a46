package connectors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// ErrUnable says that a connector was asked for what it cannot do.
var ErrUnable = errors.New("this connector cannot do that")

// A Sender is what the engine sends with: an *Opened, or a decorator around one. MaxBatch
// is how many attempts one Apply takes, at least 1, always the same.
type Sender interface {
	Connector
	MaxBatch() int
}

// An Opened is a connector as everything but its own package uses it: no error, excerpt
// or preview that leaves it shows a secret, whatever the kind does. It is safe for
// concurrent use as the connector is.
type Opened struct {
	conn     Connector
	scrubber *Scrubber
	can      Capabilities
	batch    int
	// nil where it is not declared
	prober    Prober
	reader    Reader
	comparer  Comparer
	fetcher   Fetcher
	lister    Lister
	previewer Previewer
}

// Open opens a connector of a kind. Secrets are those of env and of nothing that was
// opened before. A panic of the kind is an error.
func Open(ctx context.Context, kind Kind, env Env, config []byte) (o *Opened, err error) {
	env.scrubber = new(Scrubber)
	defer func() {
		if p := recover(); p != nil {
			o, err = nil, env.scrubber.Error(fmt.Errorf("connector kind %s panicked while it was opened: %v", kind.Name, p))
		}
	}()
	conn, err := kind.Open(ctx, env, config)
	if err != nil {
		return nil, fmt.Errorf("open connector of kind %s: %w", kind.Name, env.scrubber.Error(err))
	}
	o = &Opened{conn: conn, scrubber: env.scrubber, can: kind.With(config), batch: 1}
	if missing := o.declared(); missing != "" {
		_ = conn.Close(ctx) // nothing was sent
		return nil, fmt.Errorf("connector kind %s is declared to be a %s, and is none", kind.Name, missing)
	}
	return o, nil
}

// declared takes over what is declared, and returns the name of what is missing.
func (o *Opened) declared() (missing string) {
	need := func(there bool, name string) {
		if !there {
			missing = name
		}
	}
	var ok bool
	if o.can.Batches {
		b, ok := o.conn.(Batcher)
		if need(ok, "Batcher"); ok {
			o.batch = max(1, b.MaxBatch())
		}
	}
	if o.can.Probes {
		o.prober, ok = o.conn.(Prober)
		need(ok, "Prober")
	}
	if o.can.Reads {
		o.reader, ok = o.conn.(Reader)
		need(ok, "Reader")
	}
	if o.can.Compares {
		o.comparer, ok = o.conn.(Comparer)
		need(ok, "Comparer")
	}
	if o.can.Fetches {
		o.fetcher, ok = o.conn.(Fetcher)
		need(ok, "Fetcher")
	}
	if o.can.Lists {
		o.lister, ok = o.conn.(Lister)
		need(ok, "Lister")
	}
	if o.can.Previews {
		o.previewer, ok = o.conn.(Previewer)
		need(ok, "Previewer")
	}
	return missing
}

// Apply is that of the connector.
func (o *Opened) Apply(ctx context.Context, attempts []Attempt) []Result {
	defer o.panicked()
	results := o.conn.Apply(ctx, attempts)
	for i := range results {
		r := &results[i]
		if r.Err != nil {
			r.Err = o.scrubber.Error(r.Err)
			r.Code = o.scrubber.Text(r.Code)
		}
		r.Response = o.scrubber.Text(r.Response)
	}
	return results
}

// panicked lets a panic go on, without secrets.
func (o *Opened) panicked() {
	if p := recover(); p != nil {
		panic(o.scrubber.Text(fmt.Sprint(p)))
	}
}

// Close is that of the connector.
func (o *Opened) Close(ctx context.Context) error {
	defer o.panicked()
	return o.scrubber.Error(o.conn.Close(ctx))
}

// MaxBatch returns how many attempts one Apply takes, at least 1.
func (o *Opened) MaxBatch() int { return o.batch }

// Can returns what the connector is declared to do, as it is configured.
func (o *Opened) Can() Capabilities { return o.can }

// Probe is that of Prober, ErrUnable if the connector is none.
func (o *Opened) Probe(ctx context.Context) error {
	defer o.panicked()
	if o.prober == nil {
		return ErrUnable
	}
	return o.scrubber.Error(o.prober.Probe(ctx))
}

// Read is that of Reader, ErrUnable if the connector is none.
func (o *Opened) Read(ctx context.Context, keys []string) ([]Held, error) {
	defer o.panicked()
	if o.reader == nil {
		return nil, ErrUnable
	}
	held, err := o.reader.Read(ctx, keys)
	return held, o.scrubber.Error(err)
}

// Compare is that of Comparer, ErrUnable if the connector is none.
func (o *Opened) Compare(ctx context.Context, attempts []Attempt) ([]Comparison, error) {
	defer o.panicked()
	if o.comparer == nil {
		return nil, ErrUnable
	}
	out, err := o.comparer.Compare(ctx, attempts)
	return out, o.scrubber.Error(err)
}

// Fetch is that of Fetcher, ErrUnable if the connector is none.
func (o *Opened) Fetch(ctx context.Context, a Attempt) (Fetched, error) {
	defer o.panicked()
	if o.fetcher == nil {
		return Fetched{}, ErrUnable
	}
	f, err := o.fetcher.Fetch(ctx, a)
	if err != nil {
		return Fetched{}, o.scrubber.Error(err)
	}
	f.Unwritable = o.scrubber.Text(f.Unwritable)
	for i := range f.Parts { // a target may give back what it was let in with
		if p := &f.Parts[i]; p.Theirs != nil {
			p.Theirs = json.RawMessage(o.scrubber.Text(string(p.Theirs)))
		}
	}
	return f, nil
}

// List is that of Lister, ErrUnable if the connector is none.
func (o *Opened) List(ctx context.Context, after string, limit int) ([]string, error) {
	defer o.panicked()
	if o.lister == nil {
		return nil, ErrUnable
	}
	keys, err := o.lister.List(ctx, after, limit)
	return keys, o.scrubber.Error(err)
}

// Preview is that of Previewer, ErrUnable if the connector is none.
func (o *Opened) Preview(ctx context.Context, a Attempt) (Preview, error) {
	defer o.panicked()
	if o.previewer == nil {
		return Preview{}, ErrUnable
	}
	p, err := o.previewer.Preview(ctx, a)
	if err != nil {
		return Preview{}, o.scrubber.Error(err)
	}
	p.URL, p.Statement = o.scrubber.Text(p.URL), o.scrubber.Text(p.Statement)
	p.Body = []byte(o.scrubber.Text(string(p.Body)))
	for name, value := range p.Headers {
		p.Headers[name] = o.scrubber.Text(value)
	}
	for i, value := range p.Parameters {
		if text, ok := value.(string); ok {
			p.Parameters[i] = o.scrubber.Text(text)
		}
	}
	return p, nil
}
