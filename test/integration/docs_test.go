package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

const contract = "docs/contract.md"

// document returns the text of a file in the repository.
func document(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(repository, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// blockWith returns the one block of the contract that contains a text.
func blockWith(t *testing.T, text string) string {
	t.Helper()
	found := ""
	for _, b := range blocks(t, contract) {
		if strings.Contains(b.text, text) {
			if found != "" {
				t.Fatalf("%s: more than one block has %s", contract, text)
			}
			found = b.text
		}
	}
	if found == "" {
		t.Fatalf("%s: no block has %s", contract, text)
	}
	return found
}

// message reads a message as the contract writes it.
func message(t *testing.T, text string) (subject string, header map[string]string, payload string) {
	t.Helper()
	head, payload, ok := strings.Cut(strings.TrimSuffix(text, "\n"), "\n\n")
	lines := strings.Split(head, "\n")
	header = map[string]string{}
	for _, line := range lines[1:] {
		name, value, colon := strings.Cut(line, ": ")
		ok = ok && colon
		header[name] = value
	}
	if !ok {
		t.Fatalf("not a message:\n%s", text)
	}
	return lines[0], header, payload
}

// sameJSON reports whether two JSON objects have the same fields, but for those
// that are left out.
func sameJSON(t *testing.T, got, want string, but ...string) bool {
	t.Helper()
	var a, b map[string]any
	decodeJSON(t, got, &a)
	decodeJSON(t, want, &b)
	for _, name := range but {
		delete(a, name)
		delete(b, name)
	}
	return reflect.DeepEqual(a, b)
}

// Whoever sends the bytes of the contract's example gets the answers that stand
// there.
func TestContractExamples(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
	r.channel("erp_db", channels.Latest, "http", tg.Connector())
	r.inProcess()
	c := rawClient{t, r.nc}
	acks := make(chan *nats.Msg, 8)
	_, err := r.nc.ChanSubscribe("sync.acks.>", acks)
	r.must(err)

	subject, header, payload := message(t, blockWith(t, "Nats-Msg-Id: "))
	answer := c.publish(subject, header, payload)
	if want := blockWith(t, `"seq":1`); !sameJSON(t, answer, want) {
		t.Errorf("receipt %s, want %s", answer, want)
	}
	ack := string(next(t, "the ack", acks).Data)
	if want := blockWith(t, `"outcome": "delivered"`); !sameJSON(t, ack, want, "at") {
		t.Errorf("ack %s, want %s", ack, want)
	}

	header["ce-entityversion"], header["Nats-Msg-Id"] = "6", "older"
	var refused struct{ Error json.RawMessage }
	decodeJSON(t, c.publish(subject, header, payload), &refused)
	if want := blockWith(t, "10071"); !sameJSON(t, string(refused.Error), want) {
		t.Errorf("refusal %s, want %s", refused.Error, want)
	}
}

// The example is what our own client would send, so digest, key and ids are right.
func TestContractExampleIsWhatOurClientSends(t *testing.T) {
	names := events.DefaultNames()
	subject, header, payload := message(t, blockWith(t, "Nats-Msg-Id: "))
	h := nats.Header{}
	for name, value := range header {
		h[name] = []string{value}
	}
	key := subject[strings.LastIndexByte(subject, '.')+1:]
	u, err := wire.Decode(names, wire.StoredUpdate(names, events.ToChannel("erp_db"), key), h, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	msg, err := wire.Encode(names, u)
	if err != nil {
		t.Fatal(err)
	}
	msg.Header.Set("Nats-Expected-Last-Subject-Sequence", "0")
	if msg.Subject != subject || !reflect.DeepEqual(msg.Header, h) {
		t.Errorf("our client sends\n%s\n%v\nnot\n%s\n%v", msg.Subject, msg.Header, subject, h)
	}
	if !strings.Contains(document(t, contract), "`"+u.Tag().Digest.String()+"`") {
		t.Errorf("the digest is %s", u.Tag().Digest)
	}
}

func TestContractKeys(t *testing.T) {
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([^`]+)` \\| (\\d+) \\| (\\d+) \\|$").FindAllStringSubmatch(document(t, contract), -1)
	if len(rows) < 4 {
		t.Fatalf("found %d rows", len(rows))
	}
	for _, row := range rows {
		enc, err := events.EncodeKey(row[1])
		of4, of16 := wire.Partition(enc, 4), wire.Partition(enc, 16)
		if err != nil || enc != row[2] || strconv.Itoa(of4) != row[3] || strconv.Itoa(of16) != row[4] {
			t.Errorf("%s: encoded %s, partitions %d and %d, %v; the contract says %s", row[1], enc, of4, of16, err, row[2:])
		}
	}
}

// The README lists the exit codes that --help does.
func TestREADMEListsTheExitCodes(t *testing.T) {
	rows := regexp.MustCompile(`(?m)^\| (\d+) \| (.+) \|$`).FindAllStringSubmatch(document(t, "README.md"), -1)
	listed := ""
	for _, row := range rows {
		listed += row[1] + " " + strings.ReplaceAll(row[2], "`", "") + "\n"
	}
	_, help, _ := strings.Cut(extsync("--help").ok(t), "Exit codes:\n")
	help, _, _ = strings.Cut(help, "\n\n")
	want := ""
	for line := range strings.Lines(help) {
		code, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		want += code + " " + strings.TrimSpace(text) + "\n"
	}
	if listed != want {
		t.Errorf("the README lists\n%s\nnot\n%s", listed, want)
	}
}
