package netcheck

// Judge draws the conclusion from outcomes, by check.
func Judge(found map[string]string) *Report {
	t, err := ReadTable()
	if err != nil {
		panic(err)
	}
	var rows []Row
	for _, c := range t.Checks {
		if outcome, ok := found[c.ID]; ok {
			rows = append(rows, t.Row(c.ID, outcome, nil))
		}
	}
	return t.Report(rows)
}
