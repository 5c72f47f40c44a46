package connfile

import (
	"context"
	"encoding/json"
	"errors"
	"path"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A connector writes files into a directory. All that it knows is in the files.
type connector struct {
	*Layout
	store    store
	url      string // of the directory, for people
	scrubber *connectors.Scrubber
}

// Compile-time checks of what the connector offers.
var (
	_ connectors.Connector = (*connector)(nil)
	_ connectors.Batcher   = (*connector)(nil)
	_ connectors.Prober    = (*connector)(nil)
	_ connectors.Reader    = (*connector)(nil)
	_ connectors.Previewer = (*connector)(nil)
)

func newConnector(l *Layout, s store, url string, env connectors.Env) *connector {
	return &connector{l, s, url, env.Scrubber()}
}

// MaxBatch returns the configuration's max_batch.
func (c *connector) MaxBatch() int { return c.Layout.MaxBatch }

// Apply writes each attempt into a file of its own, or all into one where the layout says
// so.
func (c *connector) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	if len(attempts) > 0 && c.Layout.Layout == dropLayout && c.Batch != noBatch {
		return c.applyBatch(ctx, attempts)
	}
	return connkit.OneByOne(ctx, attempts, func(ctx context.Context, a *connectors.Attempt) connectors.Result {
		f, err := c.store.begin(ctx)
		if err != nil {
			return c.failed(ctx, err)
		}
		defer f.end()
		switch c.Layout.Layout {
		case currentLayout:
			err = c.setCurrent(ctx, f, a)
		case dropLayout:
			err = c.drop(ctx, f, c.dropName(a), c.content(a))
		default:
			return c.addVersion(ctx, f, a)
		}
		if err != nil {
			return c.failed(ctx, err)
		}
		return connectors.Done()
	})
}

// A tag is what a file says of a version beside its content.
type tag struct {
	Key string `json:"key"`
	versioning.Tag
	Op events.Op `json:"op"`
}

func tagOf(a *connectors.Attempt) []byte {
	data, _ := json.Marshal(tag{a.Key, versioning.Tag{Version: a.Version, Digest: a.Digest}, a.Op}) // texts only
	return append(data, '\n')
}

// content returns what the file of an attempt holds.
func (c *connector) content(a *connectors.Attempt) []byte {
	if a.Op == events.Delete {
		return tagOf(a)
	}
	return a.Payload
}

// ext returns the end of the name of an attempt's file.
func (c *connector) ext(op events.Op) string {
	if op == events.Delete {
		return "." + deletedExt
	}
	return "." + c.Extension
}

func (c *connector) keyName(key string) string { return connkit.KeyName(key, c.CaseSensitive) }

// setCurrent is the layout current: one of KEY.json and KEY.deleted takes the place of the
// other. While both are there the call is not over.
func (c *connector) setCurrent(ctx context.Context, f files, a *connectors.Attempt) error {
	name := c.keyName(a.Key)
	other := name + c.ext(events.Delete)
	if a.Op == events.Delete {
		other = name + c.ext(events.Upsert)
	}
	if err := put(ctx, f, name+c.ext(a.Op), c.content(a), false); err != nil {
		return err
	}
	there, err := f.exists(ctx, other)
	if there {
		err = gone(f.remove(ctx, other))
	}
	if err != nil {
		return err
	}
	return f.sync(ctx, ".")
}

func (c *connector) dropName(a *connectors.Attempt) string {
	return c.keyName(a.Key) + "." + versionName(a.Version) + c.ext(a.Op)
}

// drop writes a file of the layout drop, and then its marker: nobody may see the marker of a
// file that a loss of power takes away.
func (c *connector) drop(ctx context.Context, f files, name string, data []byte) error {
	if err := put(ctx, f, name, data, true); err != nil {
		return err
	}
	if err := f.sync(ctx, "."); err != nil || c.Marker == noMarker {
		return err
	}
	if err := f.mark(ctx, name+"."+doneExt); err != nil {
		return err
	}
	return f.sync(ctx, ".")
}

// Probe looks whether the directory is there and can hold the layout.
func (c *connector) Probe(ctx context.Context) error {
	f, err := c.store.begin(ctx)
	if err == nil {
		defer f.end()
		err = f.there(ctx, c.Layout.Layout)
	}
	if err != nil {
		return classify(ctx, err)
	}
	return nil
}

// Read returns what the files of the layout versions hold of the keys.
func (c *connector) Read(ctx context.Context, keys []string) ([]connectors.Held, error) {
	held := make([]connectors.Held, len(keys))
	f, err := c.store.begin(ctx)
	if err != nil {
		return nil, classify(ctx, err)
	}
	defer f.end()
	for i, key := range keys {
		s, err := c.look(ctx, f, key)
		if err != nil {
			return nil, classify(ctx, err)
		}
		held[i] = connectors.Held{Tag: s.held.Tag, Op: s.held.Op}
	}
	return held, nil
}

// Preview shows the file of an attempt.
func (c *connector) Preview(_ context.Context, a connectors.Attempt) (connectors.Preview, error) {
	var name string
	switch c.Layout.Layout {
	case versionsLayout:
		name = path.Join(c.keyName(a.Key), versionName(a.Version)+c.ext(a.Op))
	case currentLayout:
		name = c.keyName(a.Key) + c.ext(a.Op)
	default:
		if c.Batch != noBatch {
			fs, results := c.join([]connectors.Attempt{a})
			if len(fs) == 0 {
				return connectors.Preview{}, results[0].Err
			}
			return connectors.Preview{Method: "WRITE", URL: c.url + "/" + fs[0].name, Body: fs[0].data}, nil
		}
		name = c.dropName(&a)
	}
	return connectors.Preview{Method: "WRITE", URL: c.url + "/" + name, Body: c.content(&a)}, nil
}

// Close ends the connections.
func (c *connector) Close(context.Context) error {
	c.store.close()
	return nil
}

var errForeign = errors.New("the file with the tag of this version is not one that we have written; remove it")

// oneLine makes one line of a text.
func oneLine(s string) string {
	return strings.ToValidUTF8(strings.Join(strings.Fields(s), " "), "\uFFFD")
}
