package jsclient_test

import (
	"bytes"
	"compress/gzip"
	"testing"

	"github.com/pollbridge/pollbridge/jsclient"
)

// budget is the most that the module may weigh on the wire, wrapper what the
// classic script may weigh more.
const (
	budget  = 16_480
	wrapper = 256
)

func TestBundleFitsBudget(t *testing.T) {
	for name, bundle := range map[string][]byte{"client.js": jsclient.Module, "client.global.js": jsclient.Global} {
		t.Run(name, func(t *testing.T) {
			budget := budget
			if name != "client.js" {
				budget += wrapper
			}
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
