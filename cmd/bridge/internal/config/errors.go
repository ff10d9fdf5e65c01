package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one mistake in the settings, and its place.
type Error struct {
	// Place is "FILE:LINE" for the file, "--name" for a flag and the
	// variable's name for the environment. Empty when nothing was given where
	// something is needed.
	Place string
	// Key is the setting; empty if Place names it already.
	Key string
	// Text is what is wrong and what is expected.
	Text string

	line int // in the file; 0: not from there
}

func (e *Error) Error() string {
	var b strings.Builder
	for _, part := range []string{e.Place, e.Key} {
		if part != "" {
			b.WriteString(part + ": ")
		}
	}
	return b.String() + e.Text
}

// Errors are all mistakes: those in the file in the order of its lines, then those
// in the environment and the flags, then settings that do not fit together.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

func (e Errors) sort() {
	slices.SortStableFunc(e, func(a, b *Error) int {
		if a.line == 0 || b.line == 0 {
			return cmp.Compare(b.line, a.line)
		}
		return cmp.Compare(a.line, b.line)
	})
}

// Unknown returns the error for a name that is none of names, with a suggestion.
func Unknown(what, name string, names []string) string {
	text := fmt.Sprintf("unknown %s %q", what, name)
	if n := nearest(name, names); n != "" {
		text += fmt.Sprintf(", did you mean %q?", n)
	}
	return text
}

// nearest returns the name that was probably meant, or "".
func nearest(name string, names []string) string {
	best, distance := "", min(len(name), 64)/3+2
	for _, candidate := range names {
		if d := editDistance(name, candidate); d < distance {
			best, distance = candidate, d
		}
	}
	return best
}

// editDistance returns the Levenshtein distance.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			swap := diagonal
			if a[i] != b[j] {
				swap++
			}
			diagonal = row[j+1]
			row[j+1] = min(swap, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
