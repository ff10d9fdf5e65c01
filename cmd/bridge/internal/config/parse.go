package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pollbridge/pollbridge/cmd/bridge/internal/accesslog"
)

// The parsers in this file return a text's value, or an error with what is
// expected. Ranges are left to bridge.Config, except zero, which means "default"
// there.

func wrong(text, want string) error {
	return fmt.Errorf("%q is wrong, want %s", text, want)
}

func plain(text string) (string, error) { return text, nil }

// Address parses HOST:PORT, with or without the host.
func Address(text string) (string, error) { return address(text, "HOST:PORT or :PORT") }

func address(text, want string) (string, error) {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", wrong(text, want)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", wrong(text, "a port from 0 to 65535")
	}
	return text, nil
}

// longestSocket is the longest path of a Unix socket on all systems, in bytes.
const longestSocket = 103

// secretFile returns what a file has, without space around it.
func secretFile(name string) (string, error) {
	text, err := os.ReadFile(name) //nolint:gosec // the operator's own name
	if err != nil {
		return "", fmt.Errorf("cannot read %q: %w", name, bare(err))
	}
	return strings.TrimSpace(string(text)), nil
}

// listenAddress parses what Address does, or unix:PATH.
func listenAddress(text string) (string, error) {
	path, unix := strings.CutPrefix(text, "unix:")
	if !unix {
		return address(text, "HOST:PORT, :PORT or unix:PATH")
	}
	if path == "" || len(path) > longestSocket || strings.HasPrefix(path, "//") {
		return "", wrong(text, fmt.Sprintf("unix:PATH, with a path of at most %d bytes", longestSocket))
	}
	return text, nil
}

// publicAddress parses what listenAddress does, or systemd.
func publicAddress(text string) (string, error) {
	if text == "systemd" {
		return text, nil
	}
	return listenAddress(text)
}

// healthPath parses a plain path.
func healthPath(text string) (string, error) {
	if !strings.HasPrefix(text, "/") || text == "/" || path.Clean(text) != text || strings.ContainsAny(text, "?#%*: ") {
		return "", wrong(text, "a plain path such as /healthz")
	}
	return text, nil
}

// network parses a network or a single address.
func network(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.Prefix{}, wrong(text, "a network such as 10.0.0.0/8, or an address")
}

func duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, wrong(text, "a duration such as 500ms, 20s or 1m30s")
	}
	return d, nil
}

// durationText returns the shortest text of d.
func durationText(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// unit is a suffix of a size.
type unit struct {
	name  string
	bytes int64
}

// units returns every unit, largest first.
func units() []unit {
	return []unit{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}
}

// size parses a number of bytes, with or without a unit.
func size(text string) (int64, error) {
	for _, unit := range units() {
		digits, found := strings.CutSuffix(text, unit.name)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n <= 0 || n > math.MaxInt/unit.bytes {
			break
		}
		return n * unit.bytes, nil
	}
	return 0, wrong(text, "a number of bytes such as 65536, 64KiB, 16MiB or 1GiB")
}

// sizeText returns the shortest text of n bytes.
func sizeText[N int | int64](n N) string {
	all := units()
	i := slices.IndexFunc(all, func(u unit) bool { return int64(n)%u.bytes == 0 })
	return strconv.FormatInt(int64(n)/all[i].bytes, 10) + all[i].name
}

func sizeInt(text string) (int, error) {
	n, err := size(text)
	return int(n), err
}

func count(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		return 0, wrong(text, "a whole number above 0")
	}
	return n, nil
}

// share takes a number above 0 and at most 1.
func share(text string) (float64, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f > 0 && f <= 1) {
		return 0, wrong(text, "a number above 0 and at most 1, such as 0.01")
	}
	return f, nil
}

// statusCode takes the name of a gRPC status code.
func statusCode(text string) (string, error) {
	name, ok := accesslog.Code(text)
	if !ok {
		return "", wrong(text, "a gRPC status code such as NOT_FOUND")
	}
	return name, nil
}

func boolean(text string) (bool, error) {
	if text != "true" && text != "false" {
		return false, wrong(text, "true or false")
	}
	return text == "true", nil
}

func level(text string) (slog.Level, error) {
	if _, err := oneOf(levels...)(text); err != nil {
		return 0, err
	}
	var l slog.Level
	return l, l.UnmarshalText([]byte(text))
}

// oneOf returns a parser of at least two words.
func oneOf(words ...string) func(string) (string, error) {
	last := len(words) - 1
	return func(text string) (string, error) {
		if !slices.Contains(words, text) {
			return "", wrong(text, strings.Join(words[:last], ", ")+" or "+words[last])
		}
		return text, nil
	}
}

// file parses the name of a readable file in PEM.
func file(text string) (string, error) { return readable(text, "a file in PEM") }

// readable parses the name of a readable file. want describes the file.
func readable(text, want string) (string, error) {
	f, err := os.Open(text)
	if err != nil {
		return "", fmt.Errorf("cannot read %q: %w; want %s", text, bare(err), want)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.IsDir() {
		return "", fmt.Errorf("%q is a directory, want %s", text, want)
	}
	return text, nil
}

// bare returns an error without the operation and the name, which the text around
// it has.
func bare(err error) error {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		return path.Err
	}
	return err
}

// target is a backend on the command line.
type target struct {
	service string // prefix of the services that go there; "" for all
	target  string
}

// backendTarget parses HOST:PORT or PREFIX=HOST:PORT. Other forms of gRPC's
// targets, such as dns:///HOST:PORT or unix:PATH, are left to gRPC.
func backendTarget(text string) (target, error) {
	service, addr, found := strings.Cut(text, "=")
	if !found {
		service, addr = "", text
	}
	const want = "HOST:PORT, or PREFIX=HOST:PORT for the services whose full name begins with PREFIX"
	if found && service == "" {
		return target{}, wrong(text, want)
	}
	if _, err := targetAddress(addr); err != nil {
		return target{}, wrong(text, want)
	}
	return target{service, addr}, nil
}

// targetAddress parses the address of one backend.
func targetAddress(addr string) (string, error) {
	const want = "HOST:PORT, several of them with commas between, dns:///HOST:PORT or unix:PATH"
	scheme, _, isURL := strings.Cut(addr, "://")
	switch {
	case addr == "" || strings.Contains(addr, " ") || isURL && (scheme == "http" || scheme == "https"):
		return "", wrong(addr, want)
	case isURL || strings.HasPrefix(addr, "unix:"):
		return addr, nil
	}
	for one := range strings.SplitSeq(addr, ",") {
		host, port, err := net.SplitHostPort(one)
		if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || host == "" || port == "0" {
			return "", wrong(addr, want)
		}
	}
	return addr, nil
}
