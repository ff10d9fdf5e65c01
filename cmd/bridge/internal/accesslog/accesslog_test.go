package accesslog_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/pollbridge/pollbridge/cmd/bridge/internal/accesslog"
)

func TestFilter(t *testing.T) {
	for _, test := range []struct {
		name  string
		cfg   accesslog.Config
		least map[string]int // of 1000 each
		most  map[string]int
	}{
		{"everything", accesslog.Config{}, map[string]int{"OK": 1000, "NotFound": 1000}, map[string]int{"OK": 1000, "NotFound": 1000}},
		{"a code", accesslog.Config{Codes: []string{"NotFound"}}, map[string]int{"NotFound": 1000}, map[string]int{"OK": 0, "NotFound": 1000}},
		{"a sample", accesslog.Config{Sample: 0.5}, map[string]int{"OK": 300, "NotFound": 1000}, map[string]int{"OK": 700, "NotFound": 1000}},
		{"all of it", accesslog.Config{Sample: 1, Format: "text"}, map[string]int{"OK": 1000, "NotFound": 1000}, map[string]int{"OK": 1000, "NotFound": 1000}},
	} {
		var out bytes.Buffer
		log := accesslog.New(&out, test.cfg)
		for range 1000 {
			for _, code := range []string{"OK", "NotFound"} {
				log.LogAttrs(context.Background(), slog.LevelInfo, "rpc", slog.String("method", "/a.B/C"), slog.String("code", code))
			}
		}
		for _, code := range []string{"OK", "NotFound"} {
			n := strings.Count(out.String(), `"code":"`+code+`"`) + strings.Count(out.String(), "code="+code)
			if n < test.least[code] || n > test.most[code] {
				t.Errorf("%s: %d lines with %s, want %d to %d", test.name, n, code, test.least[code], test.most[code])
			}
		}
		if strings.Contains(out.String(), "INFO") {
			t.Errorf("%s: a level that is always the same", test.name)
		}
	}
}

func TestCode(t *testing.T) {
	for text, want := range map[string]string{
		"OK": "OK", "not_found": "NotFound", "NotFound": "NotFound", "CANCELLED": "Canceled", "canceled": "Canceled", "DEADLINE_EXCEEDED": "DeadlineExceeded", "nothing": "", "": "", "5": "",
	} {
		if got, ok := accesslog.Code(text); got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v", text, got, ok)
		}
	}
}
