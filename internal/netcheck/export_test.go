package netcheck

import "time"

// Judge draws the conclusion from outcomes, by check.
func Judge(found map[string]string) *Report {
	t, err := readTable()
	if err != nil {
		panic(err)
	}
	r := &runner{table: t}
	for _, c := range t.Checks {
		if outcome, ok := found[c.ID]; ok {
			r.say(c.ID, outcome, nil)
		}
	}
	return r.report(0)
}

// Pieces says what three frames came to that were sent 700 ms apart, beside
// whole answers that were sent 350 ms after the first two. Times are in
// milliseconds after the request.
func Pieces(came [3]int, whole [2]int) string {
	var f frames
	for i, ms := range came {
		f.came[i] = time.Duration(ms) * time.Millisecond
	}
	for i, ms := range whole {
		f.whole[i] = time.Duration(ms) * time.Millisecond
	}
	switch {
	case f.passes():
		return "passed"
	case f.held():
		return "held"
	}
	return "unclear"
}
