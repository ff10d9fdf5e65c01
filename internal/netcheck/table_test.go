package netcheck_test

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/pollbridge/pollbridge/internal/netcheck"
)

var update = flag.Bool("update", false, "write what the TypeScript client has of the table")

const (
	typeScript = "../../jsclient/src/diagnose/table.ts"
	head       = "// Code generated from internal/netcheck/table.json by go test ./internal/netcheck -update. DO NOT EDIT.\n\n" +
		"import type { Table } from \"./report.js\";\n\nexport const table: Table = "
	vectors = "../../testdata/vectors/netcheck.json"
)

// hold compares a file with what it is to be.
func hold(t *testing.T, file, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is stale: go test ./internal/netcheck -update", file)
	}
}

// TestTypeScript holds that both clients have the same table.
func TestTypeScript(t *testing.T) {
	var table any
	if err := json.Unmarshal(netcheck.TableJSON, &table); err != nil {
		t.Fatal(err)
	}
	hold(t, typeScript, head+string(regexp.MustCompile(`\n+$`).ReplaceAll(netcheck.TableJSON, nil))+";\n")
}

// TestVerdicts holds what follows from outcomes. The TypeScript client is held
// to the same vectors.
func TestVerdicts(t *testing.T) {
	type vector struct {
		Found    map[string]string `json:"found"`
		Profiles []string          `json:"profiles"`
		Verdict  string            `json:"verdict"`
		Level    netcheck.Level    `json:"level"`
	}
	works := map[string]string{"reach": "ok", "longpoll": "ok", "ws": "ok"}
	polls := map[string]string{"reach": "ok", "longpoll": "ok", "ws": "none", "websocket": "stripped", "hold": "ok"}
	with := func(base map[string]string, more ...string) map[string]string {
		out := map[string]string{}
		maps.Copy(out, base)
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	var all []vector
	for _, found := range []map[string]string{
		works, polls,
		with(works, "streaming", "buffered"),
		with(works, "streaming", "buffered", "encoding", "compressed"),
		with(works, "hold", "idle", "idle", "idle", "steady", "mute"),
		with(works, "hold", "ok", "idle", "age"),
		with(polls, "upload", "status", "copies", "late", "speed", "far"),
		with(polls, "steady", "late", "order", "reordered"),
		{"reach": "mute"},
		{"reach": "login", "websocket": "refused"},
		{"reach": "ok", "longpoll": "fails", "ws": "ok", "headers": "changed", "types": "binary"},
		{"reach": "ok", "longpoll": "unauthenticated"},
		{},
	} {
		report := netcheck.Judge(found)
		all = append(all, vector{found, report.Profiles, report.Verdict, report.Level})
	}
	if got := all[1].Verdict; got != "Works, over long-polling, although a proxy strips WebSocket upgrades." {
		t.Errorf("%q", got)
	}
	if got := all[6].Profiles; !slices.Equal(got, []string{"no-upgrade", "body-limit", "copies-late", "far"}) {
		t.Errorf("%v", got)
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	hold(t, vectors, string(text)+"\n")
}
