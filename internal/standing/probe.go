package standing

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/workers"
)

// Probe is channels.Registry.Probe, and says why nobody answered where nobody did.
func (l Looker) Probe(ctx context.Context, name string) ([]channels.Probed, error) {
	out, err := l.Registry.Probe(ctx, name)
	alone := errors.Is(err, channels.ErrNoOwner)
	if err != nil && !alone || !alone && !slices.ContainsFunc(out, func(p channels.Probed) bool { return p.Error != "" }) {
		return out, err
	}
	e, rerr := l.Registry.Get(ctx, name)
	if rerr != nil {
		return out, err
	}
	crew, rerr := workers.Read(ctx, l.JS, l.Names)
	if rerr != nil {
		return out, err
	}
	c, rerr := l.Channel(ctx, e, crew)
	if rerr != nil {
		return out, err
	}
	if alone && len(c.Findings) > 0 {
		return nil, fmt.Errorf("%w; %s", err, c.Findings[0].String())
	}
	for i := range out {
		if p := out[i].Partition; out[i].Error != "" && p < len(c.Partitions) && c.Partitions[p].Why != nil {
			out[i].Error = c.Partitions[p].Why.String()
		}
	}
	return out, err
}
