package e2e_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables into docs/NETWORKS.md")

const networks = "../docs/NETWORKS.md"

// outcome is a cell as the docs show it, and as TestMatrix holds it.
func (r row) outcome(choice string) string {
	if names := r.fails[choice]; names != "" {
		return fmt.Sprintf("UNAVAILABLE: “… %s …”", strings.TrimSpace(names))
	}
	if choice == automatic && r.carried != "" {
		return "works, on " + r.carried
	}
	return "works"
}

// TestNetworks holds docs/NETWORKS.md to the rows that TestMatrix plays.
func TestNetworks(t *testing.T) {
	var table strings.Builder
	table.WriteString("| network | what it does | profile | automatic | longpoll alone | ws alone |\n|---|---|---|---|---|---|\n")
	for _, r := range rows {
		profile := "none"
		if r.profile != "" {
			profile = "`" + r.profile + "`"
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s | %s | %s |\n", r.name, r.does, profile, r.outcome(automatic), r.outcome(longpoll), r.outcome(ws))
	}
	holdTable(t, "matrix", table.String())
}

// TestNetworks_browser holds docs/NETWORKS.md to the rows that
// TestMatrix_browser plays.
func TestNetworks_browser(t *testing.T) {
	var table strings.Builder
	table.WriteString("| network | what it does | profile | page | outcome |\n|---|---|---|---|---|\n")
	for _, r := range browserRows {
		profile := "none"
		if r.profile != "" {
			profile = "`" + r.profile + "`"
		}
		page := map[bool]string{false: "the bridge's own", true: "of another origin"}[r.cross]
		fmt.Fprintf(&table, "| %s | %s | %s | %s | %s |\n", r.name, r.does, profile, page, r.outcome(automatic))
	}
	holdTable(t, "browser", table.String())
}

// TestNetworks_proxies holds docs/NETWORKS.md to the rows that TestProxies
// plays.
func TestNetworks_proxies(t *testing.T) {
	var table strings.Builder
	table.WriteString("| proxy | configuration | stands | page over | carried by | polls |\n|---|---|---|---|---|---|\n")
	for _, p := range realProxies {
		name, _, _ := strings.Cut(p.name, ",")
		stands := map[bool]string{false: "in front of the browser", true: "in front of the bridge"}[p.reverse]
		scheme := map[bool]string{false: "http", true: "https"}[p.https]
		polls := "never cut"
		switch {
		case p.cuts && p.with != 0:
			polls = fmt.Sprintf("cut after 15 s with %d twice, then held 10.5 s", p.with)
		case p.cuts:
			polls = "cut after 15 s with no answer twice, then held 10.5 s"
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s | %s | %s |\n", name, p.does, stands, scheme, p.carried, polls)
	}
	holdTable(t, "proxies", table.String())
}

// holdTable compares a table with the one in docs/NETWORKS.md, or writes it.
func holdTable(t *testing.T, name, table string) {
	t.Helper()
	begin := fmt.Sprintf("<!-- %s: go test ./e2e -run TestNetworks -update -->\n", name)
	end := fmt.Sprintf("<!-- end of %s -->", name)
	page, err := os.ReadFile(networks)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	was, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s has no place for %s", networks, name)
	}
	if was == table {
		return
	}
	if !*update {
		t.Fatalf("%s does not show %s as it is: go test ./e2e -run TestNetworks -update", networks, name)
	}
	if err := os.WriteFile(networks, []byte(before+begin+table+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
