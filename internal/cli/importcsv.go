package cli

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/operate"
)

func (f *importFlags) csvFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.csv, "csv", false, "the input is CSV, with a header")
	flags.StringVar(&f.columns.Key, "csv-key", "key", "column with the key")
	flags.StringVar(&f.columns.Version, "csv-version", "version", "column with the version")
	flags.StringVar(&f.columns.Op, "csv-op", "", "column with upsert or delete (default: every record is an upsert)")
	flags.StringSliceVar(&f.columns.JSON, "csv-json", nil, "columns whose cells are JSON: numbers, true, null, objects")
	flags.StringVar(&f.separator, "csv-separator", ",", "what stands between two cells; \\t is a tab")
}

// columnsOf returns how the records of a file become updates; nil if it is not CSV.
func (f *importFlags) columnsOf(name string) *operate.CSV {
	if !f.csv && !strings.HasSuffix(strings.ToLower(name), ".csv") {
		return nil
	}
	return &f.columns
}

// header reads the header of a CSV file. It returns where an import begins, which is behind the
// header where none was interrupted.
func (f *importFlags) header(input *importInput, name string) (from, line int64, in io.Reader, err error) {
	columns := f.columnsOf(name)
	if columns == nil {
		return input.from, input.line, input.in, nil
	}
	if f.separator == `\t` { // what people write: a shell does not make a tab of it
		f.separator = "\t"
	}
	separator, size := utf8.DecodeRuneInString(f.separator)
	if size != len(f.separator) || strings.ContainsRune("\"\r\n", separator) || separator == utf8.RuneError {
		return 0, 0, nil, fmt.Errorf("%w: --csv-separator is one character, such as ';' or \\t, and neither a quote nor the end of a line", errUsage)
	}
	columns.Separator = separator
	if input.from > 0 {
		_, _, err := columns.ReadHeader(bufio.NewReader(io.NewSectionReader(input.file, 0, input.from)))
		return input.from, input.line, input.in, err
	}
	buffered := bufio.NewReader(input.in)
	from, line, err = columns.ReadHeader(buffered)
	return from, line, buffered, err
}
