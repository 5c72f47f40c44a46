package operate

import (
	"testing"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/why"
)

// A dry run over all channels did not say where nothing is delivered for now.
func TestNoteOfLettersOfSeveralChannels(t *testing.T) {
	paused := true
	p := planner{known: map[string]*planned{
		"well": {health: why.HealthOK}, "b-down": {health: why.HealthDown}, "a-blocked": {health: why.HealthBlocked}, "gone": {gone: true},
		"paused": {entry: channels.Entry{Config: channels.Config{Paused: &paused}}}, // counted by itself
	}}
	if got := p.note(); got != "blocked, or with a target that does not answer, so that nothing is delivered there for now: a-blocked, b-down" {
		t.Error(got)
	}
	p.of = "b-down"
	if got := p.note(); got != "the target of the channel does not answer: nothing is delivered until it does" {
		t.Error(got)
	}
	if got := (&planner{known: map[string]*planned{"well": {health: why.HealthOK}}}).note(); got != "" {
		t.Error(got)
	}
}
