package netcheck

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Report is what a check has found. It holds no secret: neither credentials nor
// values of headers.
type Report struct {
	URL      string   `json:"url"`              // of the bridge, its prefix included
	Proxy    string   `json:"proxy,omitempty"`  // without credentials
	Bridge   string   `json:"bridge,omitempty"` // what it calls itself
	Works    bool     `json:"works"`            // over long-polling
	Level    Level    `json:"level"`
	Verdict  string   `json:"verdict"`  // one line, in plain words
	Profiles []string `json:"profiles"` // kinds of network, "clean" if nothing is wrong
	Rows     []Row    `json:"rows"`
	Seconds  float64  `json:"seconds"` // that the check took
}

// Row is what one check came to.
type Row struct {
	Check   string            `json:"check"`
	Title   string            `json:"title"`
	Outcome string            `json:"outcome"`
	Level   Level             `json:"level"`
	Says    string            `json:"says"`
	Advice  string            `json:"advice,omitempty"`
	Facts   map[string]string `json:"facts,omitempty"`
}

// marks are the words for levels in text.
var marks = map[Level]string{Good: "ok", Warn: "WARN", Bad: "BAD", None: "-"}

// Mark is a level as text tables show it.
func (l Level) Mark() string { return marks[l] }

// Text is the report as plain text, to be pasted into a message.
func (r *Report) Text() string {
	var rows strings.Builder
	for _, row := range r.Rows {
		rows.WriteString(row.Text())
	}
	return r.Head() + "\n\n" + rows.String()
}

// Head is what the report begins with: the verdict, and what it is of.
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

// Text is the row as lines of plain text.
func (r Row) Text() string {
	s := fmt.Sprintf("%-5s %-27s %s\n", r.Level.Mark(), r.Title, r.Says)
	if r.Advice != "" && r.Level != None {
		s += fmt.Sprintf("%-33s -> %s\n", "", r.Advice)
	}
	return s
}

// inTime is a duration as people read it: 0.83 ms, 84 ms, 2.1 s.
func inTime(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case ms == 0:
		return "0 ms"
	case ms < 1:
		return strconv.FormatFloat(ms, 'f', 2, 64) + " ms"
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
	case ms < 1000:
		return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
	}
	return strings.TrimSuffix(strconv.FormatFloat(ms/1000, 'f', 1, 64), ".0") + " s"
}

// inBytes is a size: 512 B, 64 KiB, 1.5 MiB.
func inBytes(n int) string {
	switch {
	case n < 1<<10:
		return strconv.Itoa(n) + " B"
	case n < 1<<20:
		return strings.TrimSuffix(strconv.FormatFloat(float64(n)/(1<<10), 'f', 1, 64), ".0") + " KiB"
	}
	return strings.TrimSuffix(strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64), ".0") + " MiB"
}

// leastSample is the shortest time that tells a rate.
const leastSample = 20 * time.Millisecond

// rate is bytes a second, at least: less time than leastSample is not believed.
func rate(n int, d time.Duration) float64 { return float64(n) / max(d, leastSample).Seconds() }

// inRate is a rate as people read it: 64 KiB/s, over 48.8 MiB/s.
func inRate(n int, d time.Duration) string {
	text := inBytes(int(rate(n, d))) + "/s"
	if d < leastSample {
		text = "over " + text
	}
	return text
}
