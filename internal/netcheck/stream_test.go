package netcheck_test

import (
	"testing"

	"github.com/pollbridge/pollbridge/internal/netcheck"
)

// TestPieces holds that what delays everything does not count as a network
// that holds answers back, however slow the machine.
func TestPieces(t *testing.T) {
	for name, c := range map[string]struct {
		came  [3]int
		whole [2]int
		want  string
	}{
		"as sent":                            {[3]int{5, 705, 1405}, [2]int{355, 1055}, "passed"},
		"far away":                           {[3]int{805, 1505, 2205}, [2]int{1155, 1855}, "passed"},
		"corked by 265 ms":                   {[3]int{5, 970, 1410}, [2]int{355, 1055}, "passed"},
		"the request was late":               {[3]int{2005, 2705, 3405}, [2]int{355, 1055}, "passed"},
		"held to the end":                    {[3]int{1405, 1405, 1405}, [2]int{355, 1055}, "held"},
		"held to the end, far away":          {[3]int{2205, 2205, 2205}, [2]int{1155, 1855}, "held"},
		"one behind":                         {[3]int{705, 1405, 1405}, [2]int{355, 1055}, "held"},
		"everything stood still for 2 s":     {[3]int{2005, 2005, 2005}, [2]int{2005, 2005}, "unclear"},
		"everything stood still at the end":  {[3]int{5, 1605, 1605}, [2]int{355, 1605}, "unclear"},
		"everything stood still, then again": {[3]int{905, 1905, 1905}, [2]int{905, 1905}, "unclear"},
	} {
		if got := netcheck.Pieces(c.came, c.whole); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
