// Package config turns a YAML file, the environment and command-line flags
// into the settings of "bridge serve". One table, Options, names each setting
// once for all three.
package config

import (
	"crypto/tls"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/auth/forwardauth"
	"github.com/pollbridge/pollbridge/internal/auth/jwtauth"
)

// Settings is what "bridge serve" runs by.
type Settings struct {
	// Bridge is the bridge's part, validated; Logger is left for the caller.
	Bridge bridge.Config

	// Listen is the address of the public listener.
	Listen string
	// Admin is the address of the admin listener; empty: none.
	Admin string
	// Certificate is the public listener's; nil: plain HTTP.
	Certificate *tls.Certificate

	// JWT admits clients by token if it has a JWKS, ForwardAuth by asking if it
	// has a URL. Not both.
	JWT         jwtauth.Config
	ForwardAuth forwardauth.Config

	LogLevel  slog.Level
	LogFormat string // "text" or "json"

	given           map[string][]value // by setting: what won
	tlsCert, tlsKey string
	targets         []target
	backendTLS      bool
	backend         bridge.Backend    // what all backends have in common
	backendFiles    bridge.BackendTLS // used when backendTLS is set
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

// Load merges the sources: a flag wins over the environment, that over the
// file, and that over the default. A list given in one replaces the list of
// another. It returns every mistake at once, as Errors. Lookup is
// os.LookupEnv.
func (f *Flags) Load(lookup func(string) (string, bool)) (*Settings, error) {
	given := map[string][]value{}
	m := merger{settings: &Settings{given: given}, given: given, bad: map[string]bool{}}
	for _, o := range Options() {
		if o.Default != "" {
			m.apply(o, o.defaults())
		}
	}
	if name := f.fileName(lookup); name != "" {
		m.file(name)
	}
	for _, o := range Options() {
		if text, ok := lookup(EnvName(o.Name)); ok && text != "" {
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

// Error is err as a mistake in the setting called name, with where its value came
// from.
func (s *Settings) Error(name string, err error) error {
	v := value{key: name}
	if values := s.given[name]; len(values) > 0 && values[0].place != "" {
		v = values[0]
	}
	return v.error(err.Error())
}

func (f *Flags) fileName(lookup func(string) (string, bool)) string {
	if f.file != "" {
		return f.file
	}
	name, _ := lookup(EnvName("config"))
	return name
}

// EnvName is the environment variable of the setting called name.
func EnvName(name string) string {
	return "POLLBRIDGE_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// defaults are the values that stand where none is given.
func (o *Option) defaults() []value {
	var values []value
	for _, text := range o.split(o.Default) {
		values = append(values, value{text: text, key: o.Name})
	}
	return values
}

// split takes the values of a list apart.
func (o *Option) split(text string) []string {
	if !o.Many {
		return []string{text}
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

// value is a setting's text as it was given, and where.
type value struct {
	text  string
	place string
	key   string // set where place does not name the setting
	line  int    // in the file; 0: not from there
}

func (v value) error(text string) *Error {
	return &Error{Place: v.place, Key: v.key, Text: text, line: v.line}
}

// flagValue keeps what the command line says, unparsed, so that all mistakes
// are reported at once and in one way.
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
