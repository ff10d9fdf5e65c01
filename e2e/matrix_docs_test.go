package e2e_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the matrix into docs/NETWORKS.md")

const (
	networks    = "../docs/NETWORKS.md"
	matrixBegin = "<!-- matrix: go test ./e2e -run TestNetworks -update -->\n"
	matrixEnd   = "<!-- end of matrix -->"
)

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
	page, err := os.ReadFile(networks)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), matrixBegin)
	was, after, ended := strings.Cut(rest, matrixEnd)
	if !ok || !ended {
		t.Fatalf("%s has no matrix", networks)
	}
	if was == table.String() {
		return
	}
	if !*update {
		t.Fatalf("%s does not show the matrix as it is: go test ./e2e -run TestNetworks -update", networks)
	}
	if err := os.WriteFile(networks, []byte(before+matrixBegin+table.String()+matrixEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
