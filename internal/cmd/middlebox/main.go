// Command middlebox runs a faulty HTTP proxy by hand. See
// internal/middlebox/README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/pollbridge/pollbridge/internal/middlebox"
)

const usage = `Middlebox is a faulty HTTP proxy: it does on purpose what proxies, firewalls
and load balancers do by configuration or by mistake.

  middlebox --listen :3128 --cut 4s --noupgrade        a forward proxy
  middlebox --upstream http://127.0.0.1:8080 --buffer  a reverse proxy
  middlebox --inspect ca.pem --buffer                  one that looks into TLS

With --control it is switched while it runs, and its counters are read:

  curl -X PUT --data 'cut=4s noupgrade' http://127.0.0.1:9900/profile
  curl http://127.0.0.1:9900/counts

`

// options are the flags that are no behaviours.
type options struct {
	listen, upstream, control, inspect, tlsHost string
	seed                                        uint64
	profile                                     middlebox.Profile
}

func main() {
	o, err := parse(os.Args[1:], os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "middlebox:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "middlebox:", err)
		os.Exit(1)
	}
}

func parse(args []string, out io.Writer) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("middlebox", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.listen, "listen", "127.0.0.1:3128", "`address` to listen on; port 0 picks one")
	fs.StringVar(&o.upstream, "upstream", "", "`URL` that requests with a path alone go to: a reverse proxy")
	fs.StringVar(&o.control, "control", "", "`address` of the control listener: GET and PUT /profile, GET /counts")
	fs.StringVar(&o.inspect, "inspect", "", "look into TLS with a CA made at the start, whose certificate is written to this `file`")
	fs.StringVar(&o.tlsHost, "tls", "", "speak TLS to clients, as this `host`; needs --inspect")
	fs.Uint64Var(&o.seed, "seed", 1, "`number` that decides everything that is random")
	behaviours := flag.NewFlagSet("", flag.ContinueOnError)
	o.profile.Flags(behaviours)
	own := flag.NewFlagSet("", flag.ContinueOnError)
	fs.VisitAll(func(f *flag.Flag) { own.Var(f.Value, f.Name, f.Usage) })
	behaviours.VisitAll(func(f *flag.Flag) { fs.Var(f.Value, f.Name, f.Usage) })
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, usage, "Flags:\n")
		list(out, own)
		fmt.Fprint(out, "\nBehaviours, in any combination:\n")
		list(out, behaviours)
	case err == nil && fs.NArg() > 0:
		err = fmt.Errorf("argument %q: there are flags only; --help lists them", fs.Arg(0))
	case err == nil && o.tlsHost != "" && o.inspect == "":
		err = errors.New("--tls needs --inspect")
	}
	return o, err
}

// list prints one line for each flag.
func list(out io.Writer, fs *flag.FlagSet) {
	fs.VisitAll(func(f *flag.Flag) {
		value, text := flag.UnquoteUsage(f)
		fmt.Fprintf(out, "  --%-24s %s\n", strings.TrimSpace(f.Name+" "+value), text)
	})
}

func run(ctx context.Context, o *options, out io.Writer) error {
	cfg := middlebox.Config{Upstream: o.upstream, Profile: o.profile, Seed: o.seed}
	if o.inspect != "" {
		ca, err := middlebox.NewCA()
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.inspect, ca.PEM(), 0o600); err != nil {
			return err
		}
		cfg.CA = ca
	}
	p, err := middlebox.New(cfg)
	if err != nil {
		return err
	}
	defer p.Close()
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	if o.control != "" {
		control, err := net.Listen("tcp", o.control)
		if err != nil {
			return err
		}
		s := &http.Server{Handler: controls(p), ReadHeaderTimeout: time.Minute}
		defer s.Close()
		go func() { _ = s.Serve(control) }() // ends with Close
		fmt.Fprintf(out, "control on http://%s\n", control.Addr())
	}
	fmt.Fprintf(out, "listening on %s\n", l.Addr())
	stopped := context.AfterFunc(ctx, p.Close)
	defer stopped()
	if o.tlsHost != "" {
		return p.ServeTLS(l, o.tlsHost)
	}
	return p.Serve(l)
}

// controls lets a test, or a person with curl, see and change a Proxy.
func controls(p *middlebox.Proxy) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /profile", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, p.Profile()) })
	mux.HandleFunc("PUT /profile", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<16))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		f, err := middlebox.Parse(string(text))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		p.Set(f)
		fmt.Fprintln(w, p.Profile())
	})
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(p.Counts()) // whoever asked is gone
	})
	return mux
}
