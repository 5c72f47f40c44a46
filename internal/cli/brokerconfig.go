package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/channels"
)

const brokerConfigHelp = `Write the configuration of a NATS server with the roles publisher, gateway (for
'publisher serve'), worker and admin: each may use what it needs for the given
channels, and nothing else.

Publishers that must not be taken for each other are groups (--group, which may be
repeated): each has the role publisher-NAME, with its channels, topics and services
only. To wait for the outcome of a topic's updates, it needs the channels that read the
topic, too. The role publisher has all.

The directory gets server/nats.conf, or server/HOST.conf for every host of a
cluster, and for each role a directory with its nkey (seed.nk). Keys that are
there already stay: write the configuration again when channels come or go, with
the flags of the first time, and let the server read it ('nats-server --signal
reload').

signer/admin.key is the administrators' key, which signs tokens ('extsync tokens'):
keep it from machines that only run processes. admin.key.pub, its public half, is in
gateway/ and admin/, for 'publisher serve'.

To replace a role's key without an interruption rename its seed.nk to
seed.old.nk and write the configuration again: both keys are valid until
seed.old.nk is removed and the configuration written once more.

Clients and servers show certificates when server/ca.crt, server/tls.crt and
server/tls.key are there. --certificates makes them, and a client certificate
(tls.crt, tls.key) for each role, with an authority that is forgotten at once:
enough for trying out. An address that other machines can reach needs them.`

const brokerConfigExample = `  extsync broker-config --out broker --channels appointment_calendar,policy_portal
  extsync broker-config --out broker --registry --certificates --host nats.example --server-listen 0.0.0.0:4222
  extsync broker-config --out broker --channels calendar,policies --services billing --group portal:calendar --group erp:policies:billing
  extsync broker-config --out broker --channels crm,web --topics policies --group portal:topics/policies,crm,web
  extsync broker-config --out broker --channels calendar --certificates --cluster nats-1,nats-2,nats-3 --server-listen 0.0.0.0:4222 --durability power

  # a process then runs as its role
  connector-worker run --nats-nkey-seed-file broker/worker/seed.nk --nats-inbox-prefix _INBOX_worker`

type brokerConfigFlags struct {
	out, serverDir, storeDir, listen, monitor, durability string
	channels, topics, services, groups, hosts, cluster    []string
	registry, certificates                                bool
	maxStore                                              string
}

// BrokerConfigCommand returns the command that writes a broker's configuration.
func BrokerConfigCommand(sh *Shell) *cobra.Command {
	loader := config.NewLoader()
	var f brokerConfigFlags
	cmd := &cobra.Command{
		Use:   "broker-config --out DIR (--channels NAME,... | --registry)",
		Short: "Write the configuration of a NATS server with roles",
		Long:  brokerConfigHelp, Example: brokerConfigExample,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.out == "" || (len(f.channels) == 0) != f.registry {
				return fmt.Errorf("%w: give --out, and one of --channels and --registry", errUsage)
			}
			return sh.brokerConfig(cmd.Context(), loader, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.out, "out", "", "directory for the configuration and the keys")
	flags.StringSliceVar(&f.channels, "channels", nil, "channels to publish to and deliver")
	flags.StringSliceVar(&f.topics, "topics", nil, "topics to publish to, which the channels read")
	flags.BoolVar(&f.registry, "registry", false, "take the channels and topics that the broker knows")
	flags.StringSliceVar(&f.services, "services", nil, "services whose kept acks publishers may read")
	flags.StringArrayVar(&f.groups, "group", nil, "NAME:CHANNEL,... or NAME:CHANNEL,...:SERVICE,...: publishers with an account of their own; a topic is topics/TOPIC")
	flags.StringVar(&f.serverDir, "server-dir", "", "where the server will see the directory server/ (default: where it is)")
	flags.StringVar(&f.storeDir, "store-dir", "/var/lib/nats", "where the server keeps the streams")
	flags.StringVar(&f.maxStore, "max-store", "16GiB", "bound of all streams together")
	flags.StringVar(&f.listen, "server-listen", "127.0.0.1:4222", "address of the server for clients")
	flags.StringVar(&f.monitor, "monitor", "", "loopback address of the server's health page, such as 127.0.0.1:8222")
	flags.StringVar(&f.durability, "durability", config.DurabilityProcess, "process, or power: every message on the disk before it is confirmed")
	flags.StringSliceVar(&f.cluster, "cluster", nil, "hosts of all servers of a cluster")
	flags.StringSliceVar(&f.hosts, "host", nil, "further names and addresses that the server's certificate is made out to")
	flags.BoolVar(&f.certificates, "certificates", false, "make certificates for trying out, unless there are some")
	loader.Declare(flags, config.GroupCommon, config.GroupNATS)
	return cmd
}

func (sh *Shell) brokerConfig(ctx context.Context, loader *config.Loader, f brokerConfigFlags) error {
	cfg, err := sh.Settings(loader)
	if err != nil {
		return err
	}
	if f.registry {
		if err = f.readRegistry(ctx, sh, cfg); err != nil {
			return err
		}
	}
	if f.durability != config.DurabilityProcess && f.durability != config.DurabilityPower {
		return fmt.Errorf("%w: --durability is %s or %s", errUsage, config.DurabilityProcess, config.DurabilityPower)
	}
	o := brokerconfig.Options{
		Listen: f.listen, Monitor: f.monitor, StoreDir: f.storeDir, Cluster: f.cluster,
		Power: f.durability == config.DurabilityPower,
	}
	if err := o.MaxStore.UnmarshalText([]byte(f.maxStore)); err != nil {
		return fmt.Errorf("%w: --max-store: %w", errUsage, err)
	}
	slices.Sort(f.channels)
	o.Channels, o.Topics, o.Services = slices.Compact(f.channels), slices.Compact(slices.Sorted(slices.Values(f.topics))), f.services
	if o.Names, err = cfg.Names(); err != nil {
		return err
	}
	for _, text := range f.groups {
		g, err := brokerconfig.ParseGroup(text)
		if err != nil {
			return fmt.Errorf("%w: --group: %w", errUsage, err)
		}
		o.Groups = append(o.Groups, g)
	}
	if err := o.CheckGroups(); err != nil { // before directories are made for them
		return err
	}
	if o.Keys, err = brokerconfig.Keys(f.out, o.Roles()); err != nil {
		return err
	}
	if err := brokerconfig.AdminKey(f.out); err != nil {
		return err
	}
	if o.OldKeys, err = brokerconfig.OldKeys(f.out, o.Roles()); err != nil {
		return err
	}
	if f.certificates {
		hosts := slices.Concat([]string{"localhost", "127.0.0.1"}, f.cluster, f.hosts)
		if _, err := brokerconfig.Certificates(f.out, hosts, o.Roles()); err != nil {
			return err
		}
	}
	if o.TLS, err = serverTLS(f); err != nil {
		return err
	}
	files, err := writeServers(f.out, o)
	if err != nil {
		return err
	}
	return sh.tellBrokerConfig(f, o, files)
}

// tellBrokerConfig says what was written, and how each role connects.
func (sh *Shell) tellBrokerConfig(f brokerConfigFlags, o brokerconfig.Options, files []string) error {
	if sh.JSON {
		roles := map[brokerconfig.Role]map[string]string{}
		for r, key := range o.Keys {
			roles[r] = map[string]string{
				"nkey": key, "seed_file": filepath.Join(f.out, string(r), brokerconfig.SeedFile), "inbox_prefix": r.InboxPrefix(),
			}
		}
		return sh.WriteJSON(map[string]any{"files": files, "roles": roles, "channels": o.Channels, "topics": append([]string{}, o.Topics...)})
	}
	text := "wrote " + strings.Join(files, ", ") + "\n"
	for _, r := range o.Roles() {
		if o.OldKeys[r] != "" {
			text += fmt.Sprintf("%s: the old key is still valid; remove %s when no process has it\n", r, filepath.Join(f.out, string(r), brokerconfig.OldSeedFile))
		}
	}
	for _, r := range o.Roles() {
		text += fmt.Sprintf("%-10s --nats-nkey-seed-file %s --nats-inbox-prefix %s\n", r,
			filepath.Join(f.out, string(r), brokerconfig.SeedFile), r.InboxPrefix())
	}
	_, err := fmt.Fprint(sh.Out, text)
	return err
}

// readRegistry asks the broker for its channels and topics.
func (f *brokerConfigFlags) readRegistry(ctx context.Context, sh *Shell, cfg config.Config) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	client, err := operate.Connect(ctx, cfg, sh.Logger(cfg.Log, zerolog.ErrorLevel))
	if err != nil {
		return err
	}
	defer client.Close()
	registry, err := client.Registry(ctx)
	if err != nil {
		return err
	}
	entries, err := registry.List(ctx)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return fmt.Errorf("%w: the registry is empty", channels.ErrNotFound)
	}
	for _, e := range entries {
		f.channels = append(f.channels, e.Config.Name)
	}
	topics, err := registry.Topics(ctx)
	for _, t := range topics {
		f.topics = append(f.topics, t.Topic.Name)
	}
	return err
}

// serverTLS returns the server's certificates, if there are any.
func serverTLS(f brokerConfigFlags) (brokerconfig.TLS, error) {
	here := filepath.Join(f.out, brokerconfig.ServerDir)
	if _, err := os.Stat(filepath.Join(here, brokerconfig.CAFile)); errors.Is(err, fs.ErrNotExist) {
		return brokerconfig.TLS{}, nil
	}
	there := f.serverDir
	if there == "" {
		var err error
		if there, err = filepath.Abs(here); err != nil {
			return brokerconfig.TLS{}, err
		}
		there = filepath.ToSlash(there)
	}
	return brokerconfig.TLS{
		CA:   path.Join(there, brokerconfig.CAFile),
		Cert: path.Join(there, brokerconfig.CertFile),
		Key:  path.Join(there, brokerconfig.KeyFile),
	}, nil
}

// writeServers writes the configuration of every server. A server that reads its
// file meanwhile sees the old one or the new one.
func writeServers(dir string, o brokerconfig.Options) ([]string, error) {
	dir = filepath.Join(dir, brokerconfig.ServerDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	servers := o.Cluster
	if len(servers) == 0 {
		servers = []string{"nats"}
	}
	var files []string
	for _, server := range servers {
		o.Server = server
		var page bytes.Buffer
		if err := brokerconfig.Write(&page, o); err != nil {
			return files, err
		}
		file := filepath.Join(dir, server+".conf")
		if err := os.WriteFile(file+".new", page.Bytes(), 0o600); err != nil {
			return files, err
		}
		if err := os.Rename(file+".new", file); err != nil {
			return files, err
		}
		files = append(files, file)
	}
	return files, nil
}
