// Package console_test tests the console as people use it: in a browser, over an
// embedded broker, a worker, the HTTP API and targets, all of them real.
package console_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// chromium is the browser of all tests; each test has a context of its own in it.
var chromium context.Context //nolint:gochecknoglobals // TestMain has no other way to hand it to the tests

// axe is the source of axe-core, which looks for what keeps people out.
var axe string //nolint:gochecknoglobals // as chromium

// axeVersion is what scripts/test-deps.sh has fetched and checked.
const axeVersion = "4.14.1"

func TestMain(m *testing.M) { os.Exit(startAndRun(m)) }

func startAndRun(m *testing.M) int {
	if err := readAxe(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "extsync-chromium-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, // containers have none to offer; the pages are our own
		chromedp.DisableGPU,
		chromedp.UserDataDir(dir),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("lang", "en-US"),
		chromedp.Flag("js-flags", "--expose-gc"),
		// Its popup below the address bar is two pages of its own for each window, which nobody
		// sees here: loading them takes as long as loading the console does.
		chromedp.Flag("disable-features", "Translate,WebUIOmniboxPopup,WebUIOmniboxAimPopup"),
	)
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	defer end()
	var closeBrowser context.CancelFunc
	chromium, closeBrowser = chromedp.NewContext(allocator)
	defer closeBrowser()
	if err := chromedp.Do(chromium); err != nil {
		fmt.Fprintf(os.Stderr, "start chromium, which scripts/test-deps.sh installs: %v\n", err)
		return 1
	}
	return m.Run()
}

func readAxe() error {
	home, err := os.UserHomeDir()
	if err != nil {
		return err
	}
	cache := cmp.Or(os.Getenv("XDG_CACHE_HOME"), filepath.Join(home, ".cache"))
	source, err := os.ReadFile(filepath.Join(cache, "extsync-tests", "axe-core-"+axeVersion, "axe.min.js"))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("axe-core %s is not there; run scripts/test-deps.sh: %w", axeVersion, err)
	}
	axe = string(source)
	return err
}
