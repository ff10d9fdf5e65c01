package config

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// envPrefix is the prefix of every variable that is a setting.
const envPrefix = "POLLBRIDGE_"

// EnvName returns the environment variable of the setting called name.
func EnvName(name string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// environment is the part of an environment that begins with envPrefix.
func environment(environ []string) map[string]string {
	env := map[string]string{}
	for _, entry := range environ {
		if name, text, _ := strings.Cut(entry, "="); strings.HasPrefix(name, envPrefix) {
			env[name] = text
		}
	}
	return env
}

// ofService are the variables that Kubernetes sets in every container of a
// namespace that has a Service called pollbridge, or pollbridge-something.
var ofService = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// unknown reports variables that look like settings but are none, like unknown
// keys of a file.
func (m *merger) unknown(env map[string]string) {
	names := []string{EnvName("config")}
	for _, o := range Options() {
		names = append(names, EnvName(o.Name))
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !slices.Contains(names, name) && !ofService.MatchString(name) {
			m.errors = append(m.errors, &Error{Text: Unknown("variable", name, names)})
		}
	}
}
