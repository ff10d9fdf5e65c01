package wire

import "strings"

// SplitMethod takes the name of a method, "/pkg.Service/Method", apart. ok is
// false for what is no such name: a service is [A-Za-z_][A-Za-z0-9_.]* without
// empty parts, a method an identifier. Nothing else may pass: a proxy on the
// way to the backend could read it as another method's path than who decides
// about it here.
func SplitMethod(method string) (service, name string, ok bool) {
	rest, ok := strings.CutPrefix(method, "/")
	if !ok {
		return "", "", false
	}
	service, name, _ = strings.Cut(rest, "/")
	if !ValidService(service) || !validIdentifier(name) {
		return "", "", false
	}
	return service, name, true
}

// ValidService reports whether s is the full name of a service.
func ValidService(s string) bool {
	if s == "" || '0' <= s[0] && s[0] <= '9' {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || !wordBytes(part) {
			return false
		}
	}
	return true
}

// ValidServicePrefix reports whether the full name of some service begins with
// s; that of every service begins with nothing.
func ValidServicePrefix(s string) bool {
	return s == "" || ValidService(strings.TrimSuffix(s, "."))
}

// ValidMethodPrefix reports whether some method's name, without its leading
// slash, begins with s.
func ValidMethodPrefix(s string) bool {
	service, name, both := strings.Cut(s, "/")
	if !both {
		return ValidServicePrefix(s)
	}
	return ValidService(service) && (name == "" || validIdentifier(name))
}

func validIdentifier(s string) bool {
	return s != "" && !('0' <= s[0] && s[0] <= '9') && wordBytes(s)
}

func wordBytes(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_') {
			return false
		}
	}
	return true
}
