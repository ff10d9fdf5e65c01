package jsclient_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/pollbridge/pollbridge/jsclient"
)

// What each bundle may weigh on the wire, in bytes.
var budgets = []struct {
	name   string
	bundle []byte
	budget int
}{
	{"client.js", jsclient.Module, 12_288},
	{"later.js", jsclient.Later, 4_420},           // loaded once a session is open
	{"causes.js", jsclient.Causes, 800},           // loaded when a bridge cannot be reached
	{"client.global.js", jsclient.Global, 17_000}, // all of them
}

func TestBundleFitsBudget(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range budgets {
		t.Run(tt.name, func(t *testing.T) {
			var packed bytes.Buffer
			w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(tt.bundle); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d bytes, %d gzipped", len(tt.bundle), packed.Len())
			if packed.Len() > tt.budget {
				t.Errorf("%d bytes gzipped, budget %d", packed.Len(), tt.budget)
			}
			figure := regexp.MustCompile("(?m)^\\| `" + regexp.QuoteMeta(tt.name) + "`.* \\| ([0-9.]+) KB \\|$").FindSubmatch(readme)
			if want := fmt.Sprintf("%.1f", float64(tt.budget)/1000); figure == nil || string(figure[1]) != want {
				t.Errorf("README.md says %q, want %s KB", figure, want)
			}
		})
	}
}

func TestBundleDefinesTheGlobal(t *testing.T) {
	if !bytes.HasPrefix(jsclient.Global, []byte("//# allFunctionsCalledOnLoad\n\"use strict\";var pollbridge=")) {
		t.Errorf("client.global.js begins with %.40q", jsclient.Global)
	}
}

// What is loaded later is asked for by the names that it exports.
func TestBundleKeepsNamesOfWhatIsLoadedLater(t *testing.T) {
	for name, bundle := range map[string][]byte{"later.js": jsclient.Later, "causes.js": jsclient.Causes} {
		exports := regexp.MustCompile(`export\{(.+)\};`).FindSubmatch(bundle)
		if exports == nil {
			t.Fatalf("%s exports nothing", name)
		}
		for export := range strings.SplitSeq(string(exports[1]), ",") {
			export = export[strings.LastIndex(export, " ")+1:]
			if !regexp.MustCompile(`[.{]` + export + `\b`).Match(jsclient.Module) {
				t.Errorf("client.js does not ask %s for %s", name, export)
			}
		}
	}
}

// Shortened names of internal properties must leave these alone.
func TestBundleKeepsPublicNames(t *testing.T) {
	names := []string{
		"transports", "lazy", "auth", "credentials", "resendIdempotent", "maxMessageBytes", "holdMs", "metadata", "timeoutMs", "signal", "compression",
		"idempotent", "waitForReady", "state", "transport", "rtt", "lastError", "open", "unary", "close", "disrupt", "headers", "message",
		"trailers", "status", "messages", "send", "closeSend", "cancel", "code", "details", "origin", "reason", "retryAfterMillis", "session:", ".cut",
	}
	for _, name := range names {
		if !bytes.Contains(jsclient.Module, []byte(name)) {
			t.Errorf("client.js lacks the name %s", name)
		}
	}
}
