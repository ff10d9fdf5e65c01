package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/pollbridge/pollbridge/bridge"
)

// merger lays sources over one another and collects mistakes.
type merger struct {
	settings *Settings
	given    map[string][]value // by setting: what won
	bad      map[string]bool    // what won is not even well-formed: checked no further
	// entries gives, for each backend, which values of --backend made it.
	entries [][]int
	errors  Errors
}

// apply parses values and lays them over what was there.
func (m *merger) apply(o *Option, values []value) {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = v.text
	}
	m.given[o.Name] = values
	m.bad[o.Name] = false
	for i, err := range o.set(m.settings, texts) {
		if err != nil {
			m.bad[o.Name] = true
			m.errors = append(m.errors, values[i].error(err.Error()))
		}
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

// has says whether the setting has a value, its default included.
func (m *merger) has(name string) bool { return len(m.given[name]) > 0 }

// chosen says whether somebody gave the setting a value.
func (m *merger) chosen(name string) bool { return m.has(name) && m.given[name][0].place != "" }

// on says whether a setting has a value, and is not a switch that is off.
func (m *merger) on(name string) bool { return m.has(name) && m.given[name][0].text != "false" }

// finish puts together what belongs together and checks the whole.
func (m *merger) finish() {
	m.pair("tls-cert", "tls-key")
	m.pair("backend-cert", "backend-key")
	m.needs()
	if m.has("jwt-jwks") && m.has("forward-auth") {
		m.wrong("forward-auth", 0, "given beside jwt-jwks, want one of them")
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

// needs finds settings that are of no use without another.
func (m *merger) needs() {
	for _, o := range Options() {
		if o.needs != "" && m.chosen(o.Name) && !m.on(o.needs) {
			m.wrong(o.Name, 0, "given without "+o.needs+", which it needs")
		}
	}
}

func (m *merger) certificate() {
	s := m.settings
	if s.tlsCert == "" || s.tlsKey == "" {
		return
	}
	certificate, err := tls.LoadX509KeyPair(s.tlsCert, s.tlsKey)
	if err != nil {
		m.wrong("tls-cert", 0, fmt.Sprintf("no use with tls-key: %v; want a certificate and its key in PEM", err))
		return
	}
	s.Certificate = &certificate
}

// backends makes one backend of all entries with the same target.
func (m *merger) backends() {
	s := m.settings
	at := map[string]int{}
	for entry, t := range s.targets {
		i, ok := at[t.target]
		if !ok {
			i = len(s.Bridge.Backends)
			at[t.target] = i
			b := s.backend
			b.Target = t.target
			if s.backendTLS {
				files := s.backendFiles
				b.TLS = &files
			}
			s.Bridge.Backends = append(s.Bridge.Backends, b)
			m.entries = append(m.entries, nil)
		}
		s.Bridge.Backends[i].Services = append(s.Bridge.Backends[i].Services, t.service)
		m.entries[i] = append(m.entries[i], entry)
	}
}

// validate has the bridge check its part, and says of each problem where the
// value came from.
func (m *merger) validate() {
	err := m.settings.Bridge.Validate()
	if err == nil {
		return
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		m.errors = append(m.errors, &Error{Text: err.Error()})
		return
	}
	for _, err := range joined.Unwrap() {
		problem, ok := errors.AsType[*bridge.ConfigError](err)
		if !ok {
			m.errors = append(m.errors, &Error{Text: err.Error()})
			continue
		}
		m.problem(problem)
	}
}

var backendField = regexp.MustCompile(`^Backends\[(\d+)\]\.(\w+)(?:\[(\d+)\])?`)

// problem finds the setting that a field of bridge.Config came from.
func (m *merger) problem(problem *bridge.ConfigError) {
	field, index := problem.Field, 0
	if match := backendField.FindStringSubmatch(field); match != nil {
		backend, _ := strconv.Atoi(match[1])
		service, _ := strconv.Atoi(match[3])
		switch field = match[2]; {
		case field == "Services" || field == "Name" || field == "Target":
			field, index = "Backends", m.entries[backend][service]
		case backend > 0:
			return // common to all backends: said once
		}
	} else if name, number, ok := strings.Cut(strings.TrimSuffix(field, "]"), "["); ok {
		field = name
		index, _ = strconv.Atoi(number)
	}
	for _, o := range Options() {
		if o.field != field {
			continue
		}
		if !m.bad[o.Name] {
			m.wrong(o.Name, index, problem.Problem)
		}
		return
	}
	m.errors = append(m.errors, &Error{Key: problem.Field, Text: problem.Problem})
}
