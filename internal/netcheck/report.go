package netcheck

import (
	"fmt"
	"strings"
)

// Report is the result of a check. It holds no secret: neither credentials nor
// values of headers.
type Report struct {
	URL      string   `json:"url"`              // of the bridge, its prefix included
	Proxy    string   `json:"proxy,omitempty"`  // without credentials
	Bridge   string   `json:"bridge,omitempty"` // its name and version
	Works    bool     `json:"works"`            // over long-polling
	Level    Level    `json:"level"`
	Verdict  string   `json:"verdict"`  // one line, in plain words
	Profiles []string `json:"profiles"` // kinds of network, "clean" if nothing is wrong
	Rows     []Row    `json:"rows"`
	Seconds  float64  `json:"seconds"` // that the check took
}

// Row is the outcome of one check.
type Row struct {
	Check   string            `json:"check"`
	Title   string            `json:"title"`
	Outcome string            `json:"outcome"`
	Level   Level             `json:"level"`
	Says    string            `json:"says"`
	Advice  string            `json:"advice,omitempty"`
	Facts   map[string]string `json:"facts,omitempty"`
}

// marks are the levels in plain text.
var marks = map[Level]string{Good: "ok", Warn: "WARN", Bad: "BAD", None: "-"}

// Mark returns the level as text tables show it.
func (l Level) Mark() string { return marks[l] }

// Text returns the report as plain text, to be pasted into a message.
func (r *Report) Text() string {
	var rows strings.Builder
	for _, row := range r.Rows {
		rows.WriteString(row.Text())
	}
	return r.Head() + "\n\n" + rows.String()
}

// Head returns the beginning of the text: the verdict and what it is about.
func (r *Report) Head() string {
	s := r.Verdict + "\n\nBridge    " + r.URL
	if r.Bridge != "" {
		s += " (" + r.Bridge + ")"
	}
	if r.Proxy != "" {
		s += "\nProxy     " + r.Proxy
	}
	return s + "\nProfiles  " + strings.Join(r.Profiles, ", ")
}

// Text returns the row as lines of plain text.
func (r Row) Text() string {
	s := fmt.Sprintf("%-5s %-27s %s\n", r.Level.Mark(), r.Title, r.Says)
	if r.Advice != "" && r.Level != None {
		s += fmt.Sprintf("%-33s -> %s\n", "", r.Advice)
	}
	return s
}
