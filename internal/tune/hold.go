package tune

import "time"

// Hold learns how long exchanges may be held on this network.
type Hold struct {
	Hold time.Duration // longest that an exchange is asked to be held
	Max  time.Duration

	lastCut time.Duration // age of the last exchange that was cut; 0: none yet
	clean   int           // exchanges answered at their hold's end since then
}

const (
	// MinHold is the shortest hold that is learnt.
	MinHold = 5 * time.Second
	// cleanHolds is how many exchanges must be answered at their hold's end until
	// a longer one is tried.
	cleanHolds = 20
)

// Cut notes that an exchange of that age was cut off. Two at a similar age
// teach the hold.
func (h *Hold) Cut(age time.Duration) {
	similar := h.lastCut > 0 && age > h.lastCut*4/5 && age < h.lastCut*5/4
	h.lastCut, h.clean = age, 0
	if similar {
		h.Hold = min(h.Hold, max(MinHold, age*7/10))
	}
}

// Kept notes that an exchange was answered at its hold's end.
func (h *Hold) Kept() {
	if h.clean++; h.clean >= cleanHolds {
		h.clean = 0
		h.Hold = min(h.Max, h.Hold*6/5)
	}
}
