package ratelog_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/ratelog"
)

// record keeps a log's lines without their times.
func record() (*slog.Logger, func() string) {
	var mu sync.Mutex
	var out bytes.Buffer
	handler := slog.NewTextHandler(writer(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return out.Write(p)
	}), &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	return slog.New(handler), func() string {
		mu.Lock()
		defer mu.Unlock()
		defer out.Reset()
		return out.String()
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, lines := record()
		line := ratelog.New(logger, slog.LevelWarn, "it happened")
		step := func(what, want string) {
			t.Helper()
			synctest.Wait()
			if got := lines(); got != want {
				t.Fatalf("%s: log %q, want %q", what, got, want)
			}
		}

		line.Add("address", "a")
		step("the first is written at once", "level=WARN msg=\"it happened\" address=a count=1\n")
		for range 1999 {
			line.Add("address", "b")
		}
		line.Add("address", "c")
		step("more within the interval are not", "")
		time.Sleep(ratelog.Interval)
		step("they make one line at its end", "level=WARN msg=\"it happened\" address=c count=2000\n")
		line.Add("address", "d")
		step("which begins the next interval", "")
		time.Sleep(ratelog.Interval)
		step("that ends with a line too", "level=WARN msg=\"it happened\" address=d count=1\n")
		time.Sleep(10 * ratelog.Interval)
		step("nothing happened since", "")
		line.Add()
		step("so the next is written at once", "level=WARN msg=\"it happened\" count=1\n")
	})
}

func TestLine_concurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, lines := record()
		line := ratelog.New(logger, slog.LevelInfo, "x")
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { line.Add() })
		}
		all.Wait()
		time.Sleep(ratelog.Interval)
		synctest.Wait()
		got := lines()
		if n := strings.Count(got, "\n"); n > 2 || !strings.Contains(got, "count=") {
			t.Errorf("%d lines: %s", n, got)
		}
	})
}

func TestLine_belowTheLevel(t *testing.T) {
	var out bytes.Buffer
	line := ratelog.New(slog.New(slog.NewTextHandler(&out, nil)), slog.LevelDebug, "x")
	line.Add()
	if out.Len() != 0 {
		t.Errorf("logged %s", &out)
	}
}
