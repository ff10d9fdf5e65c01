package bridge

import (
	"cmp"
	"io/fs"
	"net/http"

	"google.golang.org/grpc"

	"github.com/pollbridge/pollbridge/internal/backend"
	"github.com/pollbridge/pollbridge/internal/httpwrite"
	"github.com/pollbridge/pollbridge/internal/look"
	"github.com/pollbridge/pollbridge/internal/netcheck/answer"
	"github.com/pollbridge/pollbridge/internal/netcheck/page"
	"github.com/pollbridge/pollbridge/jsclient"
	"github.com/pollbridge/pollbridge/transport/access"
)

// check is the network check. It has a gRPC server of its own, so that it works
// the same in front of any backend. Its pool is not in Server.pools: it does not
// affect readiness.
type check struct {
	answers *answer.Handler
	service *grpc.Server
	pool    *backend.Pool
}

func newCheck(cfg Config, policy *access.Policy) (*check, error) {
	c := &check{
		answers: answer.New(answer.Config{Access: policy, Release: "pollbridge/" + Version()}),
		service: grpc.NewServer(),
	}
	answer.Register(c.service)
	var err error
	if c.pool, err = backend.New(Backend{Name: "check", GRPCServer: c.service}.WithDefaults().pool(cfg)); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *check) mount(mux *http.ServeMux, prefix string) {
	c.answers.Mount(mux, prefix+"/v1/check/")
	mux.Handle(prefix+"/diagnose.js", script(jsclient.Diagnose))
	files := page.Files()
	pages := httpwrite.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		servePage(w, r, files, cmp.Or(r.PathValue("file"), "index.html"))
	}))
	mux.Handle("GET "+prefix+"/check", pages)
	mux.Handle("GET "+prefix+"/check/{file}", pages)
}

func servePage(w http.ResponseWriter, r *http.Request, files fs.FS, name string) {
	h := w.Header()
	h.Set("Content-Security-Policy", look.ContentSecurityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	h.Set("Referrer-Policy", "no-referrer")
	http.ServeFileFS(w, r, files, name)
}

func (c *check) close() error {
	c.answers.Close()
	err := c.pool.Close()
	c.service.Stop()
	return err
}
