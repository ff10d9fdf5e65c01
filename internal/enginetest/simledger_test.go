package enginetest_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ledger is what became of the messages of simulated sessions.
type ledger struct {
	sessions, rpcs, messages  int
	lost, repeated, reordered int
	altered                   int // no message of that RPC, or not of that way
	exchanges, faults         int
	virtual                   time.Duration
}

func (l *ledger) add(more ledger) {
	l.sessions += more.sessions
	l.rpcs += more.rpcs
	l.messages += more.messages
	l.lost += more.lost
	l.repeated += more.repeated
	l.reordered += more.reordered
	l.altered += more.altered
	l.exchanges += more.exchanges
	l.faults += more.faults
	l.virtual += more.virtual
}

// misplaced notes a message that is not the n-th of its way.
func (l *ledger) misplaced(sc script, way, n int, got []byte) {
	total := []int{sc.up, sc.down}[way]
	at := 0
	for at < total && !bytes.Equal(got, sc.message(way, at)) {
		at++
	}
	switch {
	case at == total:
		l.altered++
	case at < n:
		l.repeated++
	default:
		l.reordered++
	}
}

// ledgers are those of each profile.
type ledgers map[string]ledger

func (ls ledgers) add(name string, l ledger) {
	sum := ls[name]
	sum.add(l)
	ls[name] = sum
}

// String is a table in Markdown, with the sum as its last row.
func (ls ledgers) String() string {
	var b strings.Builder
	b.WriteString("\n| network | sessions | RPCs | messages | exchanges | faults | virtual time | lost | repeated | reordered | altered |\n" +
		"|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	row := func(name string, l ledger) {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %.1f h | %d | %d | %d | %d |\n", name, l.sessions, l.rpcs, l.messages,
			l.exchanges, l.faults, l.virtual.Hours(), l.lost, l.repeated, l.reordered, l.altered)
	}
	var sum ledger
	for _, name := range slices.Sorted(maps.Keys(ls)) {
		row(name, ls[name])
		sum.add(ls[name])
	}
	row("all", sum)
	return b.String()
}
