package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport/access"
)

// ConfigError is one mistake in a Config.
type ConfigError struct {
	// Field is the path of the field, such as "Backends[1].TLS.KeyFile".
	Field string
	// Problem is what is wrong and what is expected.
	Problem string
}

func (e *ConfigError) Error() string {
	return fmt.Sprintf("bridge: config: %s: %s", e.Field, e.Problem)
}

// Validate returns every mistake in the Config, as errors.Join of *ConfigErrors.
// It neither opens files nor dials.
func (c Config) Validate() error {
	var p problems
	d := c.WithDefaults()

	if len(d.Backends) == 0 {
		p.add("Backends", "at least one is needed")
	}
	for i, b := range d.Backends {
		b.validate(&p, fmt.Sprintf("Backends[%d].", i))
	}
	p.duplicates(d.Backends)

	p.prefix("Prefix", d.Prefix)
	p.access("AllowOrigins", d.AllowOrigins, func(v []string) access.Config { return access.Config{AllowOrigins: v} })
	p.access("AllowHosts", d.AllowHosts, func(v []string) access.Config { return access.Config{AllowHosts: v} })
	p.access("AllowHeaders", d.AllowHeaders, func(v []string) access.Config { return access.Config{AllowHeaders: v} })
	for i, n := range d.TrustedProxies {
		if !n.IsValid() {
			p.add(fmt.Sprintf("TrustedProxies[%d]", i), "not a network, as 10.0.0.0/8")
		}
	}
	p.patterns("AllowMethods", d.AllowMethods)
	p.patterns("DenyMethods", d.DenyMethods)
	for i, h := range d.ForwardHeaders {
		if !forwardable(h) {
			p.add(fmt.Sprintf("ForwardHeaders[%d]", i), fmt.Sprintf("%q cannot become metadata", h))
		}
	}

	if d.Descriptors != "" && !d.RPC {
		p.add("Descriptors", "only RPC uses it")
	}

	if n := len(d.AdminToken); n > 0 && n < leastToken {
		p.add("AdminToken", fmt.Sprintf("%d characters, want at least %d", n, leastToken))
	}
	if !ValidClusterName(d.ClusterName) {
		p.add("ClusterName", fmt.Sprintf("%q is not 1 to 64 letters, digits, - and _", d.ClusterName))
	}
	p.duration("DrainTimeout", d.DrainTimeout, time.Millisecond, 24*time.Hour)
	p.duration("Hold", d.Hold, time.Second, 10*time.Minute)
	p.duration("ResumeWindow", d.ResumeWindow, time.Second, 24*time.Hour)
	p.duration("PauseMax", d.PauseMax, d.ResumeWindow, 24*time.Hour)
	p.number("MaxMessageBytes", int64(d.MaxMessageBytes), 1, 1<<30)
	p.number("MaxMetadataBytes", int64(d.MaxMetadataBytes), 1<<10, 16<<20)
	p.number("MaxBatchBytes", int64(d.MaxBatchBytes), 64<<10, 64<<20)
	p.number("MaxStreams", int64(d.MaxStreams), 1, 1<<20)
	p.number("MaxSessions", int64(d.MaxSessions), 1, 1<<30)
	p.number("MaxSessionsPerPrincipal", int64(d.MaxSessionsPerPrincipal), 1, 1<<30)
	p.number("StreamWindow", int64(d.StreamWindow), 16<<10, 1<<30)
	p.number("SessionWindow", int64(d.SessionWindow), 64<<10, 1<<30)
	p.number("SessionRate", int64(d.SessionRate), 1, 1<<24)
	p.number("IPv6Prefix", int64(d.IPv6Prefix), 1, 128)
	p.number("MaxBufferedBytes", d.MaxBufferedBytes, int64(d.MaxMessageBytes), 1<<50)
	p.number("MaxRPCs", int64(d.MaxRPCs), 1, 1<<24)
	p.number("MaxRPCsPerPrincipal", int64(d.MaxRPCsPerPrincipal), 1, 1<<24)
	return errors.Join(p...)
}

func (b Backend) validate(p *problems, at string) {
	set := 0
	for _, is := range []bool{b.Target != "", b.ClientConn != nil, b.GRPCServer != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		p.add(at+"Target", "exactly one of Target, ClientConn and GRPCServer is needed")
	}
	for i, s := range b.Services {
		if !wire.ValidServicePrefix(s) {
			p.add(fmt.Sprintf("%sServices[%d]", at, i), fmt.Sprintf("%q is not a prefix of a service's name", s))
		}
	}
	if b.TLS != nil {
		if (b.TLS.CertFile == "") != (b.TLS.KeyFile == "") {
			p.add(at+"TLS.KeyFile", "CertFile and KeyFile go together")
		}
		if b.Target == "" {
			p.add(at+"TLS", "only a backend with a Target uses it")
		}
	}
	if !slices.Contains([]string{"safe", "balanced", "fast"}, b.Profile) {
		p.add(at+"Profile", fmt.Sprintf("%q is none of safe, balanced, fast", b.Profile))
	}
	if b.ServiceConfig != "" && !json.Valid([]byte(b.ServiceConfig)) {
		p.add(at+"ServiceConfig", "not valid JSON")
	}
	if b.ChannelPerSession && b.ClientConn != nil {
		p.add(at+"ChannelPerSession", "the bridge dials no channel beside ClientConn")
	}
	p.duration(at+"ReadyTimeout", b.ReadyTimeout, time.Millisecond, time.Hour)
	p.number(at+"MaxConcurrentStreams", int64(b.MaxConcurrentStreams), 1, 1<<31-1)
}

// leastToken is the length of an admin token that nobody guesses.
const leastToken = 16

type problems []error

func (p *problems) add(field, problem string) {
	*p = append(*p, &ConfigError{Field: field, Problem: problem})
}

func (p *problems) duration(field string, v, least, most time.Duration) {
	if v < least || v > most {
		p.add(field, fmt.Sprintf("%v is not within %v and %v", v, least, most))
	}
}

func (p *problems) number(field string, v, least, most int64) {
	if v < least || v > most {
		p.add(field, fmt.Sprintf("%d is not within %d and %d", v, least, most))
	}
}

func (p *problems) prefix(field, v string) {
	switch {
	case !strings.HasPrefix(v, "/"):
		p.add(field, fmt.Sprintf("%q does not start with a slash", v))
	case strings.HasSuffix(v, "/"):
		p.add(field, fmt.Sprintf("%q ends with a slash", v))
	case strings.Contains(v, "//") || strings.ContainsAny(v, "?#%{}* ") || strings.Contains(v+"/", "/../") || strings.Contains(v+"/", "/./"):
		p.add(field, fmt.Sprintf("%q is not a plain path", v))
	}
}

// access validates each value of a list with the package that uses it.
func (p *problems) access(field string, list []string, config func([]string) access.Config) {
	for i, v := range list {
		if _, err := access.New(config([]string{v})); err != nil {
			p.add(fmt.Sprintf("%s[%d]", field, i), err.Error())
		}
	}
}

func (p *problems) patterns(field string, list []string) {
	for i, v := range list {
		if !validPattern(v) {
			p.add(fmt.Sprintf("%s[%d]", field, i), fmt.Sprintf("%q is not pkg.Service/Method, pkg.Service, or the beginning of one with a star, as pkg.*", v))
		}
	}
}

// duplicates finds service prefixes and names that two backends claim.
func (p *problems) duplicates(backends []Backend) {
	services, names := map[string]int{}, map[string]int{}
	for i, b := range backends {
		for j, s := range b.Services {
			if first, ok := services[s]; ok {
				p.add(fmt.Sprintf("Backends[%d].Services[%d]", i, j), fmt.Sprintf("%q already goes to Backends[%d]", s, first))
			}
			services[s] = i
		}
		if first, ok := names[b.Name]; ok && b.Name != "" {
			p.add(fmt.Sprintf("Backends[%d].Name", i), fmt.Sprintf("%q is the name of another backend already, of Backends[%d]", b.Name, first))
		}
		names[b.Name] = i
	}
}
