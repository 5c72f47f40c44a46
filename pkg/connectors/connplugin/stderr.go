package connplugin

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/time/rate"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// Limits of what a plugin writes to its standard error.
const (
	maxLogLine    = 1 << 10
	logLinesRate  = 10 // a second
	logLinesBurst = 100
)

// logLines passes what a plugin writes on, line by line: lines that are too long are cut,
// and too many are left out and counted.
func logLines(r io.Reader, env connectors.Env) {
	limit := rate.NewLimiter(logLinesRate, logLinesBurst)
	lines := bufio.NewReaderSize(r, maxLogLine)
	left := 0
	for {
		line, err := lines.ReadSlice('\n')
		text := env.Scrubber().Excerpt(line, maxLogLine, errors.Is(err, bufio.ErrBufferFull))
		text = strings.Join(strings.Fields(text), " ")
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = lines.ReadSlice('\n')
		}
		switch {
		case text == "":
		case !limit.Allow():
			left++
		default:
			if left > 0 {
				env.Note(fmt.Sprintf("(%d lines of the plugin were left out)", left))
				left = 0
			}
			env.Note(text)
		}
		if err != nil {
			return
		}
	}
}
