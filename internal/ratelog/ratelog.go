// Package ratelog writes log lines about events that strangers can cause, and
// so may come by the thousand.
package ratelog

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Interval is the least time between two of a Line.
const Interval = 10 * time.Second

// Line is one kind of line of a log. Its first event is written at once. Those
// of the Interval that follows are counted, and written as one line when it
// ends, with the attributes of the latest. A Line may be used by any goroutine.
type Line struct {
	logger  *slog.Logger
	level   slog.Level
	message string

	mu    sync.Mutex
	quiet bool // a line was written within the Interval
	count uint64
	args  []any
}

// New returns a Line of the given level and message.
func New(logger *slog.Logger, level slog.Level, message string) *Line {
	return &Line{logger: logger, level: level, message: message}
}

// Add notes an event, with the attributes that slog.Logger.Log takes. The line
// has one more, "count": how many events it stands for.
func (l *Line) Add(args ...any) {
	if !l.logger.Enabled(context.Background(), l.level) {
		return
	}
	l.mu.Lock()
	l.count++
	l.args = args
	quiet := l.quiet
	l.quiet = true
	l.mu.Unlock()
	if !quiet {
		l.write()
	}
}

// write writes what has been counted, and again after each Interval as long as
// there is something.
func (l *Line) write() {
	l.mu.Lock()
	count, args := l.count, l.args
	l.count, l.args = 0, nil
	l.quiet = count > 0
	l.mu.Unlock()
	if count == 0 {
		return
	}
	l.logger.Log(context.Background(), l.level, l.message, append(args[:len(args):len(args)], "count", count)...)
	time.AfterFunc(Interval, l.write)
}
