package netcheck

import (
	_ "embed"
	"encoding/json"
	"slices"
	"strings"
)

// TableJSON is table.json: the outcomes of each check, and what follows from them.
//
//go:embed table.json
var TableJSON []byte

// Level is how good or bad an outcome is.
type Level string

// Levels.
const (
	Good Level = "good"
	Warn Level = "warn"
	Bad  Level = "bad"
	None Level = "none" // not tried, or nothing to be said
)

// Table is what TableJSON holds.
type Table struct {
	Checks []struct {
		ID, Title string
		Outcomes  map[string]saying
	}
	Skipped  saying
	Profiles []profile
	Clean    profile
	Verdicts []verdict
}

type saying struct {
	Level        Level
	Says, Advice string
}

// outcomes lists outcomes by check.
type outcomes map[string][]string

// profile is a kind of network.
type profile struct {
	ID, Says     string
	When, Unless outcomes
	Alone        bool // excludes all further profiles
}

// verdict is the first line of a report. {findings} is replaced by the profiles'
// texts.
type verdict struct {
	When  outcomes
	Clean bool // applies only if no profile does
	Level Level
	Says  string
}

// ReadTable returns the table in TableJSON.
func ReadTable() (*Table, error) {
	t := &Table{}
	return t, json.Unmarshal(TableJSON, t)
}

// holds reports whether each check named has one of the outcomes named.
func (o outcomes) holds(found map[string]string) bool {
	for check, wanted := range o {
		if !slices.Contains(wanted, found[check]) {
			return false
		}
	}
	return true
}

// Row returns the row of an outcome, with each {word} replaced by the fact of
// that name. An outcome that the table does not have makes a row "skipped".
func (t *Table) Row(check, outcome string, facts map[string]string) Row {
	for _, c := range t.Checks {
		if c.ID != check {
			continue
		}
		said, ok := c.Outcomes[outcome]
		if !ok {
			said, outcome = t.Skipped, "skipped"
		}
		return Row{
			Check: check, Title: c.Title, Outcome: outcome, Level: said.Level,
			Says: fill(said.Says, facts), Advice: fill(said.Advice, facts), Facts: facts,
		}
	}
	return Row{Check: check, Outcome: outcome, Level: None, Facts: facts}
}

func fill(text string, facts map[string]string) string {
	for word, fact := range facts {
		text = strings.ReplaceAll(text, "{"+word+"}", fact)
	}
	return text
}

// Report returns the report on rows: whether RPCs work, over what, and which
// kinds of network fit. URL, Proxy, Bridge and Seconds are left to the caller.
func (t *Table) Report(rows []Row) *Report {
	profiles, v := t.judge(rows)
	works := slices.ContainsFunc(rows, func(r Row) bool {
		return r.Check == "longpoll" && (r.Outcome == "ok" || r.Outcome == "opens")
	})
	return &Report{Rows: rows, Works: works, Profiles: profiles, Verdict: v.Says, Level: v.Level}
}

// judge returns the profiles that fit, and the first verdict that does.
func (t *Table) judge(rows []Row) (profiles []string, v verdict) {
	found := make(map[string]string)
	for _, r := range rows {
		found[r.Check] = r.Outcome
	}
	var findings []string
	for _, p := range t.Profiles {
		if !p.When.holds(found) || len(p.Unless) > 0 && p.Unless.holds(found) {
			continue
		}
		profiles, findings = append(profiles, p.ID), append(findings, p.Says)
		if p.Alone {
			break
		}
	}
	clean := len(profiles) == 0
	if clean {
		profiles, findings = []string{t.Clean.ID}, []string{t.Clean.Says}
	}
	for _, v := range t.Verdicts {
		if v.When.holds(found) && (!v.Clean || clean) {
			text := list(findings)
			v.Says = fill(v.Says, map[string]string{"findings": text, "Findings": strings.ToUpper(text[:1]) + text[1:]})
			return profiles, v
		}
	}
	return profiles, verdict{}
}

// list returns "a", "a and b" or "a, b and c".
func list(parts []string) string {
	if len(parts) == 1 {
		return parts[0]
	}
	last := len(parts) - 1
	return strings.Join(parts[:last], ", ") + " and " + parts[last]
}
