package main

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/internal/ratelog"
)

// certificateInterval is the least time between two checks of the files for
// changes, which handshakes make.
const certificateInterval = time.Second

// certificate is the listener's certificate, reread when its files change. While
// they are unusable, such as in the middle of a replacement, the old one stays.
type certificate struct {
	logger *slog.Logger
	unfit  *ratelog.Line

	mu        sync.Mutex
	files     [2]string // certificate chain and key
	infos     [2]os.FileInfo
	looked    time.Time
	presented *tls.Certificate
}

// newCertificate reads the files.
func newCertificate(cert, key string, logger *slog.Logger) (*certificate, error) {
	c := &certificate{
		logger: logger,
		unfit:  ratelog.New(logger, slog.LevelError, "the certificate's files have changed and are of no use; the one before stays"),
	}
	return c, c.read(cert, key)
}

// read reads the certificate to present from now on. If it returns an error,
// nothing has changed.
func (c *certificate) read(cert, key string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.load([2]string{cert, key})
}

// load is read with the mutex held.
func (c *certificate) load(files [2]string) error {
	infos := stat(files) // before the content: a change in between is seen later
	pair, err := tls.LoadX509KeyPair(files[0], files[1])
	if err != nil {
		return err
	}
	c.files, c.infos, c.presented, c.looked = files, infos, &pair, time.Now()
	return nil
}

// get implements tls.Config's GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= certificateInterval {
		c.looked = now
		c.look()
	}
	return c.presented, nil
}

func (c *certificate) look() {
	if same(c.infos, stat(c.files)) {
		return
	}
	if err := c.load(c.files); err != nil {
		c.unfit.Add("err", err)
		return
	}
	c.logger.Info("certificate read again", "file", c.files[0], "until", c.presented.Leaf.NotAfter)
}

func stat(files [2]string) (infos [2]os.FileInfo) {
	for i, name := range files {
		infos[i], _ = os.Stat(name) // nil for one that is gone, which is a change
	}
	return infos
}

func same(a, b [2]os.FileInfo) bool {
	for i := range a {
		if a[i] == nil || b[i] == nil || !os.SameFile(a[i], b[i]) || a[i].Size() != b[i].Size() || !a[i].ModTime().Equal(b[i].ModTime()) {
			return false
		}
	}
	return true
}
