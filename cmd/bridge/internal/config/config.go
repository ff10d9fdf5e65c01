// Package config turns a YAML file, the environment and command-line flags
// into the settings of "bridge serve". One table, Options, names each setting
// once for all three.
package config

import (
	"cmp"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/cmd/bridge/internal/accesslog"
	"github.com/pollbridge/pollbridge/internal/auth/forwardauth"
	"github.com/pollbridge/pollbridge/internal/auth/jwtauth"
)

// Settings are the settings of "bridge serve".
type Settings struct {
	// Bridge is the bridge's configuration, validated. Logger is left to the
	// caller.
	Bridge bridge.Config

	// Listen is the address of the public listener, HOST:PORT or unix:PATH.
	Listen string
	// Admin is the address of the admin listener; empty: none.
	Admin string
	// TLSCert and TLSKey are the files of the public listener's certificate, which
	// are valid; empty: plain HTTP.
	TLSCert, TLSKey string
	// HealthPath is the path at which the public listener answers as /healthz does;
	// empty: none.
	HealthPath string

	// JWT admits clients by their tokens if it has a JWKS, ForwardAuth by asking a
	// URL if it has one. Not both.
	JWT         jwtauth.Config
	ForwardAuth forwardauth.Config

	// Cluster has Servers if the bridge is in one.
	Cluster Cluster
	// ReusePort shares the listeners' ports with other bridges of the machine.
	ReusePort bool

	// AccessLog has a To if there is one.
	AccessLog accesslog.Config

	LogLevel  slog.Level
	LogFormat string // "text" or "json"

	origin *merger
	common backendDraft // what all backends have in common
}

// Flags is a set of command-line flags, one for each setting, and --config.
type Flags struct {
	set  *pflag.FlagSet
	file string
}

// NewFlags adds the flags to set.
func NewFlags(set *pflag.FlagSet) *Flags {
	f := &Flags{set: set}
	set.StringVar(&f.file, "config", "", "YAML `FILE` with settings, keys named as the flags (env "+EnvName("config")+")")
	for _, o := range Options() {
		flag := set.VarPF(&flagValue{option: o}, o.Name, "", o.usage())
		if o.Switch {
			flag.NoOptDefVal = "true"
		}
	}
	return f
}

// Load merges the sources: flags override the environment, which overrides the
// file, which overrides the defaults. A list in one replaces the list in another.
// It returns every mistake at once, as Errors. environ is as from os.Environ.
func (f *Flags) Load(environ []string) (*Settings, error) {
	env := environment(environ)
	m := &merger{settings: &Settings{}, given: map[string][]value{}, bad: map[string]bool{}, said: map[string]bool{}, claimed: map[string]string{}}
	m.settings.origin = m
	for _, o := range Options() {
		if o.Default != "" {
			m.apply(o, o.defaults())
		}
	}
	if name := cmp.Or(f.file, env[EnvName("config")]); name != "" {
		m.file(name)
	}
	m.unknown(env)
	for _, o := range Options() {
		if text := env[EnvName(o.Name)]; text != "" {
			m.apply(o, envValues(o, text))
		}
	}
	for _, o := range Options() {
		if flag := f.set.Lookup(o.Name); flag.Changed {
			m.apply(o, flag.Value.(*flagValue).values())
		}
	}
	m.finish()
	if len(m.errors) > 0 {
		m.errors.sort()
		return nil, m.errors
	}
	return m.settings, nil
}

// Error returns err as a mistake in the setting called name, with the source of
// its value.
func (s *Settings) Error(name string, err error) error {
	s.origin.errors = nil
	s.origin.wrong(name, 0, err.Error())
	return s.origin.errors
}

// Explain returns an error of bridge.New about s.Bridge with the source of the
// value.
func (s *Settings) Explain(err error) error {
	s.origin.errors = nil
	s.origin.explain(err)
	s.origin.errors.sort()
	return s.origin.errors
}

// defaults returns the values of an option that is not set.
func (o *Option) defaults() []value {
	var values []value
	for _, text := range o.split(o.Default) {
		values = append(values, value{text: text, key: o.Name})
	}
	return values
}

// split returns the values in the text of a list. Mappings are a list in YAML, or
// a single one.
func (o *Option) split(text string) []string {
	var list []yaml.Node
	switch {
	case !o.Many, o.mapping && strings.HasPrefix(text, "{"):
		return []string{text}
	case o.mapping && strings.HasPrefix(text, "[") && yaml.Unmarshal([]byte(text), &list) == nil:
		var texts []string
		for _, node := range list {
			texts = append(texts, itemText(&node))
		}
		return texts
	}
	return strings.Split(text, ",")
}

func envValues(o *Option, text string) []value {
	texts := o.split(text)
	values := make([]value, len(texts))
	for i, t := range texts {
		values[i] = value{text: strings.TrimSpace(t), place: EnvName(o.Name)}
	}
	return values
}

// value is a setting's text and its source.
type value struct {
	text  string
	place string
	key   string     // set where place does not name the setting
	line  int        // in the file; 0: not from there
	node  *yaml.Node // a mapping in the file
}

func (v value) error(text string) *Error {
	return &Error{Place: v.place, Key: v.key, Text: text, line: v.line}
}

// flagValue keeps a flag's texts unparsed, so that all mistakes are reported at
// once and in one form.
type flagValue struct {
	option *Option
	texts  []string
}

func (f *flagValue) Set(text string) error {
	if !f.option.Many {
		f.texts = nil
	}
	f.texts = append(f.texts, text)
	return nil
}

func (f *flagValue) Type() string {
	if f.option.Switch {
		return "bool"
	}
	return f.option.Value
}

func (f *flagValue) String() string { return f.option.Default }

func (f *flagValue) values() []value {
	values := make([]value, 0, len(f.texts))
	for text := range slices.Values(f.texts) {
		values = append(values, value{text: text, place: "--" + f.option.Name})
	}
	return values
}
