package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
	"github.com/hms-utl/extsync/pkg/schema"
)

// ReadFile reads a file of topics and channels, all YAML files of a directory, or in if
// the name is "-", and validates them. Each may be in one place only. The error names
// everything that is wrong with any of them.
func ReadFile(in io.Reader, name string) (channels.File, error) {
	if name == "-" {
		return decodeFile(in, "")
	}
	info, err := os.Stat(name)
	if err != nil {
		return channels.File{}, err
	}
	if !info.IsDir() {
		return readOneFile(name)
	}
	listed, err := os.ReadDir(name) // in the order of names
	if err != nil {
		return channels.File{}, err
	}
	var files []string
	for _, entry := range listed {
		if ext := filepath.Ext(entry.Name()); !entry.IsDir() && (ext == ".yaml" || ext == ".yml") {
			files = append(files, filepath.Join(name, entry.Name()))
		}
	}
	if len(files) == 0 {
		return channels.File{}, fmt.Errorf("%w: directory %s has no file *.yaml or *.yml", connectors.ErrConfig, name)
	}
	var all channels.File
	var errs []error
	where := map[string]string{} // what is listed, and in which file
	once := func(file, list string, i int, what, name string) {
		if other, twice := where[what+name]; twice && other != file {
			var p connectors.Problems
			p.InFile(file).Add(fmt.Sprintf("%s[%d].name", list, i), "%s%s is in %s, too", what, name, other)
			errs = append(errs, p.Err())
		}
		where[what+name] = file
	}
	for _, file := range files {
		one, err := readOneFile(file)
		errs = append(errs, err)
		for i, t := range one.Topics {
			once(file, "topics", i, "topic ", t.Name)
		}
		for i, c := range one.Channels {
			once(file, "channels", i, "channel ", c.Name)
		}
		all.Topics, all.Channels = append(all.Topics, one.Topics...), append(all.Channels, one.Channels...)
	}
	return all, schema.Join(errs...)
}

func readOneFile(name string) (channels.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return channels.File{}, err
	}
	defer func() { _ = f.Close() }() // only read from
	return decodeFile(f, name)
}

func decodeFile(in io.Reader, name string) (channels.File, error) {
	data, err := io.ReadAll(io.LimitReader(in, connectors.MaxConfigLen+1))
	if err != nil {
		return channels.File{}, err
	}
	return channels.DecodeFile(name, data, kinds.All())
}
