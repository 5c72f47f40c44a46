package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// ReadChannels reads a file of channels, all YAML files of a directory, or in if
// the name is "-". A channel may be in one place only.
func ReadChannels(in io.Reader, name string) ([]channels.Config, error) {
	if name == "-" {
		return decodeChannels(in, name)
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("channels: %w", err)
	}
	if !info.IsDir() {
		return readChannelFile(name)
	}
	listed, err := os.ReadDir(name) // in the order of names
	if err != nil {
		return nil, fmt.Errorf("channels: %w", err)
	}
	var files []string
	for _, entry := range listed {
		if ext := filepath.Ext(entry.Name()); !entry.IsDir() && (ext == ".yaml" || ext == ".yml") {
			files = append(files, filepath.Join(name, entry.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%w: directory %s has no file *.yaml or *.yml", connectors.ErrConfig, name)
	}
	var all []channels.Config
	var errs []error
	where := map[string]string{}
	for _, file := range files {
		configs, err := readChannelFile(file)
		errs = append(errs, err)
		for _, c := range configs {
			if other, twice := where[c.Name]; twice {
				errs = append(errs, fmt.Errorf("%w: channel %s is in %s and in %s", connectors.ErrConfig, c.Name, other, file))
			}
			where[c.Name] = file
		}
		all = append(all, configs...)
	}
	return all, errors.Join(errs...)
}

func readChannelFile(name string) ([]channels.Config, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("channels: %w", err)
	}
	defer func() { _ = f.Close() }() // only read from
	return decodeChannels(f, name)
}

func decodeChannels(in io.Reader, name string) ([]channels.Config, error) {
	data, err := io.ReadAll(io.LimitReader(in, connectors.MaxConfigLen+1))
	if err != nil {
		return nil, fmt.Errorf("channels: %w", err)
	}
	configs, err := channels.DecodeFile(data)
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", name, err)
	}
	return configs, nil
}
