package jwtauth

import (
	"encoding/json"
	"strings"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/metadata"
)

// claim finds a claim by its name, or by its path where one lies in another.
func claim(claims jwt.MapClaims, name string) any {
	if v, ok := claims[name]; ok {
		return v
	}
	at := any(map[string]any(claims))
	for part := range strings.SplitSeq(name, ".") {
		object, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = object[part]
	}
	return at
}

// texts are a claim's value as metadata has it: one for each element of a list,
// JSON for what lies deeper, and none where there is none.
func texts(v any) []string {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var all []string
	for _, v := range list {
		switch v := v.(type) {
		case nil:
		case string:
			all = append(all, v)
		default:
			if b, err := json.Marshal(v); err == nil {
				all = append(all, string(b))
			}
		}
	}
	return all
}

// metadataOf is what the token's RPCs take along. Each key is there, so that
// what the page set under it counts for nothing. A value that a key without the
// suffix -bin cannot carry is left out.
func (a *Authenticator) metadataOf(claims jwt.MapClaims) metadata.MD {
	if len(a.cfg.ClaimToMetadata) == 0 {
		return nil
	}
	md := metadata.MD{}
	for _, c := range a.cfg.ClaimToMetadata {
		if md[c.Key] == nil {
			md[c.Key] = nil
		}
		for _, v := range texts(claim(claims, c.Claim)) {
			if strings.HasSuffix(c.Key, "-bin") || printable(v) {
				md[c.Key] = append(md[c.Key], v)
			}
		}
	}
	return md
}

func printable(v string) bool {
	for _, c := range []byte(v) {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return true
}

// methodsOf are the patterns of the methods that the token may call; nil: all.
func (a *Authenticator) methodsOf(claims jwt.MapClaims) []string {
	if len(a.cfg.AllowMethods) == 0 {
		return nil
	}
	patterns := []string{}
	for _, m := range a.cfg.AllowMethods {
		if m.fits(claim(claims, m.Claim)) {
			patterns = append(patterns, m.Patterns...)
		}
	}
	return patterns
}

// fits reports whether a claim's value is the one asked for, or has it among its
// elements or words.
func (m AllowMethods) fits(v any) bool {
	for _, text := range texts(v) {
		if m.Value == "*" || text == m.Value {
			return true
		}
		for word := range strings.FieldsSeq(text) {
			if word == m.Value {
				return true
			}
		}
	}
	return false
}
