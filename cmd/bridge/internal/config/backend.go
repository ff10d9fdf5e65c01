package config

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/pollbridge/pollbridge/bridge"
)

// backendKey is a setting of a backend: the flag --backend-Name for all backends,
// and the key Name of one given as a mapping.
type backendKey struct {
	Name    string
	Value   string
	Default string
	Help    string
	Many    bool
	Switch  bool
	Words   []string // as of Option

	field string // of bridge.Backend
	needs string // the key without which it is of no use
	set   func(b *backendDraft, texts []string) []error
}

var profiles = []string{"safe", "balanced", "fast"}

// backendDraft is a backend while it is not known yet whether it uses TLS.
type backendDraft struct {
	bridge.Backend
	tls   bool
	files bridge.BackendTLS
}

func (d backendDraft) backend() bridge.Backend {
	b := d.Backend
	b.Services = slices.Clone(b.Services)
	if d.tls {
		files := d.files
		b.TLS = &files
	}
	return b
}

// ownKeys returns the keys that only mappings can have.
func ownKeys() []*backendKey {
	return []*backendKey{
		{
			Name: "target", Value: "HOST:PORT", field: "Target",
			Help: "where it is: HOST:PORT, several with commas between, dns:///HOST:PORT, or unix:PATH",
			set:  one(func(b *backendDraft) *string { return &b.Target }, targetAddress),
		}, {
			Name: "services", Value: "PREFIX", Many: true, field: "Services",
			Help: "what the full names of its services begin with; without it every service",
			set:  many(func(b *backendDraft) *[]string { return &b.Services }, plain),
		}, {
			Name: "name", Value: "NAME", field: "Name",
			Help: "what it is called in logs and metrics; without it its target",
			set:  one(func(b *backendDraft) *string { return &b.Name }, plain),
		},
	}
}

// sharedKeys returns the keys that are also flags for all backends, with the
// defaults of d.
func sharedKeys(d bridge.Backend) []*backendKey {
	return []*backendKey{
		{
			Name: "tls", Switch: true, field: "TLS",
			Help: "use TLS towards backends",
			set:  one(func(b *backendDraft) *bool { return &b.tls }, boolean),
		}, {
			Name: "ca", Value: "FILE", field: "TLS.CAFile", needs: "tls",
			Help: "certificates in PEM that may sign a backend's, instead of the system's",
			set:  one(func(b *backendDraft) *string { return &b.files.CAFile }, file),
		}, {
			Name: "cert", Value: "FILE", field: "TLS.CertFile", needs: "tls",
			Help: "the bridge's own certificate in PEM, for backends that ask for one",
			set:  one(func(b *backendDraft) *string { return &b.files.CertFile }, file),
		}, {
			Name: "key", Value: "FILE", field: "TLS.KeyFile", needs: "tls",
			Help: "private key of --backend-cert in PEM",
			set:  one(func(b *backendDraft) *string { return &b.files.KeyFile }, file),
		}, {
			Name: "server-name", Value: "NAME", field: "TLS.ServerName", needs: "tls",
			Help: "name that a backend's certificate must bear, instead of its host",
			set:  one(func(b *backendDraft) *string { return &b.files.ServerName }, plain),
		}, {
			Name: "profile", Value: "WORD", Default: d.Profile, Words: profiles, field: "Profile",
			Help: "how eagerly a dead backend is looked for: safe, balanced or fast; " +
				"the latter two need backends that permit a ping every 30s or 10s",
			set: one(func(b *backendDraft) *string { return &b.Profile }, oneOf(profiles...)),
		}, {
			Name: "ready-timeout", Value: "DURATION", Default: durationText(d.ReadyTimeout), field: "ReadyTimeout",
			Help: "how long an RPC waits for a backend that cannot be reached",
			set:  one(func(b *backendDraft) *time.Duration { return &b.ReadyTimeout }, duration),
		}, {
			Name: "service-config", Value: "JSON", field: "ServiceConfig",
			Help: "gRPC service config: retry, load balancing, timeouts, health checking",
			set:  one(func(b *backendDraft) *string { return &b.ServiceConfig }, plain),
		}, {
			Name: "max-streams", Value: "N", Default: strconv.Itoa(d.MaxConcurrentStreams), field: "MaxConcurrentStreams",
			Help: "most RPCs on one connection to a backend, beside what it states itself",
			set:  one(func(b *backendDraft) *int { return &b.MaxConcurrentStreams }, count),
		}, {
			Name: "channel-per-session", Switch: true, field: "ChannelPerSession",
			Help: "give each session a gRPC channel of its own, closed with it, instead of a place on a shared one",
			set:  one(func(b *backendDraft) *bool { return &b.ChannelPerSession }, boolean),
		}, {
			Name: "json", Switch: true, field: "JSON",
			Help: "pass messages in JSON of --rpc on as they are, to backends that speak it as Connect's servers do, instead of converting them",
			set:  one(func(b *backendDraft) *bool { return &b.JSON }, boolean),
		},
	}
}

func backendKeys() []*backendKey { return append(ownKeys(), sharedKeys(bridge.Backend{})...) }

// option returns the flag for all backends.
func (k *backendKey) option(group string) *Option {
	o := &Option{
		Group: group, Name: "backend-" + k.Name, Value: k.Value, Default: k.Default, Help: k.Help, Switch: k.Switch, Words: k.Words,
		set: func(s *Settings, texts []string) []error { return k.set(&s.common, texts) },
	}
	if k.needs != "" {
		o.needs = "backend-" + k.needs
	}
	return o
}

// entry is one value of --backend.
type entry struct {
	value value
	// at is where the keys of a mapping are; nil: not a mapping.
	at    map[string]value
	apply []func(*backendDraft)
	draft backendDraft // what it says itself
	bad   bool
	// disputed reports whether a service of it goes to another one already.
	disputed bool
}

// backend returns the backend of the entry: its settings over those of all
// backends.
func (e *entry) backend(common backendDraft) bridge.Backend {
	d := common
	for _, apply := range e.apply {
		apply(&d)
	}
	return d.backend()
}

// parseEntry reads a value of --backend: [PREFIX=]HOST:PORT, or a mapping.
func parseEntry(v value) (*entry, Errors) {
	e := &entry{value: v}
	node := v.node
	if node == nil && strings.HasPrefix(v.text, "{") {
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(v.text), &doc); err != nil {
			return e, Errors{v.error(fmt.Sprintf("%q is wrong, want a mapping in YAML such as {target: HOST:PORT, tls: true}", v.text))}
		}
		node = doc.Content[0]
	}
	if node != nil {
		return e, e.mapping(node)
	}
	t, err := backendTarget(v.text)
	if err != nil {
		return e, Errors{v.error(err.Error())}
	}
	e.add(func(d *backendDraft) { d.Target, d.Services = t.target, []string{t.service} })
	return e, nil
}

func (e *entry) add(apply func(*backendDraft)) {
	apply(&e.draft)
	e.apply = append(e.apply, apply)
}

func (e *entry) mapping(node *yaml.Node) Errors {
	keys, names := map[string]*backendKey{}, []string(nil)
	for _, k := range backendKeys() {
		keys[k.Name] = k
		names = append(names, k.Name)
	}
	e.at = map[string]value{}
	var errs Errors
	for i := 0; i+1 < len(node.Content); i += 2 {
		at := e.value.below(node.Content[i].Value, node.Content[i].Line)
		key := keys[node.Content[i].Value]
		_, twice := e.at[node.Content[i].Value]
		switch {
		case key == nil:
			errs = append(errs, e.value.below("", node.Content[i].Line).error(Unknown("key", node.Content[i].Value, names)))
		case twice:
			errs = append(errs, at.error("given twice"))
		default:
			e.at[key.Name] = at
			errs = append(errs, e.key(key, at, node.Content[i+1])...)
		}
	}
	if _, ok := e.at["target"]; !ok {
		errs = append(errs, e.value.error("no target, want where the gRPC server is"))
	}
	for half, other := range map[string]string{"cert": "key", "key": "cert"} {
		if _, ok := e.at[other]; !ok && e.at[half].place != "" {
			errs = append(errs, e.at[half].error("given without "+other+", want both or neither"))
		}
	}
	e.bad = len(errs) > 0
	return errs
}

// needs reports keys that require another one.
func (e *entry) needs(tls bool) Errors {
	var errs Errors
	for _, k := range backendKeys() {
		if at, ok := e.at[k.Name]; ok && k.needs != "" && !e.bad && !tls && !e.draft.tls {
			errs = append(errs, at.error("given without "+k.needs+", which it requires"))
		}
	}
	return errs
}

// key reads one setting of a mapping.
func (e *entry) key(key *backendKey, at value, node *yaml.Node) Errors {
	items := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode && key.Many {
		items = node.Content
	}
	texts := make([]string, len(items))
	for i, item := range items {
		if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
			return Errors{at.error("not a plain value")}
		}
		texts[i] = item.Value
	}
	for _, err := range key.set(&backendDraft{}, texts) {
		if err != nil {
			return Errors{at.error(err.Error())}
		}
	}
	e.add(func(d *backendDraft) { key.set(d, texts) })
	return nil
}

// below returns the place of a key of a mapping.
func (v value) below(key string, line int) value {
	at := value{place: v.place, key: v.key}
	if v.line > 0 {
		at.place, at.line = strings.TrimSuffix(v.place, strconv.Itoa(v.line))+strconv.Itoa(line), line
	}
	switch {
	case at.key == "":
		at.key = key
	case key != "":
		at.key += ": " + key
	}
	return at
}

// itemText returns the text of a value of --backend in a list in YAML.
func itemText(node *yaml.Node) string {
	if node.Kind == yaml.ScalarNode {
		return node.Value
	}
	return flow(node)
}

// flow writes a mapping on one line.
func flow(node *yaml.Node) string {
	style(node)
	text, err := yaml.Marshal(node)
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(text))
}

func style(node *yaml.Node) {
	node.Style |= yaml.FlowStyle
	if node.Kind == yaml.ScalarNode {
		node.Style &^= yaml.FlowStyle | yaml.LiteralStyle | yaml.FoldedStyle
	}
	node.HeadComment, node.LineComment, node.FootComment = "", "", ""
	for _, n := range node.Content {
		style(n)
	}
}
