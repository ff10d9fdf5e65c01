package jsclient_test

import (
	"bytes"
	"compress/gzip"
	"testing"

	"github.com/pollbridge/pollbridge/jsclient"
)

// budget is the most that a bundle may weigh on the wire.
const budget = 14 << 10

func TestBundleFitsBudget(t *testing.T) {
	for name, bundle := range map[string][]byte{"client.js": jsclient.Module, "client.global.js": jsclient.Global} {
		t.Run(name, func(t *testing.T) {
			var packed bytes.Buffer
			w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(bundle); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d bytes, %d gzipped", len(bundle), packed.Len())
			if packed.Len() > budget {
				t.Errorf("%d bytes gzipped, budget %d", packed.Len(), budget)
			}
		})
	}
}

func TestBundleDefinesTheGlobal(t *testing.T) {
	if !bytes.HasPrefix(jsclient.Global, []byte(`"use strict";var pollbridge=`)) {
		t.Errorf("client.global.js begins with %.40q", jsclient.Global)
	}
}
