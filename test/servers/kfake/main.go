// Command kfake is a broker that speaks the protocol of Kafka, with what it holds in a
// directory: for tests, since no Kafka can be had as a package of Debian or as a Go module.
// It is by the author of the client that the connector uses.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves until it is interrupted.
func run() error {
	listen := flag.String("listen", "", "the address that it listens at")
	advertise := flag.String("advertise", "", "the address that it tells clients, if another")
	dir := flag.String("dir", "", "what it holds is in this directory; in memory if there is none")
	memory := flag.Bool("memory", false, "hold all in memory, and do not tell of another address")
	version := flag.String("version", "", "the version of Kafka whose protocol it speaks, such as 3.5")
	user := flag.String("user", "", "MECHANISM:user:password of an administrator; nobody gets in without one")
	reader := flag.String("reader", "", "MECHANISM:user:password of a user who may only look at topics")
	cert := flag.String("cert", "", "the certificate, for TLS")
	key := flag.String("key", "", "its private key")
	clients := flag.String("clients", "", "the authority of the certificates that clients must show")
	flag.Parse()

	_, text, err := net.SplitHostPort(*listen)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(1), kfake.Ports(port), kfake.ClusterID("tests"),
		kfake.WithLogger(kfake.BasicLogger(os.Stderr, kfake.LogLevelWarn)),
		kfake.ListenFn(func(network, address string) (net.Listener, error) {
			l, err := net.Listen(network, address)
			if err != nil || *advertise == "" || *memory {
				return l, err
			}
			return advertised{l, *advertise}, nil
		}),
	}
	if *dir != "" && !*memory {
		opts = append(opts, kfake.DataDir(*dir), kfake.SyncWrites())
	}
	if *version != "" {
		v := kversion.FromString(*version)
		if v == nil {
			return fmt.Errorf("no version %q", *version)
		}
		opts = append(opts, kfake.MaxVersions(v))
	}
	if *user != "" {
		who := strings.SplitN(*user, ":", 3)
		opts = append(opts, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser(who[0], who[1], who[2]))
	}
	if *reader != "" {
		who := strings.SplitN(*reader, ":", 3)
		opts = append(opts, kfake.User(who[0], who[1], who[2], mayLook()...))
	}
	if *cert != "" {
		config, err := secured(*cert, *key, *clients)
		if err != nil {
			return err
		}
		opts = append(opts, kfake.TLS(config))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return err
	}
	defer cluster.Close()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
	return nil
}

func secured(cert, key, clients string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if clients == "" {
		return config, nil
	}
	pem, err := os.ReadFile(clients)
	if err != nil {
		return nil, err
	}
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, errors.New("no authority for clients")
	}
	return config, nil
}

// An advertised listener says that it is somewhere else: where a proxy before it listens.
type advertised struct {
	net.Listener
	as string
}

func (a advertised) Addr() net.Addr { return address(a.as) }

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }
