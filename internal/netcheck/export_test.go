package netcheck

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
