package cli

import (
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
)

// lineEvery is how often work that takes long says how far it is where there is
// no terminal.
const lineEvery = 10 * time.Second

// A progress tells people, on standard error, how far work has come: by a bar on
// a terminal, by a line now and then elsewhere. It is not safe for concurrent
// use.
type progress struct {
	sh    *Shell
	what  string
	total int64 // 0: not known
	bar   *progressbar.ProgressBar
	begun time.Time
	last  time.Time
}

func (sh *Shell) progress(what string, total int64) *progress {
	p := &progress{sh: sh, what: what, total: total, begun: time.Now(), last: time.Now()}
	if sh.color(sh.Err) {
		most := total
		if most <= 0 {
			most = -1
		}
		p.bar = progressbar.NewOptions64(most,
			progressbar.OptionSetWriter(sh.Err), progressbar.OptionSetDescription(what), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
			progressbar.OptionSetPredictTime(total > 0), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	return p
}

// set says how much is done.
func (p *progress) set(done int64) {
	if p.bar != nil {
		if p.total > 0 {
			done = min(done, p.total) // live work adds to what was counted, and the bar takes no more than that
		}
		_ = p.bar.Set64(done) // who cannot be shown a bar does not need one
		return
	}
	now := time.Now()
	if now.Sub(p.last) < lineEvery {
		return
	}
	p.last = now
	rate := float64(done) / now.Sub(p.begun).Seconds()
	text := fmt.Sprintf("%s: %d", p.what, done)
	if p.total > 0 {
		text += fmt.Sprintf(" of %d", p.total)
		if rate > 0 {
			left := time.Duration(float64(max(p.total-done, 0)) / rate * float64(time.Second))
			text += fmt.Sprintf(", %s left", left.Round(time.Second))
		}
	}
	_, _ = fmt.Fprintf(p.sh.Err, "%s, %.0f a second\n", text, rate) // likewise
}

// end removes the bar.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
		_ = p.bar.Clear()
	}
}
