package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// A claim is one figure of a row with what it must be and should be.
type claim struct {
	row        int
	what       string
	value      float64 // NaN: not measured
	unit       string
	must, goal float64 // NaN: none
	more       bool    // more is better
}

// none is a figure that is not there.
var none = math.NaN()

// atMost and atLeast are claims with a must and a goal.
func atMost(row int, what string, value float64, unit string, must, goal float64) claim {
	return claim{row, what, value, unit, must, goal, false}
}

func atLeast(row int, what string, value float64, unit string, must, goal float64) claim {
	return claim{row, what, value, unit, must, goal, true}
}

// seen is a figure that stands beside the others and is not judged.
func seen(row int, what string, value float64, unit string) claim {
	return claim{row, what, value, unit, none, none, false}
}

func (c claim) meets(bound float64) bool {
	if c.more {
		return c.value >= bound
	}
	return c.value <= bound
}

func (c claim) verdict() string {
	switch {
	case math.IsNaN(c.value):
		return "not measured"
	case math.IsNaN(c.must):
		return ""
	case !math.IsNaN(c.goal) && c.meets(c.goal):
		return "reaches its goal"
	case c.meets(c.must):
		return "meets its must"
	}
	return "**misses its must**"
}

func (c claim) bound(b float64) string {
	switch {
	case math.IsNaN(b):
		return ""
	case c.more:
		return "≥ " + figure(b)
	}
	return "≤ " + figure(b)
}

func (c claim) figure() string {
	if math.IsNaN(c.value) {
		return "–"
	}
	return figure(c.value) + c.unit
}

// figure shows three digits, or all before the point.
func figure(v float64) string {
	if v == 0 || math.Abs(v) >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	return strconv.FormatFloat(v, 'f', min(digits, 2), 64)
}

func micros(ns float64) string { return fmt.Sprintf("%s µs", figure(ns/1e3)) }

// middle is the median; NaN of nothing.
func middle(values []float64) float64 {
	if len(values) == 0 {
		return none
	}
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
