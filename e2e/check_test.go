package e2e_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/middlebox"
	"github.com/pollbridge/pollbridge/transport/transporttest"
)

// profiles are what the network check is to find in each network of the
// matrix. Clean are those whose behaviour has no effect within a check: nobody
// asks for 100-continue, pieces of other lengths carry the same bytes, and
// copies that come after three minutes come after the check.
var profiles = map[string]string{
	"clean":                    "clean",
	"clean forward":            "clean",
	"clean tunnel":             "clean",
	"inspected":                "inspected",
	"buffer":                   "buffered",
	"buffer, no upgrade":       "inspected no-upgrade buffered",
	"bufbytes":                 "buffered-threshold",
	"onebehind":                "one-behind",
	"gzip":                     "compressed",
	"http10":                   "http10",
	"http10, broken":           "http10 no-upgrade answers-cut",
	"cache":                    "cache",
	"cut 504":                  "cut-status",
	"cut eof":                  "cut-eof",
	"cut short":                "cut-short",
	"cut 504, no upgrade":      "inspected no-upgrade cut-status",
	"idledrop":                 "idle-forgotten",
	"idledrop, no upgrade":     "no-upgrade idle-forgotten",
	"blackhole late":           "age-forgotten",
	"blackhole":                "blackhole",
	"killafter":                "answers-cut",
	"killafter, no upgrade":    "no-upgrade answers-cut",
	"noupgrade":                "no-upgrade",
	"fakeupgrade":              "websocket-mute",
	"muteupgrade":              "websocket-swallowed",
	"noconnect":                "websocket-refused",
	"noconnect, https":         "refused",
	"getpost":                  "no-preflight",
	"maxbody":                  "no-upgrade body-limit",
	"maxbody without a status": "no-upgrade body-limit-mute",
	"auth":                     "login",
	"inflight":                 "no-upgrade one-at-a-time",
	"dup":                      "no-upgrade copies",
	"dup, late":                "no-upgrade copies-late",
	"dup, very late":           "no-upgrade",
	"loseresp":                 "no-upgrade answers-lost",
	"inject":                   "pages-injected",
	"inject always":            "captive",
	"stale":                    "no-upgrade buffered stale",
	"late":                     "no-upgrade late",
	"rewrite":                  "no-upgrade errors-rewritten no-preflight",
	"reorder":                  "no-upgrade reorder",
	"linger":                   "linger",
	"nocontinue":               "clean",
	"strip":                    "headers-stripped",
	"replace":                  "headers-changed",
	"rechunk":                  "clean",
	"rechunk, no upgrade":      "no-upgrade",
	"delay":                    "far",
	"delay, no upgrade":        "no-upgrade far",
	"rate":                     "narrow",
	"all at once, office":      "inspected headers-stripped no-upgrade buffered answers-lost body-limit cut-status",
	"all at once, mobile":      "answers-cut idle-forgotten copies-late far",
}

// TestCheck holds that the network check, with its full waits, names what the
// middlebox does: exactly, in at least 95 of 100 networks.
func TestCheck(t *testing.T) {
	var wrong []string
	for _, r := range rows {
		want, ok := profiles[r.name]
		if !ok {
			t.Errorf("%s: no profile is expected", r.name)
			continue
		}
		var got string
		synctest.Test(t, func(t *testing.T) {
			report := runCheck(t, r, inBubble, client.CheckConfig{}, transporttest.Pipes(t), transporttest.Pipes(t))
			if got = named(report); got != want {
				wrong = append(wrong, r.name)
				t.Logf("%s: %s, want %s\n%s", r.name, got, want, report.Text())
			}
			if works := r.fails[longpoll] == ""; report.Works != works {
				t.Errorf("%s: works: %v, want %v\n%s", r.name, report.Works, works, report.Text())
			}
		})
	}
	t.Logf("%d of %d networks named exactly", len(rows)-len(wrong), len(rows))
	if 100*len(wrong) > 5*len(rows) {
		t.Errorf("wrong: %s", strings.Join(wrong, "; "))
	}
}

// named are the profiles of a report in the order of the alphabet's choice.
func named(report *client.CheckReport) string { return strings.Join(report.Profiles, " ") }

// runCheck runs a check through a network.
func runCheck(t *testing.T, r row, p pace, cfg client.CheckConfig, entrance, front transporttest.Network) *client.CheckReport {
	f, err := middlebox.Parse(r.profile)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newStreet(r.way, middlebox.Config{Profile: p.fit(f), Seed: 1}, client.Config{Lazy: true}, entrance, front)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Config = s.reach
	report, err := client.Check(context.Background(), s.origin, cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.box.Set(middlebox.Profile{})
	if err := s.close(); err != nil {
		t.Errorf("%s: %v", r.name, err)
	}
	return report
}
