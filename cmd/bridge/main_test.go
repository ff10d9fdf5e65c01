package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the help that testdata holds")

// TestHelp holds the help of each command to what testdata has, which people
// have read.
func TestHelp(t *testing.T) {
	for _, command := range []string{"", "serve", "config", "config validate", "config print", "config schema", "sessions", "session", "kick", "drain", "demo", "check", "call", "version"} {
		t.Run(command, func(t *testing.T) {
			var out, errOut bytes.Buffer
			args := append(strings.Fields(command), "--help")
			if code := run(args, nil, &out, &errOut); code != 0 || errOut.Len() != 0 {
				t.Fatalf("exit code %d, standard error %q", code, errOut.String())
			}
			golden := filepath.Join("testdata", "help", strings.TrimSpace("bridge "+command)+".txt")
			if *update {
				if err := os.WriteFile(golden, out.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if out.String() != string(want) {
				t.Errorf("%s is stale: go test ./cmd/bridge -run TestHelp -update; got\n%s", golden, out.String())
			}
			for i, line := range strings.Split(out.String(), "\n") {
				if len(line) > usageWidth {
					t.Errorf("line %d has %d characters, at most %d: %s", i+1, len(line), usageWidth, line)
				}
			}
		})
	}
}

// TestUsage holds exit code and words for wrong usage. Nothing is printed to
// standard output, and nothing listens.
func TestUsage(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"serv"}, "bridge: unknown command \"serv\" for \"bridge\"\nbridge: Did you mean this?\nbridge: serve\nSee \"bridge --help\".\n"},
		{[]string{"serve"}, "bridge serve: backend: none given, want at least one HOST:PORT of a gRPC server\nSee \"bridge serve --help\".\n"},
		{[]string{"serve", "--bakend", "x"}, "bridge serve: unknown flag \"bakend\", did you mean \"backend\"?\nSee \"bridge serve --help\".\n"},
		{[]string{"serve", "--listen"}, "bridge serve: flag needs an argument: --listen\nSee \"bridge serve --help\".\n"},
		{[]string{"serve", "localhost:1"}, "bridge serve: unexpected argument \"localhost:1\"\nSee \"bridge serve --help\".\n"},
		{
			[]string{"serve", "--backend", "a:1", "--listen", "x", "--hold", "y"},
			"bridge serve: --listen: \"x\" is wrong, want HOST:PORT, :PORT or unix:PATH\n" +
				"bridge serve: --hold: \"y\" is wrong, want a duration such as 500ms, 20s or 1m30s\nSee \"bridge serve --help\".\n",
		},
		{[]string{"demo", "--listen", "x"}, "bridge demo: --listen: \"x\" is wrong, want HOST:PORT or :PORT\nSee \"bridge demo --help\".\n"},
		{[]string{"version", "x"}, "bridge version: unexpected argument \"x\"\nSee \"bridge version --help\".\n"},
		{[]string{"config", "x"}, "bridge config: unknown command \"x\" for \"bridge config\"\nSee \"bridge config --help\".\n"},
		{[]string{"config", "print", "x"}, "bridge config print: unexpected argument \"x\"\nSee \"bridge config print --help\".\n"},
		{[]string{"call"}, "bridge call: no URL given, want URL METHOD\nSee \"bridge call --help\".\n"},
		{[]string{"call", "http://a"}, "bridge call: no METHOD given, want URL METHOD\nSee \"bridge call --help\".\n"},
		{[]string{"call", "http://a", "b.C/D", "{}"}, "bridge call: unexpected argument \"{}\"\nSee \"bridge call --help\".\n"},
		{[]string{"kick"}, "bridge kick: no ID given, want ID...\nSee \"bridge kick --help\".\n"},
		{[]string{"check", "http://a", "--hold", "5s,3s"}, "bridge check: hold of 3s after one of 5s: want them ascending\nSee \"bridge check --help\".\n"},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			var out, errOut bytes.Buffer
			if code := run(test.args, nil, &out, &errOut); code != exitUsage {
				t.Errorf("exit code %d, want %d", code, exitUsage)
			}
			if errOut.String() != test.want {
				t.Errorf("got\n%swant\n%s", errOut.String(), test.want)
			}
			if out.Len() != 0 {
				t.Errorf("printed %q", out.String())
			}
		})
	}
}

func TestVersion(t *testing.T) {
	info := newVersionInfo(&debug.BuildInfo{
		Main: debug.Module{Version: "v1.2.3"},
		Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.time", Value: "2026-01-02T03:04:05Z"}, {Key: "vcs.modified", Value: "true"},
		},
	})
	platform := runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
	var out bytes.Buffer
	if err := info.print(&out, false); err != nil {
		t.Fatal(err)
	}
	want := "bridge v1.2.3\nrevision abc with changes, 2026-01-02T03:04:05Z\n" + platform + ", protocol 1 to 1\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}

	stdout, stderr, code := runOnce(t, "", "version", "--json")
	var read versionInfo
	if err := json.Unmarshal([]byte(stdout), &read); err != nil || code != 0 || stderr != "" {
		t.Fatalf("exit code %d, %v, standard error %q, standard output %q", code, err, stderr, stdout)
	}
	long, _, _ := runOnce(t, "", "version")
	if flag, stderr, code := runOnce(t, "", "--version"); flag != long || stderr != "" || code != 0 {
		t.Errorf("--version: exit code %d, standard error %q, standard output %q, want %q", code, stderr, flag, long)
	}
	if read.Go != runtime.Version() || read.Version == "" || read.Protocol != (protocol{1, 1}) {
		t.Errorf("got %+v", read)
	}
}

// TestMan holds that each command has a manual page, with its flags.
func TestMan(t *testing.T) {
	dir := t.TempDir()
	if stdout, stderr, code := runOnce(t, "", "man", dir); code != 0 || stdout != "" || stderr != "" {
		t.Fatalf("exit code %d, standard output %q, standard error %q", code, stdout, stderr)
	}
	for name, want := range map[string]string{
		"bridge.1": "bridge-serve(1)", "bridge-serve.1": "--drain-timeout", "bridge-check.1": "--ping", "bridge-config-validate.1": "--jwt-issuer", "bridge-call.1": ".TH",
	} {
		page, err := os.ReadFile(filepath.Join(dir, name))
		if text := strings.ReplaceAll(string(page), `\-`, "-"); err != nil || !strings.Contains(text, want) {
			t.Errorf("%s: lacks %q: %v", name, want, err)
		}
	}
	if _, stderr, code := runOnce(t, "", "man", filepath.Join(dir, "missing")); code != exitUsage || !strings.Contains(stderr, "is no directory") {
		t.Errorf("into nowhere: exit code %d, standard error %q", code, stderr)
	}
}
