package config

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// printed is a line of a file and the source of its value.
type printed struct{ text, from string }

// Print writes every setting that has a value, in the form of a file, with the
// source of the value. Secrets are hidden.
func (s *Settings) Print(out io.Writer) error {
	var lines []printed
	group := ""
	for _, o := range Options() {
		values, given := s.origin.given[o.Name]
		if !given || o.needs != "" && !s.origin.chosen(o.Name) && !s.origin.on(o.needs) {
			continue
		}
		if o.Group != group {
			group = o.Group
			lines = append(lines, printed{text: "# " + group})
		}
		lines = append(lines, o.print(values)...)
	}
	width := 0
	for _, l := range lines {
		if l.from != "" && len(l.text) <= 60 {
			width = max(width, len(l.text))
		}
	}
	for _, l := range lines {
		text := l.text
		if l.from != "" {
			text = fmt.Sprintf("%-*s  # %s", width, l.text, l.from)
		}
		if _, err := fmt.Fprintln(out, text); err != nil {
			return err
		}
	}
	return nil
}

func (o *Option) print(values []value) []printed {
	if o.secret {
		return []printed{{"# " + o.Name + ": hidden", values[0].from()}}
	}
	if !o.Many {
		return []printed{{o.Name + ": " + scalarText(values[0]), values[0].from()}}
	}
	lines := []printed{{text: o.Name + ":"}}
	for _, v := range values {
		lines = append(lines, printed{"  - " + scalarText(v), v.from()})
	}
	if len(values) == 0 {
		lines[0].text += " []"
	}
	return lines
}

// from returns the source of a value.
func (v value) from() string { return cmp.Or(v.place, "default") }

// plainScalar matches values that need no quotes.
var plainScalar = regexp.MustCompile(`^([0-9]+|true|false)$`)

func scalarText(v value) string {
	if strings.HasPrefix(v.text, "{") || plainScalar.MatchString(v.text) {
		return v.text
	}
	text, err := yaml.Marshal(redact(v.text))
	if err != nil {
		return v.text
	}
	if text = bytes.TrimSpace(text); bytes.ContainsRune(text, '\n') { // a block
		return fmt.Sprintf("%q", v.text)
	}
	return string(text)
}
