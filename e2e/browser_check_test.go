package e2e_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pollbridge/pollbridge/internal/middlebox"
	"github.com/pollbridge/pollbridge/internal/transporttest"
)

// TestCheck_browser has the JavaScript client's diagnose look at networks from
// pages of Chromium, with short waits: it names what each of them does.
func TestCheck_browser(t *testing.T) {
	browser := startChromium(t)
	var all sync.WaitGroup
	for _, c := range []struct {
		profile, want string
		way           path
	}{
		{profile: "rewrite=503 fakeupgrade", want: "errors-rewritten websocket-mute"},
		{profile: "noconnect", want: "websocket-refused", way: forward},
		{profile: "buffer noupgrade", want: "buffered no-upgrade", way: inspected},
		{profile: "bufbytes=4096", want: "buffered-threshold"},
		{profile: "cut=1500ms", want: "cut-status"},
		{profile: "cut=1500ms cutwith=short strip=Pollbridge", want: "cut-short headers-stripped"},
		{profile: "maxbody=20000 maxbodymute noupgrade", want: "body-limit-mute no-upgrade"},
		{profile: "maxbody=20000 getpost", want: "body-limit no-preflight"},
		{profile: "dup cache", want: "copies cache"},
		{profile: "inject=3", want: "pages-injected"},
		{profile: "onebehind linger", want: "one-behind linger"},
		{profile: "dup dupdelay=2s", want: "copies-late"},
		{profile: "loseresp=3", want: "answers-lost"},
		{profile: "stale=3 noupgrade", want: "stale"},
		{profile: "lateevery=5 late=2s noupgrade", want: "late"},
		{profile: "reorder=1s", want: "reorder"},
		{profile: "delay=150ms jitter=50ms", want: "far"},
		{profile: "rate=32000", want: "narrow"},
	} {
		all.Go(func() {
			t.Run(c.profile, func(t *testing.T) { browser.visitCheck(t, c.way, c.profile, c.want) })
		})
	}
	all.Wait()
}

// visitCheck has one network looked at.
func (c *chromium) visitCheck(t *testing.T, way path, profile, want string) {
	f, err := middlebox.Parse(profile)
	if err != nil {
		t.Fatal(err)
	}
	s, err := emptyStreet(way, middlebox.Config{Profile: f, Seed: 1}, transporttest.TCP(t), transporttest.TCP(t))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Profiles []string
		Works    bool
		Text     string
	}
	err = c.visit(visit{What: "check", URL: s.url, Page: s.url + "/", Proxy: s.proxy}, &got)
	check(t, err)
	for one := range strings.FieldsSeq(want) {
		if !slices.Contains(got.Profiles, one) {
			t.Errorf("%v, want %s\n%s", got.Profiles, one, got.Text)
		}
	}
	if !got.Works {
		t.Errorf("does not work\n%s", got.Text)
	}
	s.box.Set(middlebox.Profile{})
	check(t, s.close())
}
