package jsclient_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/pollbridge/pollbridge/jsclient"
)

// What each bundle may weigh on the wire, in bytes.
var budgets = []struct {
	name   string
	bundle []byte
	budget int
}{
	{"client.js", jsclient.Module, 26_300},
	{"client.global.js", jsclient.Global, 26_500},
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
