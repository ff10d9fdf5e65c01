package config

import "slices"

// reloadable reports whether the setting called name can change while a bridge
// serves.
func reloadable(name string) bool {
	switch name {
	case "tls-cert", "tls-key", "drain-timeout", "log-level",
		"allow-method", "deny-method",
		"allow-origin", "allow-host", "allow-header", "allow-private-network", "trusted-proxy":
		return true
	}
	return false
}

// Changes returns the names of the settings that differ in next. If some of them
// cannot change while a bridge serves, it returns Errors that name each with the
// source of its new value.
func (s *Settings) Changes(next *Settings) ([]string, error) {
	var names []string
	next.origin.errors = nil
	for _, o := range Options() {
		if slices.EqualFunc(s.origin.given[o.Name], next.origin.given[o.Name], func(a, b value) bool { return a.text == b.text }) {
			continue
		}
		names = append(names, o.Name)
		if !reloadable(o.Name) {
			next.origin.wrong(o.Name, 0, "cannot change without a restart")
		}
	}
	if (s.TLSCert == "") != (next.TLSCert == "") {
		next.origin.wrong("tls-cert", 0, "cannot be added or removed without a restart")
	}
	if len(next.origin.errors) > 0 {
		next.origin.errors.sort()
		return nil, next.origin.errors
	}
	return names, nil
}
