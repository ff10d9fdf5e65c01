// Package model checks the rules of docs/PROTOCOL.md by visiting every state
// of small models of them, with a network that loses, repeats, reorders and
// delays whatever it carries.
//
// Each model has switches for designs that look simpler and are wrong; tests
// show that the checker catches every one of them. A model is small on purpose:
// one group of rules, few frames, few links. docs/MODEL.md tells what was
// exhausted.
package model

import "fmt"

// Step is one thing that can happen in a state.
type Step[S comparable] struct {
	Name string
	To   S
}

// System is what is checked. A state is a comparable value.
type System[S comparable] struct {
	Start S
	// Next gives all that can happen.
	Next func(S) []Step[S]
	// Wrong says what is wrong with a state, "" if nothing is.
	Wrong func(S) string
	// Done tells that everything was achieved. From every state a state that
	// is done must be reachable. Nil: nothing is to be achieved.
	Done func(S) bool
}

// Report is what a check found.
type Report struct {
	States, Steps int
	// Fault is the first thing found wrong, "" if nothing is; Trace tells how
	// the start leads to it.
	Fault string
	Trace []string
}

// String tells the outcome in a line, and the trace below it.
func (r Report) String() string {
	s := fmt.Sprintf("%d states, %d steps", r.States, r.Steps)
	if r.Fault == "" {
		return s
	}
	s += "\n" + r.Fault + ", by"
	for _, step := range r.Trace {
		s += "\n  " + step
	}
	return s
}

// maxStates stops a model that is not finite after all.
const maxStates = 20_000_000

// Check visits every state that can be reached, nearest first.
func Check[S comparable](sys System[S]) Report {
	c := checker[S]{sys: sys, index: map[S]int{sys.Start: 0}, states: []S{sys.Start}, from: []origin{{-1, "start"}}}
	return c.run()
}

// origin is how a state was reached first.
type origin struct {
	state int
	step  string
}

type checker[S comparable] struct {
	sys    System[S]
	index  map[S]int
	states []S
	from   []origin
	back   [][]int32 // predecessors
	steps  int
}

func (c *checker[S]) run() Report {
	for i := 0; i < len(c.states); i++ {
		if fault := c.sys.Wrong(c.states[i]); fault != "" {
			return c.report(fault, i)
		}
		if len(c.states) > maxStates {
			return c.report("more states than can be visited", i)
		}
		c.expand(i)
	}
	if i, stuck := c.stuck(); stuck {
		return c.report("nothing leads to the goal from here", i)
	}
	return c.report("", 0)
}

func (c *checker[S]) expand(i int) {
	for _, step := range c.sys.Next(c.states[i]) {
		c.steps++
		j, seen := c.index[step.To]
		if !seen {
			j = len(c.states)
			c.index[step.To] = j
			c.states = append(c.states, step.To)
			c.from = append(c.from, origin{i, step.Name})
		}
		for len(c.back) <= max(i, j) {
			c.back = append(c.back, nil)
		}
		c.back[j] = append(c.back[j], int32(i))
	}
}

// stuck finds a state from which no state that is done can be reached.
func (c *checker[S]) stuck() (int, bool) {
	if c.sys.Done == nil {
		return 0, false
	}
	good := make([]bool, len(c.states))
	var queue []int
	for i, s := range c.states {
		if c.sys.Done(s) {
			good[i] = true
			queue = append(queue, i)
		}
	}
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		if i >= len(c.back) {
			continue
		}
		for _, j := range c.back[i] {
			if !good[j] {
				good[j] = true
				queue = append(queue, int(j))
			}
		}
	}
	for i := range good {
		if !good[i] {
			return i, true
		}
	}
	return 0, false
}

func (c *checker[S]) report(fault string, at int) Report {
	r := Report{States: len(c.states), Steps: c.steps, Fault: fault}
	if fault == "" {
		return r
	}
	for i := at; i >= 0; i = c.from[i].state {
		r.Trace = append([]string{c.from[i].step}, r.Trace...)
	}
	return r
}
