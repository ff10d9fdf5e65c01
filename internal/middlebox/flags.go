package middlebox

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Flags defines a flag for each behaviour. The names are those of Counts.Struck
// and of Parse.
func (f *Profile) Flags(fs *flag.FlagSet) {
	fs.BoolVar(&f.Buffer, "buffer", f.Buffer, "hold each answer, headers too, until the upstream ends it")
	fs.IntVar(&f.BufferBytes, "bufbytes", f.BufferBytes, "hold each answer until `n` bytes of its body have come")
	fs.BoolVar(&f.OneBehind, "onebehind", f.OneBehind, "hold each piece of an answer until the next one comes")
	fs.BoolVar(&f.Gzip, "gzip", f.Gzip, "compress answers for clients that accept it, and flush at the end only")
	fs.BoolVar(&f.HTTP10, "http10", f.HTTP10, "answer as HTTP/1.0 without length: a broken answer looks complete")
	fs.BoolVar(&f.Cache, "cache", f.Cache, "answer a GET from memory when its URL was asked for before")

	fs.DurationVar(&f.Cut, "cut", f.Cut, "end each exchange, tunnel and upgraded connection at this `age`")
	fs.DurationVar(&f.CutSpread, "cutspread", f.CutSpread, "with cut: at a random age, up to this `time` later")
	fs.BoolVar(&f.CutUpgrades, "cutupgrades", f.CutUpgrades, "with cut: upgraded connections only")
	fs.Var(&f.CutWith, "cutwith", "how an exchange is cut: `504`, eof or short (a proper 200 with what came so far)")
	fs.DurationVar(&f.IdleDrop, "idledrop", f.IdleDrop, "a connection idle for this `time` forwards nothing more and is not closed")
	fs.DurationVar(&f.BlackHole, "blackhole", f.BlackHole, "a connection of this `age` forwards nothing more and is not closed")
	fs.IntVar(&f.KillAfter, "killafter", f.KillAfter, "reset after `n` bytes of an answer's body, a tunnel or an upgraded connection")
	fs.IntVar(&f.KillEvery, "killevery", f.KillEvery, "with killafter: only every `n`th of them")

	fs.BoolVar(&f.NoUpgrade, "noupgrade", f.NoUpgrade, "strip Upgrade from requests")
	fs.BoolVar(&f.FakeUpgrade, "fakeupgrade", f.FakeUpgrade, "pass the 101 of an upgrade on, then swallow everything")
	fs.BoolVar(&f.MuteUpgrade, "muteupgrade", f.MuteUpgrade, "never answer a request with Upgrade")
	fs.BoolVar(&f.NoConnect, "noconnect", f.NoConnect, "403 to CONNECT")
	fs.BoolVar(&f.GetPost, "getpost", f.GetPost, "405 to methods other than GET, POST and CONNECT")
	fs.IntVar(&f.MaxBody, "maxbody", f.MaxBody, "413 to bodies of more than `n` bytes, which are not read")
	fs.BoolVar(&f.MaxBodyMute, "maxbodymute", f.MaxBodyMute, "with maxbody: reset the connection instead, with no status")
	fs.StringVar(&f.Auth, "auth", f.Auth, "407 until Proxy-Authorization names this `user:password`")
	fs.IntVar(&f.InFlight, "inflight", f.InFlight, "let `n` exchanges through at once, others wait")

	fs.BoolVar(&f.Dup, "dup", f.Dup, "send every request twice; the second answer wins")
	fs.DurationVar(&f.DupDelay, "dupdelay", f.DupDelay, "with dup: the copy goes out this `time` later, and its answer is lost")
	fs.IntVar(&f.LoseEvery, "loseresp", f.LoseEvery, "deliver every `n`th request and answer it with 502")
	fs.IntVar(&f.InjectEvery, "inject", f.InjectEvery, "answer every `n`th request with a login page, status 200, and do not deliver it")
	fs.IntVar(&f.StaleEvery, "stale", f.StaleEvery, "deliver every `n`th request and answer it with an older answer of its URL")
	fs.IntVar(&f.LateEvery, "lateevery", f.LateEvery, "deliver every `n`th request late, even when its client has gone")
	fs.DurationVar(&f.Late, "late", f.Late, "with lateevery: how late, a `time`; 3s unless given")
	fs.IntVar(&f.Rewrite, "rewrite", f.Rewrite, "turn answers other than 101 and 200 into a page with this `status`")
	fs.DurationVar(&f.Reorder, "reorder", f.Reorder, "hold every second request until a later one was sent, at most this `time`")
	fs.BoolVar(&f.Linger, "linger", f.Linger, "do not tell the upstream when a client gives up")
	fs.BoolVar(&f.NoContinue, "nocontinue", f.NoContinue, "swallow 100-continue")

	fs.Var(&f.Strip, "strip", "remove these header fields, `names` separated by commas, from requests and answers")
	fs.Var(&f.Replace, "replace", "give header fields, where they are there, other values: `name:value`, separated by commas")

	fs.IntVar(&f.Rechunk, "rechunk", f.Rechunk, "pass bytes on in pieces of random lengths up to `n`")
	fs.DurationVar(&f.Delay, "delay", f.Delay, "delay bytes by this `time`, one way; a new connection takes a round trip more")
	fs.DurationVar(&f.Jitter, "jitter", f.Jitter, "add a random `time` up to this to delay, in order")
	fs.IntVar(&f.Rate, "rate", f.Rate, "pass on `n` bytes a second, each way on each connection")
}

// Parse reads a profile from text: behaviours by the names of their flags,
// separated by spaces, such as "buffer cut=4s cutwith=eof".
func Parse(text string) (Profile, error) {
	var f Profile
	fs := flag.NewFlagSet("profile", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	f.Flags(fs)
	for word := range strings.FieldsSeq(text) {
		if err := fs.Parse([]string{"--" + word}); err != nil {
			return Profile{}, fmt.Errorf("middlebox: profile %q: %q: %w", text, word, err)
		}
		if fs.NArg() > 0 {
			return Profile{}, fmt.Errorf("middlebox: profile %q: %q is no behaviour", text, word)
		}
	}
	return f, nil
}

// String is the profile in the form that Parse reads.
func (f Profile) String() string {
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	f.Flags(fs)
	var words []string
	fs.VisitAll(func(one *flag.Flag) {
		switch value := one.Value.String(); value {
		case "", "0", "0s", "false":
		case "true":
			words = append(words, one.Name)
		default:
			words = append(words, one.Name+"="+value)
		}
	})
	return strings.Join(words, " ")
}

// Set implements flag.Value.
func (e *Ending) Set(text string) error {
	if !slices.Contains([]Ending{Status504, EOF, Short}, Ending(text)) {
		return fmt.Errorf("is none of %s, %s and %s", Status504, EOF, Short)
	}
	*e = Ending(text)
	return nil
}

func (e *Ending) String() string { return string(*e) }

// List is a list of words, separated by commas.
type List []string

// Set implements flag.Value.
func (l *List) Set(text string) error {
	*l = nil
	for word := range strings.SplitSeq(text, ",") {
		if word == "" {
			return fmt.Errorf("%q has an empty element", text)
		}
		*l = append(*l, word)
	}
	return nil
}

func (l *List) String() string { return strings.Join(*l, ",") }
