package config_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/pollbridge/pollbridge/cmd/bridge/internal/config"
)

// TestPrint holds what is printed, that a file of it says the same, and that
// passwords are hidden.
func TestPrint(t *testing.T) {
	file := "backend:\n  - a:1\n  - {target: 'b:1', services: [b.], tls: true, service-config: '{}'}\ndeny-method: []\nmax-streams: 7\nadmin: 127.0.0.1:9090\nforward-auth: http://me:secret@auth.example/verify\ncheck: true\n"
	s, err := load(t, file, map[string]string{"POLLBRIDGE_HOLD": "12s", "POLLBRIDGE_ADMIN_TOKEN": "the-secret-of-operators"}, "--allow-origin", "https://a.example", "--allow-origin", "*")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.Print(&out); err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(` +# `).ReplaceAllString(out.String(), " # ")
	for _, want := range []string{
		"# Listening\nlisten: 127.0.0.1:8080 # default\n", "check: true # bridge.yaml:8\n",
		"backend:\n  - a:1 # bridge.yaml:2\n  - {target: 'b:1', services: [b.], tls: true, service-config: '{}'} # bridge.yaml:3\n",
		"allow-method:\n  - '*' # default\n", "deny-method: []\n", "allow-origin:\n  - https://a.example # --allow-origin\n  - '*' # --allow-origin\n",
		"hold: 12s # POLLBRIDGE_HOLD\n", "# admin-token: hidden # POLLBRIDGE_ADMIN_TOKEN\n", "max-streams: 7 # bridge.yaml:5\n", "max-sessions: 100000 # default\n",
		"forward-auth: http://me:xxxxx@auth.example/verify # bridge.yaml:7\n", "forward-auth-timeout: 5s # default\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "secret") || strings.Contains(text, "jwt-") || strings.Contains(text, "tls-cert") {
		t.Errorf("has what is hidden or not used:\n%s", text)
	}
	again, err := load(t, out.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	again.ForwardAuth.URL, again.Bridge.AdminToken = s.ForwardAuth.URL, s.Bridge.AdminToken
	if !reflect.DeepEqual(again.Bridge, s.Bridge) || !reflect.DeepEqual(again.ForwardAuth, s.ForwardAuth) {
		t.Errorf("read again:\n%+v\nwant\n%+v", again.Bridge, s.Bridge)
	}
}

// TestSchema holds that the schema has every setting, and that defaults are good
// by it.
func TestSchema(t *testing.T) {
	text, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	type property struct {
		Description, Default, Pattern string
		Enum                          []string
		AnyOf                         []struct {
			AnyOf []struct {
				Properties map[string]property
				Required   []string
			}
		}
	}
	var root struct {
		Properties           map[string]property
		AdditionalProperties *bool
	}
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	if root.AdditionalProperties == nil || *root.AdditionalProperties {
		t.Error("unknown keys are good")
	}
	for _, o := range config.Options() {
		p, ok := root.Properties[o.Name]
		if !ok || p.Description != o.Help || p.Default != o.Default {
			t.Errorf("%s: got %+v", o.Name, p)
		}
		if p.Pattern != "" && o.Default != "" && !regexp.MustCompile(p.Pattern).MatchString(o.Default) {
			t.Errorf("%s: its default %q does not fit %s", o.Name, o.Default, p.Pattern)
		}
	}
	backend := root.Properties["backend"].AnyOf[0].AnyOf[1]
	if len(backend.Properties) < 13 || backend.Properties["profile"].Enum == nil || !reflect.DeepEqual(backend.Required, []string{"target"}) {
		t.Errorf("a backend: %+v", backend)
	}
}

// TestExamples holds that the examples are good, and what is printed of them too.
func TestExamples(t *testing.T) {
	names, err := filepath.Glob("../../../../examples/config/*.yaml")
	if err != nil || len(names) < 3 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			s, err := load(t, string(text), nil)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := s.Print(&out); err != nil {
				t.Fatal(err)
			}
			again, err := load(t, out.String(), nil)
			if err != nil || !reflect.DeepEqual(again.Bridge, s.Bridge) {
				t.Errorf("read again: %v\n%s", err, &out)
			}
		})
	}
}
