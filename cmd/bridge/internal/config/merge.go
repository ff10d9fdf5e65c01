package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pollbridge/pollbridge/bridge"
)

// merger merges sources and collects mistakes.
type merger struct {
	settings *Settings
	given    map[string][]value // by setting: what won
	bad      map[string]bool    // what won is not even well-formed: checked no further
	entries  []*entry
	// made has the entries of each backend.
	made    [][]*entry
	claimed map[string]string // by service: the first target that it goes to
	said    map[string]bool   // settings of all backends of which a problem was told
	errors  Errors
}

// apply parses values, which replace those of an earlier source.
func (m *merger) apply(o *Option, values []value) {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = v.text
	}
	m.given[o.Name] = values
	m.bad[o.Name] = false
	if o.mapping {
		m.takeEntries(o, values)
		return
	}
	for i, err := range o.set(m.settings, texts) {
		if err != nil {
			m.bad[o.Name] = true
			m.errors = append(m.errors, values[i].error(err.Error()))
		}
	}
}

// takeEntries parses the values of --backend.
func (m *merger) takeEntries(o *Option, values []value) {
	m.entries = nil
	for _, v := range values {
		e, errs := parseEntry(v)
		m.entries = append(m.entries, e)
		m.errors = append(m.errors, errs...)
		m.bad[o.Name] = m.bad[o.Name] || len(errs) > 0
	}
}

// wrong reports a mistake in a value of the setting called name.
func (m *merger) wrong(name string, index int, text string) {
	v := value{key: name}
	if values := m.given[name]; index < len(values) && values[index].place != "" {
		v = values[index]
	}
	m.errors = append(m.errors, v.error(text))
}

// has reports whether the setting has a value, even if only its default.
func (m *merger) has(name string) bool { return len(m.given[name]) > 0 }

// chosen reports whether a source sets the setting.
func (m *merger) chosen(name string) bool { return m.has(name) && m.given[name][0].place != "" }

// on reports whether a setting has a value, and is not a switch that is off.
func (m *merger) on(name string) bool { return m.has(name) && m.given[name][0].text != "false" }

// finish combines related settings and checks all of them.
func (m *merger) finish() {
	m.pair("tls-cert", "tls-key")
	m.pair("backend-cert", "backend-key")
	m.pair("cluster-cert", "cluster-key")
	m.needs()
	if m.has("jwt-jwks") && m.has("forward-auth") {
		m.wrong("forward-auth", 0, "given together with jwt-jwks, want one of them")
	}
	if m.has("admin-token") && m.has("admin-token-file") {
		m.wrong("admin-token", 0, "given together with admin-token-file, want one of them")
	}
	if !m.has("backend") {
		m.bad["backend"] = true
		m.wrong("backend", 0, "none given, want at least one HOST:PORT of a gRPC server")
	}
	m.certificate()
	m.backends()
	m.validate()
}

func (m *merger) pair(cert, key string) {
	if m.has(cert) && !m.has(key) {
		m.wrong(cert, 0, "given without "+key+", want both or neither")
	}
	if m.has(key) && !m.has(cert) {
		m.wrong(key, 0, "given without "+cert+", want both or neither")
	}
}

// needs reports settings that require another one.
func (m *merger) needs() {
	for _, o := range Options() {
		if o.needs != "" && m.chosen(o.Name) && !m.on(o.needs) && !m.someEntry(o.needs) {
			m.wrong(o.Name, 0, "given without "+o.needs+", which it requires")
		}
	}
	for _, e := range m.entries {
		m.errors = append(m.errors, e.needs(m.settings.common.tls)...)
	}
}

// someEntry reports whether some backend has a setting of all backends itself.
func (m *merger) someEntry(name string) bool {
	key, of := strings.CutPrefix(name, "backend-")
	return of && slices.ContainsFunc(m.entries, func(e *entry) bool { _, ok := e.at[key]; return ok })
}

func (m *merger) certificate() {
	s := m.settings
	if s.TLSCert == "" || s.TLSKey == "" {
		return
	}
	if _, err := tls.LoadX509KeyPair(s.TLSCert, s.TLSKey); err != nil {
		m.wrong("tls-cert", 0, fmt.Sprintf("unusable with tls-key: %v; want a certificate and its key in PEM", err))
	}
}

// join combines entries with plain addresses for the same services: the addresses
// share the RPCs.
func (m *merger) join() {
	first := map[string]*entry{}
	m.entries = slices.DeleteFunc(m.entries, func(e *entry) bool {
		if e.at != nil || !isList(e.draft.Target) {
			return false
		}
		f := first[e.draft.Services[0]]
		if f == nil {
			first[e.draft.Services[0]] = e
			return false
		}
		for addr := range strings.SplitSeq(e.draft.Target, ",") {
			if slices.Contains(strings.Split(f.draft.Target, ","), addr) {
				return false // claim tells of it
			}
		}
		f.add(func(d *backendDraft) { d.Target += "," + e.draft.Target })
		return true
	})
}

// isList reports whether a target is HOST:PORT, or several of them.
func isList(target string) bool {
	return target != "" && !strings.Contains(target, "://") && !strings.HasPrefix(target, "unix:")
}

// backends returns a backend for each mapping, and one for all other entries with
// the same target.
func (m *merger) backends() {
	m.join()
	s := m.settings
	plain := map[string]int{}
	for _, e := range m.entries {
		b := e.backend(s.common)
		if len(b.Services) == 0 {
			b.Services = []string{""}
		}
		m.claim(e, b)
		if i, ok := plain[b.Target]; ok && e.at == nil {
			s.Bridge.Backends[i].Services = append(s.Bridge.Backends[i].Services, b.Services...)
			m.made[i] = append(m.made[i], e)
			continue
		}
		if e.at == nil {
			plain[b.Target] = len(s.Bridge.Backends)
		}
		s.Bridge.Backends = append(s.Bridge.Backends, b)
		m.made = append(m.made, []*entry{e})
	}
}

// claim reports services that go to another backend already.
func (m *merger) claim(e *entry, b bridge.Backend) {
	for _, service := range b.Services {
		first, taken := m.claimed[service]
		if !taken {
			m.claimed[service] = b.Target
		} else if !m.bad["backend"] {
			e.disputed = true
			m.errors = append(m.errors, e.value.error(goesTo(service, first)))
		}
	}
}

// goesTo reports a service of two backends.
func goesTo(service, first string) string {
	const hint = "want a PREFIX= before one of them, or, if they share the RPCs, each as another HOST:PORT"
	if service == "" {
		return fmt.Sprintf("every service goes to %s already; %s", first, hint)
	}
	return fmt.Sprintf("services that begin with %q go to %s already; %s", service, first, hint)
}

// validate validates the bridge's part.
func (m *merger) validate() { m.explain(m.settings.Bridge.Validate()) }

// explain reports each mistake found by the bridge with the source of the value.
func (m *merger) explain(err error) {
	if err == nil {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			m.explain(err)
		}
		return
	}
	if problem, ok := errors.AsType[*bridge.ConfigError](err); ok {
		m.problem(problem)
		return
	}
	m.errors = append(m.errors, &Error{Text: err.Error()})
}

var (
	backendField = regexp.MustCompile(`^Backends\[(\d+)\](?:\.([\w.]+))?(?:\[(\d+)\])?$`)
	listField    = regexp.MustCompile(`^(\w+)\[(\d+)\]$`)
)

// problem returns the setting of a field of bridge.Config.
func (m *merger) problem(problem *bridge.ConfigError) {
	field, index := problem.Field, 0
	if match := backendField.FindStringSubmatch(field); match != nil {
		backend, _ := strconv.Atoi(match[1])
		item, _ := strconv.Atoi(match[3])
		m.backendProblem(m.made[backend], match[2], item, problem.Problem)
		return
	}
	if match := listField.FindStringSubmatch(field); match != nil {
		field = match[1]
		index, _ = strconv.Atoi(match[2])
	}
	name := m.settingOf(field)
	if name == "" {
		m.errors = append(m.errors, &Error{Key: problem.Field, Text: problem.Problem})
	} else if !m.bad[name] {
		m.wrong(name, index, problem.Problem)
	}
}

// settingOf returns the setting that gave a field of bridge.Config its value, "" if
// none does.
func (m *merger) settingOf(field string) (name string) {
	for _, o := range Options() {
		if o.field == field && (name == "" || m.chosen(o.Name)) {
			name = o.Name
		}
	}
	return name
}

// backendProblem reports a mistake in a field of a bridge.Backend: as one in a key
// of its own, or once as one in a setting of all backends.
func (m *merger) backendProblem(made []*entry, field string, item int, text string) {
	from := made[0]
	if field == "Services" && item < len(made) {
		from = made[item]
	}
	if m.bad["backend"] || from.disputed && field == "Services" {
		return
	}
	for _, k := range backendKeys() {
		if k.field != field {
			continue
		}
		if at, ok := from.at[k.Name]; ok {
			m.errors = append(m.errors, at.error(text))
			return
		}
		if name := "backend-" + k.Name; m.chosen(name) {
			if !m.bad[name] && !m.said[name] {
				m.said[name] = true
				m.wrong(name, 0, text)
			}
			return
		}
	}
	m.errors = append(m.errors, from.value.error(text))
}
