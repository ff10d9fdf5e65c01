package main

import (
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// measures tells whether the flags want a sample.
func (c config) measures(k key) bool {
	if c.ways != "" && !slices.Contains(strings.Split(c.ways, ","), k.way) {
		return false
	}
	matched, err := regexp.MatchString(c.scenarios, k.scenario)
	return matched || err != nil
}

// startProfile has the load and, where it can be asked, the hop profile
// themselves for a sample.
func (c config) startProfile(s scenario, w *way) error {
	if c.profile == "" {
		return nil
	}
	answer("profile " + c.profileName(s, w, "load.cpu"))
	if w.hop == nil || w.hop.lines == nil {
		return nil
	}
	var u usage
	return w.hop.ask("profile "+c.profileName(s, w, "cpu"), &u)
}

// endProfile ends what startProfile began, and writes where the processes have
// allocated since they began.
func (c config) endProfile(s scenario, w *way) error {
	if c.profile == "" {
		return nil
	}
	answer("profile")
	answer("lookup allocs=" + c.profileName(s, w, "load.allocs"))
	if w.hop == nil || w.hop.lines == nil {
		return nil
	}
	var u usage
	if err := w.hop.ask("profile", &u); err != nil {
		return err
	}
	return w.hop.ask("lookup allocs="+c.profileName(s, w, "allocs"), &u)
}

// profiling has a role's process profile its CPU while f measures it.
func (c config) profiling(p *process, name string, f func() (float64, error)) (float64, error) {
	if c.profile == "" {
		return f()
	}
	var u usage
	if err := p.ask("profile "+filepath.Join(c.profile, name+".cpu"), &u); err != nil {
		return none, err
	}
	value, err := f()
	return value, errors.Join(err, p.ask("profile", &u))
}

func (c config) profileName(s scenario, w *way, kind string) string {
	name := strings.NewReplacer(" ", "-", ",", "", "/", "-").Replace(s.name + "." + w.name + "." + kind)
	return filepath.Join(c.profile, name)
}

// profileMemory writes what a role's process holds, by kind, after a crowd has
// come; BENCH_MEMPROFILERATE=1 makes it exact.
func (c config) profileMemory(p *process, name string) error {
	if c.profile == "" || p.lines == nil {
		return nil
	}
	var errs []error
	for _, kind := range []string{"heap", "goroutine"} {
		var u usage
		errs = append(errs, p.ask("lookup "+kind+"="+filepath.Join(c.profile, name+"."+kind), &u))
	}
	return errors.Join(errs...)
}
